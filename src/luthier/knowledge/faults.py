"""What stands behind a fault's word: how it comes about, and what to do. `luthier explain WORD` prints it.

The one-sentence meaning of each word is in floor/errors.py; a test keeps both lists alike.
"""

from luthier.floor.errors import FAULTS
from luthier.knowledge.advice import Advice
from luthier.knowledge.gate_faults import GATES
from luthier.knowledge.gguf_faults import GGUF
from luthier.knowledge.serving_faults import SERVING

# The first part of a word decides how the program ends; the errors' tree in floor/errors.py has the classes.
_EXIT_CODES = {
    "gate": 1, "usage": 2, "recipe": 2, "cfg": 2, "run": 2, "data": 3, "tokenizer": 3, "mdl": 4, "adp": 4, "gguf": 4, "merge": 2, "env": 5,
    "train": 6, "ckpt": 7, "saved": 75, "interrupted": 130, "compare": 3, "api": 5, "publish": 1, "hub": 5,
}  # fmt: skip


ADVICE: dict[str, Advice] = {
    "cfg-unknown": Advice(
        "`train.lrr: 1e-4`, where `train.lr` was meant.",
        "Take the name that the message suggests, or look it up in docs/reference/recipe.md. `luthier recipe show RECIPE`"
        " prints what a recipe sets.",
    ),
    "cfg-type": Advice(
        "`lr: abc`; `save_steps: 1.5`; `bf16: yes`, which is text in YAML 1.2.",
        "Write the kind of value that the message names: `true` or `false`, a whole number without a point, text in quotes.",
    ),
    "cfg-range": Advice(
        "`train.epochs: 0`; `lr_scheduler_type: polynomial`.",
        "Choose a value inside the bounds, or one of the listed choices: `luthier explain train.epochs` shows them.",
    ),
    "cfg-conflict": Advice(
        "`lora_r: 64` in the file and `method.kind=full` on the line; `bf16: true` beside `fp16: true`.",
        "Keep one of the two. On the line, `~lora_r` takes the file's value away for this run.",
    ),
    "cfg-missing": Advice(
        "A recipe without `model_name`, or a value left as `???`.",
        "Give the value in the file or on the line: `luthier validate RECIPE model.name=embedded`.",
    ),
    "cfg-syntax": Advice(
        "A tab as indentation; a key given twice; `train.lr` on the command line without `=value`.",
        "Go to the line and column of the message. On the line, quote what the shell or the grammar would take apart:"
        " `'data.path=\"my file.jsonl\"'`.",
    ),
    "cfg-file": Advice(
        "`luthier train trian`, where configs/train.yaml was meant.",
        "Name a file, or a recipe of ./configs by its name without `.yaml`: `ls configs`.",
    ),
    "cfg-secret": Advice(
        "`model_name: ${oc.env:HF_TOKEN}`.",
        "Leave secrets in the environment, where the libraries that need them look. `${train.lr}`, which repeats another"
        " setting, is allowed.",
    ),
    "cfg-target": Advice(
        "`_target_: os.system`, or the YAML tag `!!python/object`.",
        "Remove it. If the recipe came from somebody else, ask why it was there before you run anything of theirs.",
    ),
    "cfg-size": Advice(
        "A file of ten megabytes; lists inside lists a thousand deep; aliases that multiply.",
        "Check that the file is a recipe and not data: `head RECIPE`.",
    ),
    "recipe": Advice(
        "A misspelt key, a wrong number and a contradiction in one file.",
        "Mend the listed lines; each carries its own word in brackets, which `luthier explain` knows as well.",
    ),
    "usage": Advice("`luthier train --rnu DIR`.", "`luthier --help` lists the commands, `luthier train --help` the options of one."),
    "compare-rows": Advice(
        "The base was evaluated on yesterday's test file, the tuned model on today's.",
        "Evaluate both on the same rows: `luthier eval --again --run RUN`, then `luthier compare RUN base`.",
    ),
    "data-missing": Advice(
        "`dataset_pattern: '*.json'` where the files end in `.jsonl`.",
        "Look what is there (`ls data`), then set `data.path` and `data.pattern`.",
    ),
    "data-empty": Advice("A file of blank lines only.", "Put at least one row into it, or name another file by `data.path`."),
    "data-json": Advice(
        "A comma after the last field, single quotes, or one object spread over several lines.",
        "Each line is one JSON object: `sed -n 17p data/train.jsonl | python -m json.tool` shows what is wrong with line 17.",
    ),
    "data-field": Advice(
        '`{"prompt": "..."}` without `"completion"`; a number where text belongs.',
        "Give each row the fields of its format, or set `data.format` to the format that the rows have.",
    ),
    "data-enc": Advice(
        "A file saved as Latin-1 or UTF-16.",
        "Convert it: `iconv -f latin1 -t utf-8 old.jsonl > new.jsonl`.",
    ),
    "data-csv": Advice(
        "A line with more fields than the header; a quotation mark that opens a field and is never closed; a column named twice.",
        "Open the file at the line of the message. Inside a field in quotation marks, one is written `\"\"`. A program that"
        " writes CSV (a spreadsheet, pandas, Python's csv module) does it by itself.",
    ),
    "data-table": Advice(
        "A Parquet file whose end is missing; another kind of file under that name; a page whose checksum is wrong.",
        "Fetch the file again, and compare its size or hash with what its publisher says.",
    ),
    "data-document": Advice(
        "A PDF that is encrypted or holds scanned pages only; a .docx that is none; a page that takes a minute to read.",
        "Open the document. Save it anew, without a password, or as text; leave it out with `data.pattern`.",
    ),
    "data-source": Advice(
        "`data.sources` names the same file twice, one source holds conversations and another texts, or two have the same name.",
        "Raise the `weight` of a source instead of naming it twice. Rows of different kinds need trainings of their own, or"
        " `luthier data convert` makes one kind of them.",
    ),
    "data-trunc": Advice(
        "A download or a program that ended in the middle of the last line.",
        "Fetch or write the file again; if the rest is what you want, remove the last line: `sed -i '$d' FILE`.",
    ),
    "data-line": Advice("A whole book in one row.", "Cut the text into rows before training."),
    "data-depth": Advice("Lists inside lists a hundred deep.", "Keep the fields of the format: text, or a list of messages."),
    "data-surr": Advice('`"\\ud800"`, from a program that cut a text between two code units.', "Repair or drop the row."),
    "data-long": Advice(
        "A row of 700 tokens with `max_length: 512` and `data.overlong: error`; or rows so long that cutting them would lose more"
        " than 1 % of the trained tokens, which is not done unasked.",
        "Raise `data.max_length`, or choose what happens: `data.overlong=truncate`, `truncate_left`, `drop`, or for plain text"
        " `split`. The message says what each of them costs.",
    ),
    "data-split": Advice(
        "`data.stratify_by` names a field with another value in nearly every row, such as an id.",
        "Name a field of few values, such as a label. `data.group_by` is for values that belong together.",
    ),
    "data-leak": Advice(
        "A training row that asks what a row of a benchmark suite or of the validation set asks, with `data.leaks.found: refuse`.",
        "Look at the pairs: `luthier data leaks TRAIN --against TEST`. Leave such rows out with `data.leaks.found=drop`.",
    ),
    "data-books": Advice(
        "A data report or a token store that was changed after it was written, or a fault of ours that lost a row.",
        "Prepare the data again with `--again`. If the books are off again, report it: the message holds the two numbers.",
    ),
    "data-untrained": Advice(
        "Prompts longer than `max_length`, so that no completion is left; conversations without an assistant turn.",
        "Raise `data.max_length`, or look at the rows that the message names.",
    ),
    "data-template": Advice(
        "Rows of messages with a base model whose tokenizer has no chat template.",
        "Take the instruction-tuned sibling of the model, or convert the rows to prompt and completion.",
    ),
    "data-mask": Advice(
        "A chat template that writes earlier turns in another way once a later turn is there.",
        "Report the template with the picture of the message; `data.template=guide` trains prompt/completion rows without it.",
    ),
    "data-hub": Advice(
        "A dataset id that does not exist, is private, or needs code of its own.",
        "Check the id; for a private one log in with `hf auth login`; or download it and name the folder by `data.path`.",
    ),
    "data-cache": Advice(
        "A file below outputs/cache that was cut or changed.",
        "Prepare again: `luthier prepare RECIPE --again`.",
    ),
    "data-changed": Advice(
        "Another program appends to the file while `luthier data dedup` reads it twice.",
        "Wait until nothing writes to the file, then repeat the command.",
    ),
    "data-objective": Advice(
        "Preference pairs (`prompt`, `chosen`, `rejected`) in `data.path`, or answers with a `label` that says good or bad.",
        "Train on rows with one answer each; a copy of the better answers will do: `jq -c '{prompt, completion: .chosen}' pairs.jsonl > rows.jsonl`.",
    ),
    "data-dialect": Advice(
        "`luthier data convert` on a table of prices; ShareGPT and Alpaca rows in one file.",
        "The message names the closest dialect and what is missing. If you know better, name it: `--from sharegpt`; records"
        " that are broken one by one are counted instead with `--skip-faulty`.",
    ),
    "data-archive": Advice(
        "A zip archive with a password; a download that was cut; a megabyte that unpacks to a terabyte.",
        "Fetch the archive again, or unpack it yourself and name the JSON file in it.",
    ),
    "data-scorer": Advice(
        "`data.clean.scorer.command: [python, score.py]` where score.py ends with an error, hangs, or leaves rows without a score.",
        "Try the program on one line: echo '{\"id\": 0, \"text\": \"hello\"}' | python score.py; it must write {\"id\": 0, \"score\": 0.1}.",
    ),
    "data-words": Advice(
        "`data.clean.words.path: words.csv`, where the file is words.txt, or a list in UTF-16.",
        "Name a UTF-8 text file with one word or phrase a line; `#` starts a comment.",
    ),
    "data-path": Advice("`data.path: /dev/zero`.", "Name a regular file, or a folder of them."),
    "tokenizer-train": Advice(
        "A hundred short texts and `method.vocabulary_size: 32000`.",
        "Give more text, or ask for a smaller vocabulary: `method.vocabulary_size=1024`.",
    ),
    "mdl-missing": Advice(
        "`model_name: Qwen/Qwen2.5-0.5` where 0.5B was meant; a folder that was moved.",
        "Check the name; `model.name=embedded` always works.",
    ),
    "mdl-config": Advice(
        "A folder with weights but no config.json, or one that was cut.",
        "Download the model again: `hf download ID`.",
    ),
    "mdl-weights": Advice(
        "A download that stopped; a checkpoint of another architecture.",
        "Download the model again. Luthier never fills in missing weights at random.",
    ),
    "mdl-pickle": Advice(
        "A folder that holds pytorch_model.bin and no model.safetensors.",
        "Look for a safetensors revision of the model, or convert it on a machine that you can afford to lose.",
    ),
    "mdl-tokenizer": Advice("A folder without tokenizer.json.", "Copy the tokenizer's files from the model that this one came from."),
    "mdl-template": Advice(
        "A chat template that loops a billion times or writes gigabytes.",
        "Do not use the model's template: `data.template=guide`, or take the model from its maker.",
    ),
    "mdl-code": Advice(
        "A config.json with `auto_map`, which names Python files to run.",
        "Take a model whose architecture Transformers knows. Luthier runs no code from a model folder.",
    ),
    "mdl-lfs": Advice("`git clone` without git-lfs.", "In the folder: `git lfs pull`; or `hf download ID`."),
    "mdl-path": Advice("An index that points to `../other.safetensors`.", "Download the model again from a source that you trust."),
    "mdl-nan": Advice("A model saved after its training had diverged.", "Take an earlier checkpoint of it."),
    "mdl-size": Advice("`num_hidden_layers: 1000000000`.", "Check config.json; such a file is damaged or hostile."),
    "mdl-offline": Advice(
        "A hub id while HF_HUB_OFFLINE=1, or without a network.",
        "Download it where there is a network (`hf download ID`) and name the folder by `model.name`.",
    ),
    "adp-missing": Advice("`luthier merge` on a run whose model/ was deleted.", "Train again: `luthier train --run RUN`."),
    "adp-base": Advice(
        "The base model was updated on the hub after the adapter was trained.",
        "Name the base of then: `model.revision=COMMIT`; the run's config_used.yaml and reports tell which it was.",
    ),
    "adp-targets": Advice(
        "`lora_target_modules: [c_attn]` for a Llama model.",
        "Choose from the modules that the message lists, or `method.targets=[all-linear]`.",
    ),
    "adp-config": Advice(
        "An adapter of another kind (prompt tuning), or an adapter_config.json that was cut.",
        "Use adapters that Luthier trained, or LoRA adapters saved by PEFT.",
    ),
    "adp-weights": Advice("A cut adapter_model.safetensors.", "Resume the run from its checkpoint: `luthier train --resume RUN`."),
    **GGUF,
    "merge-whole": Advice(
        "`luthier merge` on a run with `method.kind: full`.",
        "Nothing is to be done: the run's model/ folder is the whole model.",
    ),
    "env-device": Advice(
        "`model.device: cuda` on a machine without an NVIDIA GPU.",
        "`model.device=auto`, or see what the machine has: `luthier doctor`.",
    ),
    "env-precision": Advice(
        "`fp16: true` on a CPU; `bf16: true` on a GPU from before 2020.",
        "`train.precision=auto` takes what the hardware has.",
    ),
    "env-disk": Advice(
        "A checkpoint larger than the room that is left.",
        "Make room (`df -h .`), or keep less: `train.checkpoint.keep_last=1 train.checkpoint.keep_best=0`; then resume.",
    ),
    "env-memory": Advice(
        "A batch that does not fit the GPU.",
        "`train.batch_size=1` with more `train.gradient_accumulation_steps`, `train.gradient_checkpointing=true`,"
        " a smaller `data.max_length`, or `method.kind=qlora`.",
    ),
    "env-permission": Advice("A folder that belongs to somebody else.", "`ls -ld FOLDER`, then make it yours or choose another."),
    "env-extra": Advice("`train.log.trackers: [wandb]` without wandb installed.", "Type the install line of the message."),
    "env-endpoint": Advice(
        "A server that was not started; a key that is not valid; a model that the endpoint does not know; a redirect.",
        "Read what the endpoint said, mend `--endpoint`, `--model` or the key, and type the same line again: answers that came"
        " are kept. A redirect is never followed; name the address that it gives.",
    ),
    "env-network": Advice(
        "No route to the hub.",
        "Use local folders for `model.name` and `data.path`; with HF_HUB_OFFLINE=1 nothing tries the network.",
    ),
    **SERVING,
    "run-missing": Advice("`luthier eval --run 2026-01-01`.", "`luthier runs` lists the runs."),
    "run-unfinished": Advice(
        "`luthier merge` while the run is still training, or after it crashed.",
        "Wait for it, or finish it: `luthier train --resume RUN`.",
    ),
    "run-locked": Advice(
        "Two terminals that train in one run folder.",
        "Wait for the process that the message names, or work in another run. A lock of a dead process is taken over.",
    ),
    "run-used": Advice(
        "`--run DIR` of a run that was started with another recipe.",
        "Leave out `--run` to open a new run, or resume the old one as it is.",
    ),
    "train-nonfinite": Advice(
        "A learning rate so high that the loss overflows; fp16 where the model needs bf16.",
        "Lower `train.lr` by ten, or `train.precision=bf16`; look at the rows that the message names; then resume.",
    ),
    "train-empty": Advice(
        "One row, all of it set apart for validation.",
        "Give more rows, or `data.validation_fraction=0`.",
    ),
    "ckpt-none": Advice("`--resume` of a run that stopped before its first checkpoint.", "Start it again: `luthier train --run RUN`."),
    "ckpt-bad": Advice(
        "A disk that lost writes; files that were edited.",
        "The message lists each checkpoint with its reason; they are kept as `.bad-...`. Copy one back from a backup, or"
        " train again in a new run.",
    ),
    "ckpt-mismatch": Advice(
        "`--resume RUN` with another `train.lr`, or after a row was added to the data.",
        "Resume with what was, or open a new run: `luthier train RECIPE`.",
    ),
    "publish-card": Advice(
        "No `publish.licence`; an adapter over a base that is a folder of this machine; a run that was not compared with its base.",
        "Type the line that the message gives, or put the setting into the recipe's section `publish`.",
    ),
    "publish-licence": Advice(
        "Rows under CC BY-SA and `publish.licence: apache-2.0`; a fine-tuned Llama whose name does not begin with Llama.",
        "Publish under the licence that is asked for, or, if you have read it and may, name it in `publish.acknowledged`.",
    ),
    "publish-private": Advice(
        "A token in a chat template; `/home/you/rows.jsonl` in the recipe; an address in a held-out row that the card shows.",
        "Take it out of the file that is named. A key that lay in a file counts as known: revoke it.",
    ),
    "publish-public": Advice(
        "`luthier publish --repo you/model`, where the repository is there and public.",
        "Say `--public` if everybody may see the files; else make it private in its settings on the hub.",
    ),
    "hub-token": Advice(
        "HF_TOKEN is not set, has expired, or is of the kind that may only read.",
        "Make one that may write at https://huggingface.co/settings/tokens and `export HF_TOKEN=...`, or `hf auth login`.",
    ),
    "hub-refused": Advice(
        "A repository of an owner for whom the token may not write.",
        "Look at the spelling of the owner and at the rights of the token.",
    ),
    "hub-busy": Advice(
        "Answers 429, 500 or 503 to every try; a wait of hours that the hub asks for.",
        "Repeat the command later. What arrived whole is not sent again.",
    ),
    "hub-conflict": Advice(
        "Another process pushed to the repository while the files were sent.",
        "Look at its commits, then repeat the command.",
    ),
    "hub-answer": Advice(
        "A proxy's page in place of the hub's answer; a redirect to a host that nobody named.",
        "Look at HF_ENDPOINT and at the proxy. Nothing is sent to a host that was not named.",
    ),
    "hub-mismatch": Advice(
        "A .gitignore in the repository that leaves weights out; a file that changed here while it was sent.",
        "Repeat the command: it sends what differs. Files that the repository ignores must leave its .gitignore.",
    ),
    **GATES,
    "saved": Advice("SIGTERM from a scheduler.", "Repeat the command that the message names; the run goes on where it stopped."),
    "interrupted": Advice("Ctrl-C.", "`luthier train --resume RUN` goes on from the last checkpoint."),
}  # fmt: skip


def exit_code_of(word: str) -> int:
    """The exit code of a program that ends with this fault."""
    return _EXIT_CODES[word.partition("-")[0]]


def explain_fault(word: str) -> str:
    """Meaning, example, remedy and exit code of a fault word."""
    advice = ADVICE[word]
    lines = [
        f"{word}: {FAULTS[word]}",
        f"  for example  {advice.example}",
        f"  what to do   {advice.remedy}",
        f"  exit code    {exit_code_of(word)}",
    ]
    return "\n".join(lines)
