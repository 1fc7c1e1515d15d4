"""Turn rows into token ids and a mask of what carries loss.

Four layouts. Prompt/completion by the guide: BOS (if the tokenizer has one) + prompt + newline + completion + EOS, the two
segments encoded apart, so that the ids of the prompt are those that generation starts from; completion and EOS carry loss.
Text: BOS + text + EOS, all of it carries loss. Conversations: the tokenizer's chat template (chat.py), or the guide's tags
(guide_chat.py). Rows that came as tokens are taken as they are (token_rows.py).
The first token of a row never carries loss, since nothing precedes it. What a text says never becomes a control token.
Axes: N rows, T tokens of several rows end to end.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from luthier.floor.errors import DataError, RecipeError
from luthier.text.chat import ChatRenderer, RenderedTalks, as_messages
from luthier.text.encode import control_pattern, encode_ids
from luthier.text.encode_journal import EncodeJournal
from luthier.text.encode_pool import EncodedTexts, EncodePool
from luthier.text.guide_chat import ANSWER_END, TAGS, GuideChatRenderer
from luthier.text.row import Row, RowKind
from luthier.text.token_rows import join_tokens
from luthier.text.tokenizer import stop_ids, vocabulary_size

__all__ = ["Rendered", "RenderedBlock", "Renderer", "choose_template", "stop_ids"]

Template = Literal["guide", "chat", "guide_chat"]
# A text row has no prompt; where one is wanted to look at what the model writes, its beginning serves.
OPENING_CHARACTERS = 200

IdsT = npt.NDArray[np.uint32]
MaskT = npt.NDArray[np.bool_]
LengthsN = npt.NDArray[np.int64]

CANNOT_RENDER = (("guide", "messages"), ("chat", "text"), ("guide_chat", "text"))


@dataclass(frozen=True)
class Rendered:
    """One row: ids, and which of them carry loss."""

    ids: list[int]
    trained: list[bool]


@dataclass(frozen=True)
class RenderedBlock:
    """N rows end to end."""

    ids_T: IdsT
    trained_T: MaskT
    lengths_N: LengthsN
    has_control_text_N: npt.NDArray[np.bool_]
    """Whether a text of the row spells a control token."""

    def select(self, keep_N: npt.NDArray[np.bool_]) -> "RenderedBlock":
        """The rows for which `keep_N` is true."""
        keep_T = np.repeat(keep_N, self.lengths_N)
        return RenderedBlock(
            self.ids_T[keep_T],
            self.trained_T[keep_T],
            self.lengths_N[keep_N],
            self.has_control_text_N[keep_N],
        )


class Renderer:
    """Renders rows with one tokenizer, by one template. Raises DataError (data-template) if it needs a missing one."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: Template,
        train_on: Literal["all", "last"] = "all",
        journal: EncodeJournal | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._pool = EncodePool(tokenizer.backend_tokenizer, journal=journal)
        self._chat: ChatRenderer | GuideChatRenderer | None = None
        if template == "chat":
            self._chat = ChatRenderer(tokenizer, train_on=train_on, pool=self._pool)
        elif template == "guide_chat":
            self._chat = GuideChatRenderer(tokenizer, train_on=train_on)
        self._control = TAGS if template == "guide_chat" else control_pattern(tokenizer)
        self._bos: list[int] = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._eos: int = tokenizer.eos_token_id

    @property
    def answer_end(self) -> str:
        """The text that ends an answer before its end-of-text token, and is no part of it; empty if there is none."""
        return ANSWER_END if isinstance(self._chat, GuideChatRenderer) else ""

    def notes(self) -> list[str]:
        """What a chat template adds of its own, in sentences."""
        return self._chat.notes() if isinstance(self._chat, ChatRenderer) else []

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return stop_ids(self._tokenizer)

    def render(self, row: Row) -> Rendered:
        """One row. Raises DataError naming the row if its template refuses it or its masks disagree."""
        block = self.render_block([row])
        return Rendered(block.ids_T.tolist(), block.trained_T.tolist())

    def render_block(self, rows: Sequence[Row]) -> RenderedBlock:
        """Many rows of one kind at once, far faster than one by one."""
        return self.begin_block(rows)()

    @property
    def blocks_at_once(self) -> int:
        """How many blocks should be begun before the first is waited for, to keep every core busy."""
        return 1 if isinstance(self._chat, GuideChatRenderer) else self._pool.parallel_blocks

    def begin_block(self, rows: Sequence[Row]) -> Callable[[], RenderedBlock]:
        """Begin to render a block; what is returned waits for it. Blocks may be waited for in any order."""
        if not rows:
            empty = np.empty(0, dtype=np.uint32), np.empty(0, dtype=bool), np.empty(0, dtype=np.int64)
            return lambda: RenderedBlock(*empty, np.empty(0, dtype=bool))
        if rows[0].kind == "tokens":
            return partial(self._finish_tokens, rows)
        if self._chat:
            wait = (
                self._chat.begin(rows)
                if isinstance(self._chat, ChatRenderer)
                else partial(self._chat.render, rows)
            )
            return partial(self._finish_chat, rows, wait)
        texts = [text for row in rows for text in _segments(row)]
        return partial(self._finish_framed, rows, self._pool.encode(texts))

    def close(self) -> None:
        """End the processes that encode, if there are any."""
        self._pool.close()

    def _finish_chat(self, rows: Sequence[Row], wait: Callable[[], RenderedTalks]) -> RenderedBlock:
        parts, masks = wait()
        ids_T, trained_T = np.concatenate(parts).astype(np.uint32), np.concatenate(masks)
        return self._block(rows, ids_T, trained_T, np.array([len(part) for part in parts], dtype=np.int64))

    def _finish_tokens(self, rows: Sequence[Row]) -> RenderedBlock:
        return self._block(rows, *join_tokens(rows, vocabulary_size=self._vocabulary_size))

    @cached_property
    def _vocabulary_size(self) -> int:
        return vocabulary_size(self._tokenizer)

    def _finish_framed(self, rows: Sequence[Row], encoding: Future[EncodedTexts]) -> RenderedBlock:
        encoded = encoding.result()
        segments = len(_segments(rows[0]))
        ids_T, lengths_N = self._framed(encoded, segments)
        if segments == 1:
            return self._block(rows, ids_T, np.ones(len(ids_T), dtype=bool), lengths_N)
        counts_N2 = encoded.lengths_N.reshape(-1, 2) + np.array([len(self._bos), 1])
        trained_T = np.repeat(np.tile([False, True], len(rows)), counts_N2.ravel())
        return self._block(rows, ids_T, trained_T, lengths_N)

    def _block(
        self, rows: Sequence[Row], ids_T: IdsT, trained_T: MaskT, lengths_N: LengthsN
    ) -> RenderedBlock:
        trained_T[(np.cumsum(lengths_N) - lengths_N)[lengths_N > 0]] = False
        has_control_text_N = np.array([self.spells_control_token(row) for row in rows], dtype=bool)
        return RenderedBlock(ids_T, trained_T, lengths_N, has_control_text_N)

    def render_prompt(self, row: Row) -> list[int]:
        """What generation starts from: everything before the answer."""
        return self.render_prompts([row])[0]

    def render_prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """What generation starts from, for many rows of one kind."""
        if self._chat:
            return self._chat.render_prompts(rows)
        openings = [_opening(row.text) if row.kind == "text" else row.prompt + "\n" for row in rows]
        return [self._bos + ids for ids in encode_ids(self._tokenizer, openings)]

    def expected(self, row: Row) -> str:
        """The answer that the row gives."""
        if row.kind == "prompt_completion":
            return row.completion
        if row.kind == "text":
            return row.text[len(_opening(row.text)) :]
        messages = as_messages(row)
        return messages[-1].content if messages and messages[-1].role == "assistant" else ""

    def _framed(self, encoded: EncodedTexts, segments: int) -> tuple[IdsT, LengthsN]:
        """Rows of so many encoded segments each, with BOS before and EOS behind."""
        lengths_N = encoded.lengths_N.reshape(-1, segments).sum(axis=1) + len(self._bos) + 1
        ends_N = np.cumsum(lengths_N)
        ids_T = np.empty(ends_N[-1], dtype=np.uint32)
        is_said_T = np.ones(len(ids_T), dtype=bool)
        for edge, places_N in ((self._bos, ends_N - lengths_N), ([self._eos], ends_N - 1)):
            if edge:
                ids_T[places_N] = edge[0]
                is_said_T[places_N] = False
        ids_T[is_said_T] = encoded.ids_T
        return ids_T, lengths_N

    def spells_control_token(self, row: Row) -> bool:
        """Whether a text of the row spells a control token: in a rendered conversation it would be one."""
        return any(self._control.search(text) for text in row.texts() if text)


