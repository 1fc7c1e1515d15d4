"""What stands behind the words with which a gate says no: a comparison that was lost, a file that is not what it should be, a plan that does not fit."""

from luthier.knowledge.advice import Advice

GATES: dict[str, Advice] = {
    "gate-compare": Advice(
        "A gain whose interval reaches below zero.",
        "Look at the rows won and lost; train longer or on more rows; evaluate on more test rows for a narrower interval.",
    ),
    "gate-audit": Advice(
        "A line that was edited, removed, put in or moved; an end that was cut off.",
        "The message names the first line that does not follow from the one before. Compare the log with its copies and with the"
        " anchors that the server printed: `luthier audit verify FILE --anchor RECORDS:HASH`.",
    ),
    "gate-tokens": Advice(
        "A tokenizer whose splitting rule llama.cpp has, but whose added tokens it treats otherwise; a server with another template.",
        "An export deleted its file, `luthier verify` leaves what it looks at; the message shows the first token that differs. Give a"
        " server the run's own template; an export has no setting for this: serve the merged folder with another engine.",
    ),
    "gate-template": Advice(
        "A chat template that leaves the thinking out of all answers but the last, which no template of Ollama's can.",
        "No Modelfile was left; the message shows the row and the first character that differs. llama.cpp, LM Studio and Jan run the"
        " chat template that the GGUF file brings: `llama-server --jinja -m FILE`.",
    ),
    "gate-fit": Advice(
        "An 8B model with LoRA on a card of 24 GiB.",
        "`luthier plan RECIPE --fit` tries what makes it smaller, cheapest in speed first, and shows what to type. The plan is an"
        " estimate with an interval, judged by its upper end; `luthier bench train RECIPE` measures.",
    ),
    "gate-level": Advice(
        "Half the first tokens after 900 ms where `--at-most first_token_p50=500ms` was asked for.",
        "Ask for less at once, or serve with more: shorter answers, a smaller or quantized model, several replicas"
        " (`luthier serve RUN --render compose`). `luthier bench serve RUN --rate 1 --rate 2 --rate 4` finds the rate that it stands.",
    ),
    "gate-parity": Advice(
        "A merge into weights that the adapter was not trained over, a GGUF file in too few bits, a server with another model.",
        "Merge into the base that it saw: `merge.base=seen`; export in more bits: `--quant Q8_0`. An export deleted its failing files;"
        " adapter, merged model and what `luthier verify` looked at are untouched.",
    ),
}
