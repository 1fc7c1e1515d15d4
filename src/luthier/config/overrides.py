"""The `key=value` words of a command line, read with Hydra's own grammar.

`key=value` sets, whether or not a file has the key; `+key=value` and `++key=value` mean the same; `~key` takes the
file's value away.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config.problems import Problem, cut

PLACE = "command line"
MOST_CHARACTERS = 20_000
MOST_BRACKETS = 50  # Hydra's parser recurses at every bracket
_RESOLVER = re.compile(r"\$\{[^}]*:")
_TARGET = re.compile(r"(^|[~+.,{\s])_target_\s*([:=]|$)")  # not the end of lora_target_modules
_PLAIN_TEXT = re.compile(r"[^\[\]{}()'\"\\$,=;:\n\t]+")
_KEY = re.compile(r"(?P<sign>~|\+{0,2})(?P<key>[A-Za-z_][\w.]*)(?P<equals>=?)(?P<raw>.*)", re.DOTALL)


@dataclass(frozen=True)
class Override:
    """One word of the command line; `value` is what Hydra's grammar makes of it."""

    key: str
    value: Any
    removes: bool


def parse_overrides(words: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """The overrides, and the faults of the words that are none."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for word in words:
        result = _parse(str(word))
        if isinstance(result, Override):
            overrides.append(result)
        else:
            problems.append(result)
    return overrides, problems


def _parse(word: str) -> Override | Problem:
    refused = _refuse(word)
    if refused is not None:
        return refused
    match = _KEY.fullmatch(word)
    if (
        match is None
        or (not match["equals"] and match["sign"] != "~")
        or (match["raw"] and not match["equals"])
    ):
        return _syntax(word, "is not of the form key=value")
    key = match["key"]
    if ".." in key or key.endswith("."):
        return _syntax(word, "has an empty name between its dots")
    if match["sign"] == "~":
        return Override(key, None, removes=True)
    return _read_value(word, key, match["raw"])


def _read_value(word: str, key: str, raw: str) -> Override | Problem:
    if not raw.isascii() and _PLAIN_TEXT.fullmatch(raw):
        return Override(key, raw.strip(), removes=False)  # Hydra's grammar reads bare letters of ASCII only
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"++{key}={raw}")
        if parsed.is_sweep_override():
            return _syntax(word, "gives several values; a run takes one (a list is written [a,b])")
        value = _plain(parsed.value())
    except HydraException as fault:
        reason = cut(str(fault).partition("\n")[0], most=160)
        return _syntax(word, f"is not readable: {reason}", fix=f"Quote the value: '{key}=\"...\"'")
    return Override(key, value, removes=False)


def _plain(value: Any) -> Any:
    """Hydra's quoted texts and keys as plain values."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return str(getattr(value, "text", value))  # QuotedString, inside lists and dicts


def _refuse(word: str) -> Problem | None:
    if len(word) > MOST_CHARACTERS:
        return Problem("cfg-size", word[:40], f"... is longer than {MOST_CHARACTERS:,} characters", PLACE)
    if sum(word.count(bracket) for bracket in "[{(") > MOST_BRACKETS:
        return Problem("cfg-size", word[:40], f"... holds more than {MOST_BRACKETS} brackets", PLACE)
    if any(ord(character) < 32 and character not in "\t\n" for character in word):
        return _syntax(ascii(word), "holds a control character")
    if _RESOLVER.search(word):
        return Problem("cfg-secret", word, "calls a resolver; a recipe may not read the environment", PLACE)
    if _TARGET.search(word):
        return Problem("cfg-target", word, "names code to call; recipes hold names and numbers only", PLACE)
    if re.match(r"[+~]*hydra\b", word):
        return Problem("cfg-unknown", word, "is a setting of Hydra itself, not of a recipe", PLACE)
    return None


def _syntax(
    word: str, text: str, *, fix: str = "Write it as key=value, for example train.lr=1e-4"
) -> Problem:
    return Problem("cfg-syntax", word, text, PLACE, fix)
