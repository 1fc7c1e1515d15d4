"""What stands behind the words with which an export to GGUF ends, and what is done about it."""

from luthier.knowledge.advice import Advice

GGUF: dict[str, Advice] = {
    "gguf-family": Advice(
        "`luthier export gguf` on a run over a model with experts.",
        "The message lists the architectures that Luthier writes. Serve the merged folder with another engine.",
    ),
    "gguf-tokenizer": Advice(
        "A tokenizer trained with a splitting rule of its own.",
        "llama.cpp knows a fixed list of splitting rules, and with another one than the model was trained with, it would read"
        " other tokens. Train over a base whose tokenizer is on the list, or serve the merged folder with another engine.",
    ),
    "gguf-weights": Advice(
        "A folder with a layer's tensor missing, or one of another shape than config.json says.",
        "Take the model again from where it was published, or merge again: `luthier merge --again`.",
    ),
    "gguf-adapter": Advice(
        "`luthier export gguf --adapter` on a run with `method.dora: true`, or with modules trained whole.",
        "llama.cpp's adapters hold pairs of low-rank matrices. The merged model holds everything: `luthier export gguf`.",
    ),
    "gguf-load": Advice(
        "A GGUF file that is cut off.",
        "Export it again with `--again`; take a file that was made elsewhere again from where it was published.",
    ),
}
