"""Conversations as ids and masks; the mask is derived twice and must come out the same, token for token.

By offsets: the characters that the assistant writes (scaffold.py), and the character offsets of the tokens.
By prefixes: the ids of the conversation up to the turn's header, and up to its end; what lies between is the turn.
White space after the token that ends the turn carries no loss: nobody generates it.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from luthier.text.encode import control_pattern, encode_ids
from luthier.text.encode_pool import EncodedTexts, EncodePool
from luthier.text.outline import Outline, outline_of, placeholder
from luthier.text.problems import LineFault, Problems
from luthier.text.row import Message, Row
from luthier.text.scaffold import (
    NO_TOOLS,
    NO_TOOLS_FIX,
    UNSTABLE,
    UNSTABLE_FIX,
    Ends,
    RenderedTurn,
    Scaffold,
    build_scaffold,
)
from luthier.text.template import Conversation, TemplateRefusal, TemplateRenderer, chat_template
from luthier.text.tokenizer import TURN_ENDS, stop_ids, vocabulary_size

Ids = npt.NDArray[np.uint32]
Ends_T = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
RenderedTalks = tuple[list[Ids], list[Mask]]
Messages = tuple[Message, ...]
# Conversations without tools share a few scaffolds; with them nearly every one has its own, which nobody asks for again.
MOST_SCAFFOLDS = 4096
# What stands in the headers of turns is no text of its own.
HEADER_WORDS = frozenset({"system", "developer", "user", "assistant", "model", "human"})
FEWEST_WORDS_TOLD = 3
MOST_CHARACTERS_TOLD = 160


def as_messages(row: Row) -> Messages:
    """A row as a conversation up to its last answer: what follows that carries no loss and changes none."""
    if row.kind == "prompt_completion":
        return (Message("user", row.prompt), Message("assistant", row.completion))
    answers = [number for number, message in enumerate(row.messages) if message.role == "assistant"]
    return row.messages[: answers[-1] + 1] if answers else row.messages


def learnt_turns(messages: Messages, train_on: Literal["all", "last"]) -> list[int]:
    """The numbers of the assistant's turns that carry loss: all or the last, and of these none whose weight is 0."""
    answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
    chosen = answers[-1:] if train_on == "last" else answers
    return [number for number in chosen if messages[number].is_learnt]


@dataclass(frozen=True)
class _Talk:
    """A row on its way: its conversation, the turns that are learnt, and the texts that the template makes of it."""

    row: Row
    messages: Messages
    learnt: list[int]
    wanted: list[Conversation]
    """The whole conversation, then for each learnt turn what comes before it and what ends with it."""
    texts: list[str] = field(default_factory=list)


