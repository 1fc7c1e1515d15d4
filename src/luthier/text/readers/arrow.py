"""Rows of Parquet and Arrow files (Feather, and what `datasets` saves), a few at a time.

pyarrow does the reading. How many rows are taken at once follows from how large the file says that they are, so that a row
group of gigabytes does not come into memory as Python objects.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.floor.units import format_bytes
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import is_compressed
from luthier.text.readers.record import INSTALL_FORMATS, Record, missing_library, row_origin
from luthier.text.row_files import reading

if TYPE_CHECKING:
    import pyarrow

BATCH_BYTES = 8 * 2**20
BUFFER_BYTES = 2**20
MOST_BATCH_ROWS = 1024
MOST_COLUMNS = 10_000
# A row of text packs to some bytes; columns of nulls, or of one value, name a billion of rows in a few hundred bytes.
MOST_ROWS_A_BYTE = 100
ROWS_MATTER_FROM = 1_000_000
MAGIC_ARROW, MAGIC_FEATHER_1 = b"ARROW1", b"FEA1"


def read_parquet(path: Path, problems: Problems) -> Iterator[Record]:
    """One record a row of a Parquet file; page checksums are verified where the file has them."""
    _need_pyarrow(path)
    from pyarrow import parquet

    # Without a buffer of this size a whole column of a row group is fetched, and with pre_buffer the next groups, too: the peak of
    # a file of 1 GiB was 1,158 MiB.
    options = {"buffer_size": BUFFER_BYTES, "pre_buffer": False, "page_checksum_verification": True}
    with _faults(path, problems), parquet.ParquetFile(path, **options) as file:
        _check_columns(file.schema_arrow.names)
        _check_rows(file.metadata.num_rows, path)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        bytes_a_row = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        rows = min(max(BATCH_BYTES // max(bytes_a_row, 1), 1), MOST_BATCH_ROWS)
        batches = file.iter_batches(batch_size=rows, use_threads=False)
        yield from _records(path, batches)


def read_arrow(path: Path, problems: Problems) -> Iterator[Record]:
    """One record a row of an Arrow IPC file or stream, a batch of it in memory at a time; mapped, all of it would count as ours."""
    _need_pyarrow(path)
    import pyarrow as arrow

    with _faults(path, problems), arrow.OSFile(str(path), "rb") as source:
        head = bytes(source.read(8))
        source.seek(0)
        if head.startswith(MAGIC_FEATHER_1):
            raise LineFault(
                "data-table", "the file is Feather of version 1; write it as version 2 or as Parquet"
            )
        if head.startswith(MAGIC_ARROW):
            reader = arrow.ipc.open_file(source)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            reader = arrow.ipc.open_stream(source)
            batches = iter(reader)
        _check_columns(reader.schema.names)
        yield from _records(path, batches)


def _records(path: Path, batches: "Iterator[pyarrow.RecordBatch]") -> Iterator[Record]:
    number = declared = 0
    for batch in batches:
        declared += batch.num_rows
        _check_rows(declared, path)
        batch.validate(full=True)
        rows = min(max(BATCH_BYTES // max(batch.nbytes // max(batch.num_rows, 1), 1), 1), MOST_BATCH_ROWS)
        for start in range(0, batch.num_rows, rows):
            for fields in batch.slice(start, rows).to_pylist():
                number += 1
                yield row_origin(path, number), fields


def _check_columns(names: list[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise LineFault("data-table", f"the table has {len(names)} columns")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LineFault("data-table", f"the table names the column {twice[:40]!r} twice")


def _check_rows(rows: int, path: Path) -> None:
    """Raise LineFault for a table that declares more rows than its file could hold: reading them would take days."""
    length = path.stat().st_size
    if rows > max(ROWS_MATTER_FROM, MOST_ROWS_A_BYTE * length):
        raise LineFault("data-table", f"the table declares {rows:,} rows in {format_bytes(length)}: a bomb")


def _need_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as fault:
        raise missing_library(path, "pyarrow", INSTALL_FORMATS) from fault


@contextmanager
def _faults(path: Path, problems: Problems) -> Iterator[None]:
    """What the library finds wrong becomes a fault of the file; the rows before it have been handed out."""
    import pyarrow as arrow

    unreadable: tuple[type[Exception], ...] = (arrow.ArrowException, OverflowError, UnicodeDecodeError)
    with reading(path):
        try:
            if is_compressed(path):
                raise LineFault("data-table", f"a table is compressed inside; unpack the file: {path.name}")
            yield
        except LineFault as fault:
            problems.add(str(path), fault)
        except unreadable as fault:
            problems.add(str(path), _damaged(fault))
        except OSError as fault:
            if fault.errno is not None:
                raise
            problems.add(str(path), _damaged(fault))  # how the library reports what cannot be unpacked


def _damaged(fault: Exception) -> LineFault:
    reason = " ".join(str(fault).split())[:200] or type(fault).__name__
    return LineFault("data-table", f"not readable as a table: {reason}; fetch the file again")