def _segments(row: Row) -> list[str]:
    """What of the row is encoded by itself: prompt and completion apart, so that no token spans the seam."""
    return [row.text] if row.kind == "text" else [row.prompt + "\n", row.completion]


def choose_template(setting: Literal["auto"] | Template, row_kind: RowKind) -> Template:
    """`auto` takes the chat template for conversations and the guide's rule for the rest.

    Rows of tokens are rendered already; what is set says how the model is asked later on.

    Raises RecipeError (cfg-conflict) for conversations by the guide, and for plain text by a chat template; DataError
    (data-objective) for preference pairs, which no objective of today learns from.
    """
    if row_kind == "preference":
        raise DataError(
            "data-objective",
            "the rows are preference pairs: a better and a worse answer to the same question",
            where="data.path",
            why="They are for preference objectives such as DPO, which compare the two; to learn an answer as it stands "
            "would leave out what the pairs say.",
            fix="Train on rows with one answer each; of preference pairs, on a copy of the better ones: "
            """jq -c '{prompt, completion: .chosen}' pairs.jsonl > rows.jsonl""",
        )
    if setting == "auto":
        return "chat" if row_kind == "messages" else "guide"
    if (setting, row_kind) in CANNOT_RENDER:
        raise RecipeError(
            "cfg-conflict",
            f"data.template is {setting}, and the rows are {row_kind}",
            where="data.template",
            fix="Leave data.template at auto.",
        )
    return setting


def _opening(text: str) -> str:
    """The first half of a text, at most so many characters, up to a space where there is one."""
    end = min(len(text) // 2, OPENING_CHARACTERS)
    space = text.rfind(" ", 0, end)
    return text[:space] if space > 0 else text[:end]