class ChatRenderer:
    """Renders conversations with the tokenizer's template. Raises DataError (data-template) if it has none."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        train_on: Literal["all", "last"] = "all",
        pool: EncodePool | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._pool = pool or EncodePool(tokenizer.backend_tokenizer, workers=0)
        self._train_on = train_on
        self._template = TemplateRenderer(tokenizer)
        self._control = control_pattern(tokenizer)
        self._scaffolds: dict[Hashable, Scaffold] = {}
        ends = {
            id: token.content
            for id, token in tokenizer.added_tokens_decoder.items()
            if token.special or token.content in TURN_ENDS
        }
        self._is_end_V = np.zeros(vocabulary_size(tokenizer), dtype=bool)
        self._is_end_V[list(ends)] = True
        self._stop_ids = frozenset(stop_ids(tokenizer))
        pattern = "|".join(re.escape(text) for text in sorted(ends.values(), key=len)[::-1])
        stops = frozenset(text for id, text in ends.items() if id in self._stop_ids)
        self._ends = Ends(re.compile(pattern), stops)

    def notes(self) -> list[str]:
        """What the template adds of its own that a person should know of: text that nobody gave, and today's date."""
        notes = []
        found = self._template.render([Conversation((Message("user", placeholder(0)),))])[0]
        before = "" if isinstance(found, TemplateRefusal) else found.partition(placeholder(0))[0]
        words = [word for word in self._ends.pattern.sub(" ", before).split() if word not in HEADER_WORDS]
        if len(words) >= FEWEST_WORDS_TOLD:
            said = " ".join(words)
            shown = said if len(said) <= MOST_CHARACTERS_TOLD else said[: MOST_CHARACTERS_TOLD - 3] + "..."
            notes.append(f"the chat template writes before a conversation what no row says: {shown}")
        if "strftime_now" in chat_template(self._tokenizer):
            notes.append("the chat template may write the day's date: tokens prepared tomorrow can differ")
        return notes

    def render(self, rows: Sequence[Row]) -> RenderedTalks:
        """Ids and masks of each row. Raises DataError listing every row that the template or the masks refuse."""
        return self.begin(rows)()

    def begin(self, rows: Sequence[Row]) -> Callable[[], RenderedTalks]:
        """Begin to render; what is returned waits for it. Either raises DataError as `render` does."""
        talks = self._talks(rows, Problems())
        whole = [talk.texts[0] for talk in talks]
        # A text up to the end of a last turn is the whole conversation as a rule, which is encoded anyway.
        parts = list(dict.fromkeys(text for talk in talks for text in talk.texts[1:]).keys() - set(whole))
        parts.sort()  # a set has no order, and a journal finds texts by theirs
        whole_encoding = self._pool.encode(whole, control_tokens=True, offsets=True)
        return partial(
            self._finish, talks, whole_encoding, parts, self._pool.encode(parts, control_tokens=True)
        )

    def _finish(
        self,
        talks: Sequence[_Talk],
        whole_encoding: Future[EncodedTexts],
        parts: Sequence[str],
        parts_encoding: Future[EncodedTexts],
    ) -> RenderedTalks:
        problems = Problems()
        ids_of = dict(zip(parts, parts_encoding.result().each(), strict=True))
        encoded = list(whole_encoding.result().each_with_ends())
        ids_of.update((talk.texts[0], ids) for talk, (ids, _) in zip(talks, encoded, strict=True))
        masks: list[Mask] = []
        for talk, (ids, ends) in zip(talks, encoded, strict=True):
            prefixes = [(ids_of[before], ids_of[after]) for before, after in _pairs(talk.texts)]
            try:
                self._check_start(ids)
                masks.append(self._mask(talk, ids, ends, prefixes))
            except LineFault as fault:
                if self._spells_control_token(talk.row):  # such a row is left out, whatever its mask would be
                    masks.append(np.zeros(len(ids), dtype=bool))
                else:
                    problems.add(talk.row.origin, fault)
        problems.raise_if_any()
        return [ids for ids, _ in encoded], masks

    def render_prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """What an answer to each row starts from: the turns before the last answer, and the header of that answer."""
        wanted = []
        for row in rows:
            messages = as_messages(row)
            before = messages[:-1] if messages and messages[-1].role == "assistant" else messages
            wanted.append(Conversation(before, wants_prompt=True, tools=row.tools))
        return encode_ids(self._tokenizer, self._render(rows, wanted), control_tokens=True)

    def _talks(self, rows: Sequence[Row], problems: Problems) -> list[_Talk]:
        """The rows with their texts. Raises DataError listing the rows that the template refuses."""
        talks = []
        for row in rows:
            messages = as_messages(row)
            learnt = learnt_turns(messages, self._train_on)
            talks.append(_Talk(row, messages, learnt, _wanted(messages, learnt, row.tools)))
        answers = iter(self._template.render([each for talk in talks for each in talk.wanted]))
        for talk in talks:
            found = [next(answers) for _ in talk.wanted]
            refusal = next((text for text in found if isinstance(text, TemplateRefusal)), None)
            if refusal:
                problems.add(talk.row.origin, _refused(refusal))
            talk.texts.extend(map(str, found))
        problems.raise_if_any()
        return talks

    def _render(self, rows: Sequence[Row], conversations: Sequence[Conversation]) -> list[str]:
        problems, texts = Problems(), []
        for row, text in zip(rows, self._template.render(conversations), strict=True):
            if isinstance(text, TemplateRefusal):
                problems.add(row.origin, _refused(text))
            texts.append(str(text))
        problems.raise_if_any()
        return texts

    def _spells_control_token(self, row: Row) -> bool:
        return any(self._control.search(text) for text in row.texts())

    def _check_start(self, ids: Ids) -> None:
        """Raise LineFault if the text begins twice: models are hurt by a second begin-of-text token."""
        bos = self._tokenizer.bos_token_id
        if bos is not None and ids[:2].tolist() == [bos, bos]:
            what = f"the chat template begins the text with two {self._tokenizer.bos_token} tokens"
            raise LineFault("data-template", what, fix=BOS_FIX)

    def _mask(self, talk: _Talk, ids: Ids, ends: Ends_T, prefixes: Sequence[tuple[Ids, Ids]]) -> Mask:
        """Both derivations, compared. Raises LineFault (data-mask) showing where they part."""
        if not talk.learnt:
            return np.zeros(len(ids), dtype=bool)
        if not all(talk.texts[0].startswith(text) for text in talk.texts[1::2]):
            raise LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
        by_offsets = self._mask_by_offsets(talk, ends)
        by_prefixes = self._mask_by_prefixes(ids, prefixes)
        if not np.array_equal(by_offsets, by_prefixes):
            tokens = self._tokenizer.convert_ids_to_tokens(ids.tolist())
            raise LineFault("data-mask", picture(tokens, by_offsets, by_prefixes), fix=MASK_FIX)
        return by_offsets

    def _mask_by_offsets(self, talk: _Talk, ends: Ends_T) -> Mask:
        outline = outline_of(talk.messages)
        spans = self._scaffold(talk, outline).fill(talk.texts[0], outline.holes)
        if spans is None:
            raise LineFault("data-mask", REWRITTEN, fix=MASK_FIX)
        # A token belongs to where it ends: tokenizers may leave white space out of the start of an offset.
        mask = np.zeros(len(ends), dtype=bool)
        for start, end in spans:
            mask |= (ends > start) & (ends <= end)
        return mask

    def _mask_by_prefixes(self, ids: Ids, prefixes: Sequence[tuple[Ids, Ids]]) -> Mask:
        mask = np.zeros(len(ids), dtype=bool)
        for before, after in prefixes:
            start, end = _shared(ids, before), _shared(ids, after)
            ended_at = start + np.flatnonzero(self._is_end_V[ids[start:end]])
            mask[start : self._end_of_turn(ids, ended_at) if len(ended_at) else start] = True
        return mask

    def _end_of_turn(self, ids: Ids, ended_at: npt.NDArray[np.int64]) -> int:
        """One past the last of the control tokens, or past the stop that it follows with nothing but white space between."""
        places = [int(place) for place in ended_at]
        last = places.pop()
        while places and {int(ids[last]), int(ids[places[-1]])} <= self._stop_ids:
            if str(self._tokenizer.decode(ids[places[-1] + 1 : last].tolist())).strip():
                break
            last = places.pop()
        return last + 1

    def _scaffold(self, talk: _Talk, outline: Outline) -> Scaffold:
        """The scaffold of conversations that differ in nothing but what is said. Raises LineFault (data-template, data-mask)."""
        key = (outline.structure, tuple(talk.learnt), talk.row.tools)
        found = self._scaffolds.get(key)
        if found is None:
            if len(self._scaffolds) >= MOST_SCAFFOLDS:
                self._scaffolds.clear()
            found = self._scaffolds[key] = self._build_scaffold(talk, outline)
        return found

    def _build_scaffold(self, talk: _Talk, outline: Outline) -> Scaffold:
        wanted = _wanted(outline.messages, talk.learnt, talk.row.tools)
        if talk.row.tools:
            wanted.append(Conversation(outline.messages))
        texts = self._template.render(wanted)
        refusal = next((text for text in texts if isinstance(text, TemplateRefusal)), None)
        if refusal:
            raise _refused(refusal)
        full, *parts = map(str, texts)
        if talk.row.tools and parts.pop() == full:
            raise LineFault("data-template", NO_TOOLS, fix=NO_TOOLS_FIX)
        turns = [
            RenderedTurn(number, before, after)
            for number, (before, after) in zip(talk.learnt, _pairs([full, *parts]), strict=True)
        ]
        return build_scaffold(full, turns, outline.holes, self._ends)


