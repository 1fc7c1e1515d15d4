"""Conversations as ids and masks; the mask is derived twice and must come out the same, token for token.

By offsets: the characters that the assistant writes (scaffold.py), and the character offsets of the tokens.
By prefixes: the ids of the conversation up to the turn's header, and up to its end; what lies between is the turn.
White space after the token that ends the turn carries no loss: nobody generates it.
"""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from luthier.text.encode import encode_ids, encode_texts
from luthier.text.problems import LineFault, Problems
from luthier.text.row_shapes import Message, Row
from luthier.text.scaffold import (
    UNSTABLE,
    UNSTABLE_FIX,
    RenderedTurn,
    Scaffold,
    build_scaffold,
    with_placeholders,
)
from luthier.text.template import Conversation, TemplateRefusal, TemplateRenderer
from luthier.text.tokenizer import TURN_ENDS

Mask = npt.NDArray[np.bool_]
Messages = tuple[Message, ...]


def as_messages(row: Row) -> Messages:
    """A row as a conversation up to its last answer: what follows that carries no loss and changes none."""
    if row.kind == "prompt_completion":
        return (Message("user", row.prompt), Message("assistant", row.completion))
    answers = [number for number, message in enumerate(row.messages) if message.role == "assistant"]
    return row.messages[: answers[-1] + 1] if answers else row.messages


