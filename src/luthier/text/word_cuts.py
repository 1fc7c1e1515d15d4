r"""Where a text can be cut so that a tokenizer finds the same tokens in the parts as in the whole.

Most byte-level BPE tokenizers first cut a text into pieces by a regular expression and never merge across two of them. Where a
piece is sure to begin, whatever stands before and after, the text may be cut beforehand; what lies between two such cuts is
called a word here, and has the same tokens wherever it occurs (encode_memory.py remembers them).

The cuts, and why no alternative of the expressions below reaches across them (they look ahead at most, never back):
- before a single space between two characters that are not white space: an alternative takes a space as its first character or
  within a run of white space, never in its middle;
- after a Latin letter, before one of ` ,.;:!?)`: a run of letters ends there, and each of these begins a piece;
- after a line feed, before what is neither white space nor a slash, if runs that end in a line feed are a piece of their own:
  then the run is the same piece at the end of a text. (o200k lets a slash follow punctuation and line feeds.)
"""

import json
import re
from typing import Any

# Letters since the first Unicode, so that every version of every engine takes them for letters.
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏЀ-ҁ"
# Characters that begin a word of their own after a letter. An apostrophe is none: 's and the like may belong to the word.
ENDS = r"[ ,.;:!?)]"
INNER_SPACE = r"(?<!\S)[ ]| (?!\S)"
LATIN_WORD = rf" ?[{LETTERS}]++(?={ENDS})"
# Possessive throughout: a text of a hundred million spaces must not be remembered space by space.
WORDS = re.compile(rf"{LATIN_WORD}|(?s:.)[^ ]*+(?:(?:{INNER_SPACE})[^ ]*+)*+")
WORDS_AND_LINES = re.compile(rf"{LATIN_WORD}|(?s:.)[^ \n]*+(?:(?:{INNER_SPACE}|\n(?![^\s/]))[^ \n]*+)*+\n?+")

CONTRACTIONS = {
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "'(?i:[sdmt]|ll|ve|re)",
}
_MARKED_CASE = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
# The alternatives of GPT-2, cl100k (Llama 3), Qwen 2 to 3.5 and o200k, as their tokenizer.json have them.
ALTERNATIVES = frozenset(
    CONTRACTIONS
    | {
        r" ?\p{L}+",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",
        r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    }
    | {r"\p{N}", r"\p{N}+", r"\p{N}{1,2}", r"\p{N}{1,3}", r" ?\p{N}+"}
    | {r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]++[\r\n]*"}
    | {r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"}
    | {r"\s*[\r\n]+", r"\s*[\r\n]", r"\s+(?!\S)", r"\s+"}
    | {*_MARKED_CASE, *(f"{word}(?i:'s|'t|'re|'ve|'m|'ll|'d)?" for word in _MARKED_CASE)}
)
LINE_ENDS = frozenset({r"\s*[\r\n]+", r"\s*[\r\n]"})
# NFC joins no character to a space and leaves the letters above as they are; NFD makes a letter and a mark of é, and a mark
# begins no piece after a letter.
NORMALIZERS = frozenset({"NFC"})
SPLITS = frozenset({("Isolated", False), ("Removed", True)})


def word_cut_of(description: str) -> re.Pattern[str] | None:
    """What finds the words of a text for the tokenizer of this tokenizer.json; None if it may merge across every cut."""
    found = json.loads(description)
    if not (_is_plain_bpe(found["model"]) and _is_local(found["normalizer"])):
        return None
    if not all(map(_is_wordlike, found["added_tokens"])):
        return None
    before = found["pre_tokenizer"] or {}
    steps = before.get("pretokenizers", [before])
    alternatives = [_alternatives(step) for step in steps]
    if not steps or None in alternatives or not any(alternatives):
        return None
    splits = [each for each in alternatives if each]
    # A later expression cuts the pieces of the first: the end of a piece is the end of a text to it.
    if len(splits) != 1:
        return None
    return WORDS_AND_LINES if LINE_ENDS & set(splits[0]) else WORDS


def keeps_offsets(description: str) -> bool:
    """Whether a token's offsets within a word are those within the text, moved: not if they depend on what a text begins with."""
    after = json.loads(description)["post_processor"] or {}
    steps = after.get("processors", [after])
    return not any(
        step.get("type") == "ByteLevel" and step["trim_offsets"] and step["add_prefix_space"]
        for step in steps
    )


def _is_plain_bpe(model: dict[str, Any]) -> bool:
    odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    return model.get("type") == "BPE" and not any(model.get(name) for name in odd)


def _is_local(normalizer: dict[str, Any] | None) -> bool:
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    return all(step["type"] in NORMALIZERS for step in steps)


def _is_wordlike(token: dict[str, Any]) -> bool:
    """Whether an added token lies within one word and takes nothing of its surroundings."""
    greedy = token["lstrip"] or token["rstrip"] or token["single_word"]
    return not greedy and not re.search(r"\s", token["content"])


def _alternatives(step: dict[str, Any]) -> list[str] | None:
    """The alternatives by which a step cuts, none if it does not cut; None for a step whose cuts are not known."""
    if step.get("type") == "ByteLevel":
        if step.get("add_prefix_space"):
            return None
        return [r" ?\p{L}+", r"\s+(?!\S)", r"\s+"] if step.get("use_regex", True) else []
    if step.get("type") == "Digits":
        return []  # cuts at digits, whatever stands around them
    if step.get("type") != "Split" or (step["behavior"], step["invert"]) not in SPLITS:
        return None
    found = _top_level(step["pattern"].get("Regex", ""))
    return found if ALTERNATIVES.issuperset(found) else None


def _top_level(expression: str) -> list[str]:
    """The alternatives of an expression, those inside brackets left together."""
    parts, depth, begun = [], 0, 0
    for match in re.finditer(r"\\.|[()\[\]|]", expression):
        if match[0] in "([":
            depth += 1
        elif match[0] in ")]":
            depth -= 1
        elif match[0] == "|" and depth == 0:
            parts.append(expression[begun : match.start()])
            begun = match.end()
    return [*parts, expression[begun:]]
