"""Conversations as the workshop guide writes them: <user>Question</user><assistant>Answer</assistant>.

The tags are plain text, not control tokens. BOS (if the tokenizer has one) stands before the first turn and EOS after the last
answer; an answer, its closing tag and the EOS carry loss. Every answer is encoded apart from what stands before it, as the
guide does with prompt and completion, so that the ids of a prompt are those that generation starts from.
The mask is derived twice: from the parts that a conversation is built of, and from the characters of the text they make.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from luthier.text.chat import Mask, Messages, RenderedTalks, as_messages, learnt_turns, picture
from luthier.text.encode import encode_ids, encode_texts
from luthier.text.problems import LineFault, Problems
from luthier.text.row import Row

ANSWER, ANSWER_END = "<assistant>", "</assistant>"
TAGS = re.compile("</?(?:user|assistant)>")
ANSWERS = re.compile(f"{ANSWER}(.*?{ANSWER_END})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of text that is encoded by itself."""

    text: str
    answer: int = -1
    """The number of the answer that it is; -1 for what stands between answers."""


class GuideChatRenderer:
    """Renders conversations in the guide's form."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, train_on: Literal["all", "last"]) -> None:
        self._tokenizer = tokenizer
        self._train_on = train_on
        self._bos: list[int] = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._eos: int = tokenizer.eos_token_id

    def render(self, rows: Sequence[Row]) -> RenderedTalks:
        """Ids and masks of each row. Raises DataError listing every row that has no such form or whose masks disagree."""
        talks = self._parts(rows, with_last_answer=True)
        encodings = iter(
            encode_texts(self._tokenizer, [p.text for _, parts in talks for p in parts], offsets=True)
        )
        problems = Problems()
        ids, masks = [], []
        for row, (messages, parts) in zip(rows, talks, strict=True):
            encoded = [next(encodings) for _ in parts]
            learnt = self._learnt_answers(messages)
            ends = bool(parts) and parts[-1].answer >= 0
            by_parts = [np.full(len(e.ids), p.answer in learnt) for p, e in zip(parts, encoded, strict=True)]
            by_offsets = _mask_by_offsets(parts, encoded, learnt)
            is_tagged = TAGS.search(
                "\n".join(message.content for message in messages)
            )  # left out by who counts it
            if not is_tagged and not np.array_equal(np.concatenate([*by_parts, []]), by_offsets):
                problems.add(row.origin, _disagreement(encoded, np.concatenate(by_parts), by_offsets))
            tail = [self._eos] if ends else []
            ids.append(np.array([*self._bos, *(id for e in encoded for id in e.ids), *tail], dtype=np.uint32))
            is_last_learnt = ends and parts[-1].answer in learnt
            edges = np.zeros(len(self._bos), dtype=bool), np.full(len(tail), is_last_learnt)
            masks.append(np.concatenate([edges[0], *by_parts, edges[1]]).astype(bool))
        problems.raise_if_any()
        return ids, masks

    def render_prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """What an answer to each row starts from: everything up to the tag that opens it."""
        talks = self._parts(rows, with_last_answer=False)
        encoded = iter(encode_ids(self._tokenizer, [part.text for _, parts in talks for part in parts]))
        return [self._bos + [id for _ in parts for id in next(encoded)] for _, parts in talks]

    def _parts(self, rows: Sequence[Row], *, with_last_answer: bool) -> list[tuple[Messages, list[_Part]]]:
        problems, found = Problems(), []
        for row in rows:
            messages = as_messages(row)
            try:
                parts = parts_of(messages, tools=row.tools)
            except LineFault as fault:
                problems.add(row.origin, fault)
                continue
            if not with_last_answer:
                ends = bool(parts) and parts[-1].answer >= 0
                parts = parts[:-1] if ends else [*parts, _Part(ANSWER)]
            found.append((messages, parts))
        problems.raise_if_any()
        return found

    def _learnt_answers(self, messages: Messages) -> set[int]:
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        learnt = learnt_turns(messages, self._train_on)
        return {place for place, number in enumerate(answers) if number in learnt}


def parts_of(messages: Messages, *, tools: str = "") -> list[_Part]:
    """What stands between answers, and the answers with their closing tags. Raises LineFault for what the form cannot say."""
    if tools:
        raise LineFault("data-template", "the row has tools, and guide_chat has no place for them", fix=FIX)
    parts: list[_Part] = []
    waiting, answers = "", 0
    for number, message in enumerate(messages):
        if message.role == "user":
            waiting += f"<user>{message.content}</user>"
        elif message.role == "assistant" and not message.tool_calls:
            parts += [_Part(waiting + ANSWER), _Part(message.content + ANSWER_END, answers)]
            waiting, answers = "", answers + 1
        else:
            what = "a tool call" if message.tool_calls else f"role {message.role}"
            raise LineFault(
                "data-template", f"messages[{number}]: guide_chat has no place for {what}", fix=FIX
            )
    return [*parts, _Part(waiting)] if waiting else parts


def _mask_by_offsets(parts: Sequence[_Part], encoded: Sequence[Encoding], learnt: set[int]) -> Mask:
    """Where a token ends in an answer or its closing tag, as the text alone tells."""
    text = "".join(part.text for part in parts)
    found = [match.span(1) for number, match in enumerate(ANSWERS.finditer(text)) if number in learnt]
    bases = np.cumsum([0, *(len(part.text) for part in parts)])[:-1]
    listed = [
        base + np.array([end for _, end in e.offsets], dtype=np.int64)
        for base, e in zip(bases, encoded, strict=True)
    ]
    ends = np.concatenate([np.empty(0, dtype=np.int64), *listed])
    mask = np.zeros(len(ends), dtype=bool)
    for start, end in found:
        mask |= (ends > start) & (ends <= end)
    return mask


def _disagreement(encoded: Sequence[Encoding], by_parts: Mask, by_offsets: Mask) -> LineFault:
    tokens = [token for encoding in encoded for token in encoding.tokens]
    return LineFault("data-mask", picture(tokens, by_offsets, by_parts, names=("offsets", "parts")), fix=FIX)


FIX = "Use the tokenizer's own chat template: data.template=chat; or remove these rows."
