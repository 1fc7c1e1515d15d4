"""Measure rows in tokens, and what each max_length would cost: rows cut, and the share of trained tokens lost.

Rows that training reads are rendered as training renders them. Others (dialects, tool calls) are counted by their texts alone,
and told.
"""

from dataclasses import dataclass

import numpy as np

from luthier.data.check.kinds import Fault
from luthier.data.check.measure import Measure
from luthier.data.check.view import View
from luthier.data.dedup.columns import Array
from luthier.floor.errors import LuthierError
from luthier.floor.units import count_of
from luthier.text.encode import encode_texts
from luthier.text.render import Renderer, choose_template
from luthier.text.rows import Row
from luthier.text.tokenizer import load_tokenizer

CANDIDATES = (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)
# The guide's validate_dataset calls anything longer very long.
GUIDE_TOKENS = 2048
BATCH_ROWS, BATCH_CHARACTERS = 1024, 2**20

Placed = tuple[int, int, Fault]
"""File, line, and what is said."""


@dataclass
class Totals:
    """Sums over all rows. L: `candidates`."""

    candidates: tuple[int, ...]
    rows: int = 0
    rows_by_text: int = 0
    """Rows that could not be rendered, counted by their texts."""
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    longest_at: tuple[int, int] = (0, 0)
    guide_longest: int = 0
    """The longest row as the guide measures: its text alone, by `tokenizer.encode`."""
    guide_at: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.rows_cut_L = np.zeros(len(self.candidates), dtype=np.int64)
        self.lost_L = np.zeros(len(self.candidates), dtype=np.int64)


