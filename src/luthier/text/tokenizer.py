"""Load a tokenizer from a folder without running anything of it, and tell tokenizers apart by a hash.

Only fast tokenizers (tokenizer.json or what Transformers turns into one) are taken: masks need character offsets.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from luthier.floor.errors import ModelError
from luthier.knowledge import turn_tokens

# One of these must be there: without them Transformers builds a tokenizer of one token and says nothing.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
LARGEST_FILE_BYTES = 256 * 2**20  # the largest known tokenizer.json has about 35 MB

# A model that writes one of these has finished its answer.
TURN_ENDS = (*turn_tokens.TURN_ENDS, *turn_tokens.TEXT_ENDS)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`; code that the folder brings along is never run and nothing is fetched.

    Raises ModelError (mdl-tokenizer) if there is none, if it cannot be read, or if it has no end-of-text token.
    """
    _check_files(folder)
    with _refusals(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not getattr(tokenizer, "is_fast", False):
        raise _unusable(folder, f"{type(tokenizer).__name__} is a slow tokenizer, without character offsets")
    if not tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).ids:
        raise _unusable(folder, "it turns the letter a into no token at all")
    if tokenizer.eos_token_id is None:
        raise _unusable(folder, "it names no end-of-text token (eos_token), so no answer would ever end")
    return tokenizer


def hash_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides which ids a text becomes, the chat template included."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for call_state in ("truncation", "padding"):
        backend.pop(call_state, None)
    parts = {
        "backend": backend,
        "special": {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())},
        "template": tokenizer.chat_template,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id that the tokenizer can give."""
    return max(tokenizer.get_vocab().values()) + 1


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that end an answer: the end of text, then the ends of a turn that the tokenizer knows."""
    known = tokenizer.added_tokens_decoder
    ends = [id for id, token in sorted(known.items()) if token.special and token.content in TURN_ENDS]
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *ends]))


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise _unusable(folder, "there is no such folder")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise _unusable(folder, f"it holds none of {', '.join(VOCABULARIES)}")
    for name in FILES:
        path = folder / name
        if not path.is_file():
            continue
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise _unusable(folder, f"{name} is larger than any tokenizer")
        try:
            value: Any = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as fault:
            raise _unusable(folder, f"{name} is not JSON ({fault})") from fault
        if not isinstance(value, dict):
            raise _unusable(folder, f"{name} is no JSON object")


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Turn what Transformers raises over a folder it cannot use into ModelError."""
    try:
        with _BareExceptions(folder):
            yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as fault:
        first_line = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise _unusable(folder, first_line) from fault


class _BareExceptions:
    """The Rust library raises the bare class Exception, which no except clause can catch without catching all else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        if kind is Exception:
            raise _unusable(self._folder, str(fault)) from fault


def _unusable(folder: Path, what: str) -> ModelError:
    return ModelError(
        "mdl-tokenizer",
        f"the folder has no usable tokenizer: {what}",
        where=str(folder),
        fix="Put the model's tokenizer.json and tokenizer_config.json there, as they were published.",
    )