class ChatRenderer:
    """Renders conversations with the tokenizer's template. Raises DataError (data-template) if it has none."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, train_on: Literal["all", "last"] = "all"
    ) -> None:
        self._tokenizer = tokenizer
        self._train_on = train_on
        self._template = TemplateRenderer(tokenizer)
        self._scaffolds: dict[tuple[str, ...], Scaffold] = {}
        ends = {
            id: token.content
            for id, token in tokenizer.added_tokens_decoder.items()
            if token.special or token.content in TURN_ENDS
        }
        self._end_ids = np.array(sorted(ends), dtype=np.int64)
        self._end_pattern = re.compile(
            "|".join(re.escape(text) for text in sorted(ends.values(), key=len)[::-1])
        )

    def render(self, rows: Sequence[Row]) -> tuple[list[npt.NDArray[np.int64]], list[Mask]]:
        """Ids and masks of each row. Raises DataError listing every row that the template or the masks refuse."""
        problems = Problems()
        conversations = [as_messages(row) for row in rows]
        turns = [self._trained_turns(messages) for messages in conversations]
        texts = self._texts(rows, conversations, turns, problems)
        problems.raise_if_any()
        encodings = encode_texts(
            self._tokenizer, [parts[0] for parts in texts], control_tokens=True, offsets=True
        )
        prefixes = iter(self._prefix_ids([part for parts in texts for part in parts[1:]]))
        masks: list[Mask] = []
        for row, messages, numbers, parts, encoding in zip(
            rows, conversations, turns, texts, encodings, strict=True
        ):
            pairs = [(next(prefixes), next(prefixes)) for _ in numbers]
            try:
                masks.append(self._mask(messages, numbers, parts, encoding, pairs))
            except LineFault as fault:
                problems.add(row.origin, fault)
        problems.raise_if_any()
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings], masks

    def render_prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """What an answer to each row starts from: the turns before the last answer, and the header of that answer."""
        conversations = [as_messages(row) for row in rows]
        before = [m[:-1] if m and m[-1].role == "assistant" else m for m in conversations]
        return encode_ids(
            self._tokenizer, self._render(rows, [(m, True) for m in before]), control_tokens=True
        )

    def _trained_turns(self, messages: Messages) -> list[int]:
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        return answers[-1:] if self._train_on == "last" else answers

    def _texts(
        self,
        rows: Sequence[Row],
        conversations: Sequence[Messages],
        turns: Sequence[Sequence[int]],
        problems: Problems,
    ) -> list[list[str]]:
        """For each row its full text, then for each trained turn the text up to its header and the text up to its end."""
        wanted = [
            [(messages, False), *(part for number in numbers for part in _parts(messages, number))]
            for messages, numbers in zip(conversations, turns, strict=True)
        ]
        answers = iter(self._template.render([part for parts in wanted for part in parts]))
        texts = []
        for row, parts in zip(rows, wanted, strict=True):
            found = [next(answers) for _ in parts]
            refusal = next((text for text in found if isinstance(text, TemplateRefusal)), None)
            if refusal:
                problems.add(row.origin, _refused(refusal))
            texts.append([str(text) for text in found])
        return texts

    def _render(self, rows: Sequence[Row], conversations: Sequence[Conversation]) -> list[str]:
        problems, texts = Problems(), []
        for row, text in zip(rows, self._template.render(conversations), strict=True):
            if isinstance(text, TemplateRefusal):
                problems.add(row.origin, _refused(text))
            texts.append(str(text))
        problems.raise_if_any()
        return texts

    def _prefix_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_ids(self._tokenizer, texts, control_tokens=True)

    def _mask(
        self,
        messages: Messages,
        numbers: Sequence[int],
        texts: Sequence[str],
        encoding: Encoding,
        prefixes: Sequence[tuple[list[int], list[int]]],
    ) -> Mask:
        """Both derivations, compared. Raises LineFault (data-mask) showing where they part."""
        if not numbers:
            return np.zeros(len(encoding.ids), dtype=bool)
        if not all(texts[0].startswith(text) for text in texts[1:]):
            raise LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
        by_offsets = self._mask_by_offsets(messages, numbers, texts[0], encoding)
        by_prefixes = self._mask_by_prefixes(np.array(encoding.ids, dtype=np.int64), prefixes)
        if not np.array_equal(by_offsets, by_prefixes):
            raise LineFault("data-mask", _picture(encoding, by_offsets, by_prefixes), fix=MASK_FIX)
        return by_offsets

    def _mask_by_offsets(
        self, messages: Messages, numbers: Sequence[int], text: str, encoding: Encoding
    ) -> Mask:
        spans = self._scaffold(messages, numbers).fill(text, [message.content for message in messages])
        if spans is None:
            raise LineFault("data-mask", REWRITTEN, fix=MASK_FIX)
        # A token belongs to where it ends: tokenizers may leave white space out of the start of an offset.
        ends = np.array([end for _, end in encoding.offsets], dtype=np.int64)
        mask = np.zeros(len(ends), dtype=bool)
        for start, end in spans:
            mask |= (ends > start) & (ends <= end)
        return mask

    def _mask_by_prefixes(
        self, ids: npt.NDArray[np.int64], prefixes: Sequence[tuple[list[int], list[int]]]
    ) -> Mask:
        mask = np.zeros(len(ids), dtype=bool)
        for before, after in prefixes:
            start, end = _shared(ids, before), _shared(ids, after)
            ended_at = np.flatnonzero(np.isin(ids[start:end], self._end_ids))
            mask[start : start + int(ended_at[-1]) + 1 if len(ended_at) else start] = True
        return mask

    def _scaffold(self, messages: Messages, numbers: Sequence[int]) -> Scaffold:
        """The scaffold of this sequence of roles; templates see nothing else of a conversation with placeholders."""
        roles = tuple(message.role for message in messages)
        if roles not in self._scaffolds:
            blank = tuple(with_placeholders(messages))
            wanted = [(blank, False), *(part for number in numbers for part in _parts(blank, number))]
            texts = self._template.render(wanted)
            refusal = next((text for text in texts if isinstance(text, TemplateRefusal)), None)
            if refusal:
                raise _refused(refusal)
            found = [str(text) for text in texts]
            turns = [
                RenderedTurn(number, found[1 + 2 * place], found[2 + 2 * place])
                for place, number in enumerate(numbers)
            ]
            self._scaffolds[roles] = build_scaffold(found[0], turns, self._end_pattern)
        return self._scaffolds[roles]


def _parts(messages: Messages, number: int) -> tuple[Conversation, Conversation]:
    """A conversation up to the header of turn `number`, and up to the end of that turn."""
    return (messages[:number], True), (messages[: number + 1], False)


def _shared(ids: npt.NDArray[np.int64], prefix: Sequence[int]) -> int:
    """How many first ids the two share; tokens may merge across the seam, so it may be fewer than the prefix has."""
    length = min(len(ids), len(prefix))
    differs = np.flatnonzero(ids[:length] != np.array(prefix[:length], dtype=np.int64))
    return int(differs[0]) if len(differs) else length


def _refused(refusal: TemplateRefusal) -> LineFault:
    fix = "Mend or remove the rows listed; the template decides which turns may follow each other."
    return LineFault("data-template", f"the chat template refuses the conversation: {refusal}", fix=fix)


def _picture(encoding: Encoding, by_offsets: Mask, by_prefixes: Mask) -> str:
    """The tokens around the first disagreement, each with what the two derivations say."""
    at = int(np.flatnonzero(by_offsets != by_prefixes)[0])
    lines = [
        f"two ways to find the trained tokens disagree from token {at} on",
        "      token  offsets  prefixes  text",
    ]
    for place in range(max(0, at - 3), min(len(by_offsets), at + 4)):
        said = "  ".join("loss   " if mask[place] else "-      " for mask in (by_offsets, by_prefixes))
        lines.append(f"      {place:5d}  {said}  {encoding.tokens[place]!r}")
    return "\n".join(lines)


REWRITTEN = (
    "the chat template changes what the messages say, so what the assistant wrote cannot be found in its text"
)
MASK_FIX = "Give these rows as prompt/completion (data.template=guide), or remove them."
