"""Which reader reads which file: by the ending of its name, or by the format that the recipe names.

Adding a format: one reader, one row here, its endings in endings.py, one choice in config/data.py, its test.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from luthier.config.data import FileFormat
from luthier.text.problems import Problems
from luthier.text.readers.arrow import read_arrow, read_parquet
from luthier.text.readers.documents import read_docx, read_html, read_pdf, read_warc
from luthier.text.readers.endings import format_of
from luthier.text.readers.json_rows import read_json_lines, read_json_values
from luthier.text.readers.record import Reader, Record
from luthier.text.readers.tables import read_table
from luthier.text.readers.tar_shards import read_tar
from luthier.text.readers.texts import read_text
from luthier.text.readers.tfrecord import read_tfrecord

READERS: Mapping[FileFormat, Reader] = {
    "jsonl": read_json_lines,
    "json": read_json_values,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "text": read_text,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "warc": read_warc,
    "tar": read_tar,
    "tfrecord": read_tfrecord,
}


def read_records(
    path: Path, problems: Problems, *, file_format: FileFormat = "auto", by_position: bool = False
) -> Iterator[Record]:
    """The records of a file, one at a time; what is wrong with any of them goes to `problems`.

    `by_position` tells that a table has no header, and its columns are column_1, column_2 and so on.

    Raises DataError or EnvironmentFault if the file is gone or may not be read, or if its format needs a library that is not there.
    """
    chosen = format_of(path) if file_format == "auto" else file_format
    if chosen in ("csv", "tsv"):
        separator = "\t" if chosen == "tsv" else None
        yield from read_table(path, problems, separator=separator, by_position=by_position)
    else:
        yield from READERS[chosen](path, problems)
