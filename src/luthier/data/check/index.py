"""What a check keeps of every row so that rows can be compared: the numbers of deduplication, and which split a row is of.

Keys carry the split, so that repeats are looked for within one; only what is asked is kept without it, since a question that
two splits ask is a leak.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from luthier.data.alike.shingles import mix
from luthier.data.alike.wording import Wording, exact_key, fold, short_key, squeeze, tokens_of
from luthier.data.check.source import Record, parse_record
from luthier.data.check.view import View, view_of
from luthier.data.dedup.columns import Array, Columns
from luthier.data.dedup.row_file import RowFile
from luthier.data.dedup.scan import PlacedRow, Rereader
from luthier.data.dedup.sketch import Sketcher
from luthier.data.dedup.table import Table, make_table
from luthier.text.json_lines import LONGEST_LINE_BYTES
from luthier.text.row_files import reading

BATCH_ROWS = 4096
BATCH_CHARACTERS = 2**21
SPLITS = ("train", "validation", "test")
_SPLIT_OF_WORD = {
    "train": 0, "training": 0,
    "valid": 1, "validation": 1, "val": 1, "dev": 1,
    "test": 2, "eval": 2, "evaluation": 2, "heldout": 2, "holdout": 2,
}  # fmt: skip
_NOT_LETTERS = re.compile(r"[^a-z]+")


def split_of(path: Path) -> int:
    """Which of SPLITS a file's name says it is, or else that of its folder; training rows otherwise."""
    for word in _NOT_LETTERS.split(path.stem.lower()):
        if word in _SPLIT_OF_WORD:
            return _SPLIT_OF_WORD[word]
    return _SPLIT_OF_WORD.get(path.parent.name.lower(), 0)


@dataclass(frozen=True)
class Index:
    """The table of all rows that could be read, and beside it what only a check asks. N: rows."""

    table: Table
    question_N: Array
    """Hash of what is asked, folded as the split folds it, whatever the split."""
    body_N: Array
    """Hash of the whole text as written."""
    is_empty_N: Array
    split_N: Array


class IndexWriter:
    """Takes rows one by one; holds a batch of them."""

    def __init__(self, columns: Columns, sketcher: Sketcher | None) -> None:
        self.rows = 0
        self._columns = columns
        self._sketcher = sketcher
        self._batch: list[PlacedRow] = []
        self._extra: list[tuple[bool, int, str]] = []
        self._characters = 0

    def add(
        self, file: int, record: Record, wording: Wording, *, question: str, is_empty: bool, split: int
    ) -> None:
        """Enter a row, with what it asks."""
        self.rows += 1
        self._batch.append(PlacedRow(file, record.line, record.offset, wording))
        self._extra.append((is_empty, split, question))
        self._characters += len(wording.body)
        if len(self._batch) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def close(self, files: Sequence[Path]) -> Index | None:
        """The index; None if no row was entered."""
        self._flush()
        if not self.rows:
            return None
        found = self._columns.close()
        table = make_table(
            tuple(files),
            found,
            source_files=len(files),
            first_against=self.rows,
            spilled_bytes=self._columns.spilled_bytes,
        )
        return Index(table, found["question"], found["body"], found["empty"].astype(bool), found["split"])

    def _flush(self) -> None:
        if not self._batch:
            return
        wordings = [row.wording for row in self._batch]
        columns = self._columns
        split_N = np.array([split for _, split, _ in self._extra], dtype=np.int8)
        salt_N = mix(split_N.astype(np.uint64)) * np.uint64(1 if split_N.any() else 0)
        columns.append("file", np.array([row.file for row in self._batch], dtype=np.int32))
        columns.append("line", np.array([row.line for row in self._batch], dtype=np.int64))
        columns.append("offset", np.array([row.offset for row in self._batch], dtype=np.int64))
        exact_N2 = _numbers([exact_key(each) for each in wordings]).reshape(-1, 2)
        columns.append("exact", exact_N2 ^ salt_N[:, None])
        prompts = [None if each.prompt is None else each.prompt.strip() for each in wordings]
        folded = [None if prompt is None else fold(prompt) for prompt in prompts]
        columns.append("written", _keys(prompts, salt_N))
        columns.append("folded", _keys(folded, salt_N))
        columns.append("answer", _numbers([short_key(squeeze(each.answer)) for each in wordings]))
        columns.append("question", _numbers([short_key(fold(question)) for _, _, question in self._extra]))
        columns.append("body", _numbers([short_key(each.body) for each in wordings]))
        columns.append("empty", np.array([is_empty for is_empty, _, _ in self._extra], dtype=np.int8))
        columns.append("split", split_N)
        if self._sketcher:
            signatures_NK, keys_NB = self._sketcher.sketch([tokens_of(each.body) for each in wordings])
            columns.append("signatures", signatures_NK)
            for band in range(keys_NB.shape[1]):
                columns.append(f"band{band}", keys_NB[:, band] ^ salt_N)
        self._batch, self._extra, self._characters = [], [], 0


def _numbers(keys: Sequence[bytes]) -> Array:
    return np.frombuffer(b"".join(keys), dtype="<u8")


def _keys(prompts: Sequence[str | None], salt_N: Array) -> Array:
    """Keys that carry the split; 0 for rows that ask nothing."""
    keys = _numbers([bytes(8) if prompt is None else short_key(prompt) for prompt in prompts])
    return np.where(keys == 0, keys, keys ^ salt_N)


class ViewReader(Rereader):
    """Reads rows again as the checks see them, from the files or their spools. A context manager: one file stays open."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__([RowFile(path) for path in files])
        self._paths = files
        self._source: BinaryIO | None = None
        self._number = -1

    def __exit__(self, *exception: object) -> None:
        if self._source:
            self._source.close()

    def wording(self, file: int, offset: int) -> Wording:
        """What deduplication compares of the row that starts there. Raises DataError (data-changed) if none does any more."""
        path = self._paths[file]
        with reading(path):
            if self._source is None or self._number != file:
                self.__exit__()
                self._source, self._number = open(path, "rb"), file  # noqa: SIM115  # closed in __exit__
            self._source.seek(offset)
            content = self._source.readline(LONGEST_LINE_BYTES + 2)
        view = view_of(parse_record(Record(0, offset, content), path).fields or {})
        if not isinstance(view, View):
            self.check_unchanged()
            raise AssertionError(f"the row at byte {offset} of {path} was read before")
        return view.wording()
