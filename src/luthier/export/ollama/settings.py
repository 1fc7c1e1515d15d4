"""How answers are sampled and where they end, in Ollama's words: what the model's own generation_config.json says, else greedily.

Ollama's defaults (docs/modelfile.md: temperature 0.8, top_k 40, top_p 0.9, repeat_penalty 1.1) are nobody's choice for this model, so
each is written out. num_ctx is memory that Ollama takes at once, so a context of a hundred thousand tokens is not asked for unsaid.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.knowledge.hostile_json import read_object
from luthier.text.tokenizer import stop_ids, vocabulary_size

USUAL_CONTEXT = 4096
"""Ollama's own default of today below 24 GiB of GPU memory (docs/context-length.mdx)."""
GREEDY = {"temperature": 0.0, "top_k": 0.0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
# Transformers' defaults where sampling is on and a value is not given (GenerationConfig, 5.17).
SAMPLED = {"temperature": 1.0, "top_k": 50.0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
MOST_SETTING = 1e6
GENERATION = "generation_config.json"


def read_generation(folder: Path) -> dict[str, Any]:
    """The model's generation_config.json, or nothing. Raises ModelError if it is no JSON object."""
    path = folder / GENERATION
    return read_object(path, folder, code="mdl-config") if path.is_file() else {}


def parameters_of(recipe: Recipe, generation: dict[str, Any], *, context_tokens: int) -> dict[str, float]:
    """Sampling and context. `context_tokens` is the longest that the model takes."""
    samples = generation.get("do_sample") is True
    found = dict(SAMPLED if samples else GREEDY)
    for theirs, name in NAMES.items():
        value = generation.get(theirs)
        if _is_setting(value) and (samples or name == "repeat_penalty"):
            found[name] = float(value)
    wanted = recipe.data.max_length + recipe.evaluate.max_new_tokens
    longest = recipe.serve.context_tokens or max(USUAL_CONTEXT, wanted)
    return {**found, "num_ctx": float(min(longest, context_tokens))}


def _is_setting(value: Any) -> TypeGuard[float]:
    """Whether it is a number that a sampler takes; a file may hold anything."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SETTING


def end_texts(
    tokenizer: PreTrainedTokenizerBase, generation: dict[str, Any], *, answer_end: str
) -> tuple[str, ...]:
    """The texts of all tokens at which the run ends an answer; `answer_end` is one that is no token."""
    given = generation.get("eos_token_id")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    known = [id for id in listed if isinstance(id, int) and not isinstance(id, bool)]
    size = vocabulary_size(tokenizer)
    ids = dict.fromkeys([*stop_ids(tokenizer), *(id for id in known if 0 <= id < size)])
    texts = [_text(tokenizer, id) for id in ids]
    return tuple(dict.fromkeys([*filter(None, texts), *([answer_end] if answer_end else [])]))


def _text(tokenizer: PreTrainedTokenizerBase, id: int) -> str:
    added = tokenizer.added_tokens_decoder.get(id)
    return str(added.content) if added is not None else str(tokenizer.decode([id], skip_special_tokens=False))


def written(value: float) -> str:
    """A number as a Modelfile has it."""
    return json.dumps(int(value) if value.is_integer() else value)


def as_parameters(stops: Sequence[str], parameters: dict[str, float]) -> tuple[tuple[str, str], ...]:
    """Everything that becomes a PARAMETER, the stops first."""
    return (
        *(("stop", text) for text in stops),
        *((name, written(value)) for name, value in parameters.items()),
    )