def _wanted(messages: Messages, learnt: Sequence[int], tools: str) -> list[Conversation]:
    """A conversation whole; then for each learnt turn the text up to its header, and the text up to its end."""
    wanted = [Conversation(messages, tools=tools)]
    for number in learnt:
        wanted.append(Conversation(messages[:number], wants_prompt=True, tools=tools))
        wanted.append(Conversation(messages[: number + 1], tools=tools))
    return wanted


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """The texts before and after each learnt turn, from what `_wanted` asks for."""
    return list(zip(texts[1::2], texts[2::2], strict=True))


def _shared(ids: Ids, prefix: Ids) -> int:
    """How many first ids the two share; tokens may merge across the seam, so it may be fewer than the prefix has."""
    length = min(len(ids), len(prefix))
    differs = np.flatnonzero(ids[:length] != prefix[:length])
    return int(differs[0]) if len(differs) else length


def _refused(refusal: TemplateRefusal) -> LineFault:
    fix = "Mend or remove the rows listed; the template decides which turns may follow each other."
    return LineFault("data-template", f"the chat template refuses the conversation: {refusal}", fix=fix)


def picture(
    tokens: Sequence[str],
    by_offsets: Mask,
    by_other: Mask,
    *,
    names: tuple[str, str] = ("offsets", "prefixes"),
) -> str:
    """The tokens around the first disagreement, each with what the two derivations say."""
    at = int(np.flatnonzero(by_offsets != by_other)[0])
    lines = [
        f"two ways to find the trained tokens disagree from token {at} on",
        f"      token  {names[0]}  {names[1]}  text",
    ]
    for place in range(max(0, at - 3), min(len(by_offsets), at + 4)):
        said = "  ".join(
            ("loss" if mask[place] else "-").ljust(len(name))
            for mask, name in zip((by_offsets, by_other), names, strict=True)
        )
        lines.append(f"      {place:5d}  {said}  {tokens[place]!r}")
    return "\n".join(lines)


REWRITTEN = (
    "the chat template changes what the messages say, so what the assistant wrote cannot be found in its text"
)
MASK_FIX = "Give these rows as prompt/completion (data.template=guide), or remove them."
BOS_FIX = "Use a template that writes the begin-of-text token once."
