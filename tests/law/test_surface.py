"""The command line is frozen: a new flag or verb fails here until it is listed, and flags never say what a model learns."""

import typer

from luthier.cli.app import app

COMMON = {"--help", "--json"}
SURFACE: dict[str, set[str]] = {
    "train": COMMON | {"--run", "--resume", "--again", "--dry-run"},
    "plan": COMMON | {"--run", "--gpu", "--fit", "--price-per-hour", "--bench", "--html"},
    "prepare": COMMON | {"--run", "--again", "--dry-run"},
    "eval": COMMON | {"--run", "--again"},
    "compare": COMMON,
    "merge": COMMON | {"--run", "--again"},
    "verify": COMMON | {"--against", "--limit", "--model", "--key-from"},
    "chat": COMMON | {"--system", "--temperature", "--max-tokens", "--prompt", "--both", "--key-from"},
    "serve": COMMON | {"--adapter", "--base", "--render", "--out"},
    "keys new": COMMON
    | {"--file", "--requests-per-minute", "--tokens-per-minute", "--concurrency", "--admin"},
    "keys list": COMMON | {"--file"},
    "keys revoke": COMMON | {"--file"},
    "audit verify": COMMON | {"--anchor"},
    "publish": COMMON | {"--run", "--what", "--repo", "--public", "--dry-run", "--yes"},
    "data check": COMMON
    | {"--recipe", "--columns", "--against", "--tokenizer", "--model", "--max-length"}
    | {"--fix", "--out", "--overwrite"},
    "data dedup": COMMON
    | {"--against", "--columns", "--out", "--threshold", "--exact-only", "--semantic", "--similarity"}
    | {"--dry-run", "--overwrite", "--show"},
    "data leaks": COMMON | {"--against", "--columns", "--threshold", "--exact-only", "--show"},
    "data split": COMMON
    | {"--columns", "--out", "--validation", "--test", "--group-by", "--stratify-by", "--seed"}
    | {"--overwrite", "--dry-run"},
    "data show": COMMON | {"--run", "--row", "--origin", "--step", "--sample", "--split", "--tokens"},
    "data report": COMMON | {"--run", "--out", "--dry-run"},
    "data synth": COMMON
    | {"--seeds", "--endpoint", "--model", "--out", "--n", "--to", "--key-from"}
    | {"--temperature", "--answer-tokens", "--setting", "--schema", "--match", "--attempts"}
    | {"--against", "--threshold", "--exact-only"}
    | {"--concurrency", "--retries", "--timeout", "--most-tokens", "--overwrite", "--dry-run"},
    "runs": COMMON,
    "validate": COMMON,
    "bench train": COMMON | {"--shape", "--steps", "--warmup", "--out"},
    "bench serve": COMMON
    | {"--rate", "--seconds", "--at-most", "--rows", "--model", "--max-tokens", "--temperature", "--timeout"}
    | {"--key-from", "--seed", "--out"},
    "bench generate": COMMON | {"--shape", "--prompts", "--new-tokens", "--out"},
    "data convert": COMMON
    | {"--out", "--from", "--columns", "--to", "--branches", "--tools", "--keep"}
    | {"--skip-faulty", "--overwrite", "--dry-run"},
    "recipe show": COMMON | {"--changed"},
    "recipe schema": COMMON,
    "export gguf": COMMON | {"--run", "--quant", "--imatrix", "--adapter", "--base", "--again", "--dry-run"},
    "advise base": COMMON | {"--task", "--domain", "--rows", "--measure"},
    "advise deploy": COMMON
    | {"--for", "--users", "--requests-per-second", "--concurrency", "--prompt-tokens", "--answer-tokens"}
    | {"--gpu", "--gpus", "--cpu", "--memory"},
    "export ollama": COMMON | {"--run", "--quant", "--name", "--system", "--overwrite", "--dry-run"},
    "env make": COMMON | {"--again"},
    "explain": COMMON,
    "doctor": COMMON,
    "demo": COMMON,
}
ROOT_OPTIONS = {"--version", "--debug"}


def options_of(command: object) -> set[str]:
    """Every spelling of every option that a command takes."""
    context = typer.Context(command, info_name="luthier")  # type: ignore[arg-type]
    parameters = command.get_params(context)  # type: ignore[attr-defined]
    return {
        spelling
        for parameter in parameters
        if parameter.param_type_name == "option"
        for spelling in [*parameter.opts, *parameter.secondary_opts]
    }


def surface() -> dict[str, set[str]]:
    """Every verb, those of groups with both words, and its options."""
    found: dict[str, set[str]] = {}
    waiting = [("", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = options_of(command)
        else:
            waiting += [(f"{name} {verb}".strip(), each) for verb, each in inner.items()]
    return found


def test_the_verbs_and_their_options_are_those_listed() -> None:
    assert surface() == SURFACE


def test_every_verb_answers_in_json() -> None:
    assert all("--json" in options for options in surface().values())


def test_the_root_takes_no_other_option() -> None:
    root = typer.main.get_command(app)
    assert options_of(root) - {"--help", "-h"} == ROOT_OPTIONS