class LengthMeter:
    """Takes rows one by one and measures them in batches. Raises ModelError if the tokenizer cannot be used."""

    def __init__(self, measure: Measure) -> None:
        limit = () if measure.max_length is None else (measure.max_length,)
        self.totals = Totals(tuple(sorted({*CANDIDATES, *limit})))
        self._measure = measure
        self._tokenizer = load_tokenizer(measure.tokenizer)
        self._renderers: dict[str, Renderer | None] = {}
        self._batch: list[tuple[int, int, View]] = []
        self._characters = 0

    def add(self, file: int, line: int, view: View) -> list[Placed]:
        """Take a row; returns what a full batch came to."""
        self._batch.append((file, line, view))
        self._characters += sum(len(text.text) for text in view.texts)
        if len(self._batch) < BATCH_ROWS and self._characters < BATCH_CHARACTERS:
            return []
        return self._flush()

    def close(self) -> list[Placed]:
        """What the last rows came to, what every max_length would cost, and the guide's finding."""
        found = self._flush()
        totals = self.totals
        if totals.rows:
            found.append((*totals.longest_at, Fault("lengths", self._told())))
        if totals.guide_longest > GUIDE_TOKENS:
            what = f"Very long sequences detected: max={totals.guide_longest}"
            found.append((*totals.guide_at, Fault("guide-long", what)))
        return found

    def costs(self) -> list[tuple[int, int, float]]:
        """Each max_length up to the first that cuts no row: rows cut, and the share of trained tokens lost."""
        totals, found = self.totals, []
        for place, length in enumerate(totals.candidates):
            share = float(totals.lost_L[place]) / max(1, totals.trained_tokens)
            found.append((length, int(totals.rows_cut_L[place]), share))
            if not totals.rows_cut_L[place]:
                break
        return found

    def _told(self) -> str:
        totals = self.totals
        costs = ", ".join(
            f"{length:,} loses {_percent(share)} ({count_of(rows, 'row')})"
            for length, rows, share in self.costs()
        )
        by_text = (
            f"; {count_of(totals.rows_by_text, 'row')} counted by their texts alone"
            if totals.rows_by_text
            else ""
        )
        return (
            f"the longest row, {totals.longest:,} tokens; trained tokens lost by max_length: {costs}{by_text}"
        )

    def _flush(self) -> list[Placed]:
        batch, self._batch, self._characters = self._batch, [], 0
        if not batch:
            return []
        found: list[Placed] = []
        ends, trained = self._lengths(batch)
        for (file, line, _), length, trained_at in zip(batch, ends, trained, strict=True):
            self._count(file, line, length, trained_at)
            limit = self._measure.max_length
            if limit is not None and length > limit:
                lost = int((trained_at >= limit).sum())
                what = f"{length:,} tokens, {length - limit:,} more than {limit:,}; {_percent(lost / max(1, len(trained_at)))} of its trained tokens lie behind"
                found.append((file, line, Fault("over-long", what)))
        self._count_as_guide(batch)
        return found

    def _count(self, file: int, line: int, length: int, trained_at: Array) -> None:
        totals = self.totals
        totals.rows += 1
        totals.tokens += length
        totals.trained_tokens += len(trained_at)
        if length > totals.longest:
            totals.longest, totals.longest_at = length, (file, line)
        for place, limit in enumerate(totals.candidates):
            if length <= limit:
                break
            totals.rows_cut_L[place] += 1
            totals.lost_L[place] += int((trained_at >= limit).sum())

    def _count_as_guide(self, batch: list[tuple[int, int, View]]) -> None:
        """`len(tokenizer.encode(text))`, as the guide has it; a text has at most a token a byte and some of the tokenizer's."""
        for file, line, view in batch:
            if sum(len(text.text) for text in view.texts) * 4 <= GUIDE_TOKENS:
                continue
            length = len(self._tokenizer.encode(view.wording().body))
            if length > self.totals.guide_longest:
                self.totals.guide_longest, self.totals.guide_at = length, (file, line)

    def _lengths(self, batch: list[tuple[int, int, View]]) -> tuple[list[int], list[Array]]:
        """Of every row its tokens, and the places of those that carry loss."""
        lengths, trained = [0] * len(batch), [np.empty(0, dtype=np.int64)] * len(batch)
        by_kind: dict[str, list[tuple[int, Row]]] = {}
        by_text = []
        for number, (_, _, view) in enumerate(batch):
            row = view.row
            if row is not None and self._renderer(row.kind) is not None:
                by_kind.setdefault(row.kind, []).append((number, row))
            else:
                by_text.append(number)
        for kind, rows in by_kind.items():
            by_text += self._render(kind, rows, lengths, trained)
        self.totals.rows_by_text += len(by_text)
        for number in by_text:
            lengths[number], trained[number] = self._by_text(batch[number][2])
        return lengths, trained

    def _render(
        self,
        kind: str,
        rows: list[tuple[int, Row]],
        lengths: list[int],
        trained: list[Array],
    ) -> list[int]:
        """Measure rows as training renders them; returns the numbers of those that it would refuse."""
        renderer = self._renderers[kind]
        assert renderer is not None
        try:
            block = renderer.render_block([row for _, row in rows])
        except LuthierError:
            if len(rows) == 1:
                return [rows[0][0]]
            half = len(rows) // 2
            refused = self._render(kind, rows[:half], lengths, trained)
            return refused + self._render(kind, rows[half:], lengths, trained)
        starts = np.cumsum(block.lengths_N) - block.lengths_N
        for (number, _), start, length in zip(rows, starts.tolist(), block.lengths_N.tolist(), strict=True):
            lengths[number] = length
            trained[number] = np.flatnonzero(block.trained_T[start : start + length])
        return []

    def _renderer(self, kind: str) -> Renderer | None:
        """The renderer for a kind of rows; None where the tokenizer has no template for it."""
        if kind not in self._renderers:
            measure = self._measure
            try:
                template = choose_template(measure.template, kind)  # type: ignore[arg-type]
                self._renderers[kind] = Renderer(
                    self._tokenizer, template=template, train_on=measure.train_on
                )
            except LuthierError:
                self._renderers[kind] = None
        return self._renderers[kind]

    def _by_text(self, view: View) -> tuple[int, Array]:
        """The tokens of each text by itself, those of the answers trained."""
        encoded = encode_texts(self._tokenizer, [text.text for text in view.texts])
        learnt = {text.path for text in view.answers}
        flags = [
            np.full(len(each.ids), text.path in learnt)
            for text, each in zip(view.texts, encoded, strict=True)
        ]
        flags_T = np.concatenate(flags) if flags else np.empty(0, dtype=bool)
        return len(flags_T), np.flatnonzero(flags_T)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or not share else "less than 0.1%"
