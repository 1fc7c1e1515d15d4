"""One pass over all rows: what is kept of each is some numbers, never its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.data.alike.wording import exact_key, fold, short_key, squeeze, tokens_of
from luthier.data.dedup.columns import Array, Columns
from luthier.data.dedup.row_file import RowFile
from luthier.data.dedup.scan import PlacedRow, read_rows_of
from luthier.data.dedup.sketch import Sketcher
from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.text.readers.sizes import guess_unpacked_bytes

BATCH_CHARACTERS = 2**21
INTERRUPTED = "the search for duplicates was interrupted; nothing was written"


@dataclass(frozen=True)
class Table:
    """Every row by its number: sources first, in order, then the files to compare against. N: rows, K, B as in sketch.py."""

    files: tuple[Path, ...]
    markers: tuple[str, ...]
    """What stands in an origin between each file's name and a row's number."""
    source_files: int
    """So many of the files are sources, the others are compared against."""
    file_N: Array
    line_N: Array
    offset_N: Array
    exact_N2: Array
    """128 bits of the exact key."""
    written_N: Array
    """Hash of the prompt as written, but for white space at its ends; 0 for plain text."""
    folded_N: Array
    """Hash of the folded prompt; 0 for plain text."""
    answer_N: Array
    """Hash of the squeezed answer."""
    first_against: int
    """The number of the first row to compare against."""
    signatures_NK: Array | None
    bands: tuple[Array, ...]
    spilled_bytes: int

    def __len__(self) -> int:
        return len(self.file_N)

    def origin(self, row: int) -> str:
        """`data/train.jsonl:17`"""
        file = int(self.file_N[row])
        return f"{self.files[file]}{self.markers[file]}{self.line_N[row]}"


def read_table(
    sources: Sequence[RowFile],
    against: Sequence[RowFile],
    columns: Columns,
    *,
    sketcher: Sketcher | None,
    batch_rows: int,
    listener: Listener,
    stop: StopFlag,
) -> Table:
    """Read every row once. Without a sketcher there are no signatures, and only exact repeats can be found."""
    files = (*sources, *against)
    sizes = [guess_unpacked_bytes(file.path) for file in files]
    total, done_before = sum(sizes), [0, *np.cumsum(sizes).tolist()]
    batch: list[PlacedRow] = []
    characters, rows, first_against = 0, 0, None
    for row in read_rows_of(files):
        if first_against is None and row.file >= len(sources):
            first_against = rows
        rows += 1
        batch.append(row)
        characters += len(row.wording.body)
        if len(batch) >= batch_rows or characters >= BATCH_CHARACTERS:
            stop.check(INTERRUPTED, fix="Repeat the command.")
            append_rows(batch, columns, sketcher)
            done = done_before[row.file] + min(row.offset, sizes[row.file])  # a copy may be the longer
            listener.progress("read", done, total, count_of(rows, "row"))
            batch, characters = [], 0
    if batch:
        append_rows(batch, columns, sketcher)
    if not rows or first_against == 0:
        raise _no_rows([source.path for source in sources])
    listener.progress("read", total, total, count_of(rows, "row"))
    first_against = rows if first_against is None else first_against
    return make_table(
        tuple(file.path for file in files),
        columns.close(),
        markers=tuple(file.marker for file in files),
        source_files=len(sources),
        first_against=first_against,
        spilled_bytes=columns.spilled_bytes,
    )


def append_rows(batch: Sequence[PlacedRow], columns: Columns, sketcher: Sketcher | None) -> None:
    """Enter a batch of rows."""
    wordings = [row.wording for row in batch]
    columns.append("file", np.array([row.file for row in batch], dtype=np.int32))
    columns.append("line", np.array([row.line for row in batch], dtype=np.int64))
    columns.append("offset", np.array([row.offset for row in batch], dtype=np.int64))
    columns.append("exact", _numbers([exact_key(each) for each in wordings]).reshape(-1, 2))
    prompts = [None if each.prompt is None else each.prompt.strip() for each in wordings]
    columns.append("written", _prompt_keys(prompts))
    columns.append("folded", _prompt_keys([None if each is None else fold(each) for each in prompts]))
    columns.append("answer", _numbers([short_key(squeeze(each.answer)) for each in wordings]))
    if sketcher:
        signatures_NK, keys_NB = sketcher.sketch([tokens_of(each.body) for each in wordings])
        columns.append("signatures", signatures_NK)
        for band in range(keys_NB.shape[1]):
            columns.append(f"band{band}", keys_NB[:, band])


def _numbers(keys: Sequence[bytes]) -> Array:
    return np.frombuffer(b"".join(keys), dtype="<u8")


def _prompt_keys(prompts: Sequence[str | None]) -> Array:
    return _numbers([bytes(8) if prompt is None else short_key(prompt) for prompt in prompts])


def make_table(
    files: tuple[Path, ...],
    found: Mapping[str, Array],
    *,
    source_files: int,
    first_against: int,
    spilled_bytes: int,
    markers: tuple[str, ...] | None = None,
) -> Table:
    """The table of columns that are closed. Rows from `first_against` on are only compared against."""
    bands = sum(name.startswith("band") for name in found)
    return Table(
        files=files,
        markers=markers or (":",) * len(files),
        source_files=source_files,
        file_N=found["file"],
        line_N=found["line"],
        offset_N=found["offset"],
        exact_N2=found["exact"],
        written_N=found["written"],
        folded_N=found["folded"],
        answer_N=found["answer"],
        first_against=first_against,
        signatures_NK=found.get("signatures"),
        bands=tuple(found[f"band{band}"] for band in range(bands)),
        spilled_bytes=spilled_bytes,
    )


def _no_rows(sources: Sequence[Path]) -> DataError:
    names = ", ".join(str(path) for path in sources[:5]) + (" ..." if len(sources) > 5 else "")
    return DataError(
        "data-empty",
        f"there is no row in {names}",
        where=names,
        fix='Give one row a line, such as {"prompt": "...", "completion": "..."}',
    )
