"""What the name of a file says about it: its format, whether it is compressed, and whether it holds rows at all."""

import re
from collections.abc import Mapping
from pathlib import Path

from luthier.config.data import FileFormat

COMPRESSED_ENDINGS = (".gz", ".xz", ".bz2", ".zst")
# A tar file that is packed is so often called .tgz that it is an ending of its own.
SHORT_ENDINGS = {".tgz": ".gz", ".txz": ".xz", ".tbz2": ".bz2", ".tzst": ".zst"}
SHARD = re.compile(r"-\d+-of-\d+$")
ENDINGS: Mapping[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".warc": "warc",
    ".wet": "warc",
    ".tar": "tar",
    ".tgz": "tar",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}
ABOUT_OTHERS = ("README", "LICENSE", "LICENCE", "NOTICE")
# What the commands of the data stage write beside the rows.
REPORT_ENDING = ".report.json"


def ending_of(path: Path) -> str:
    """The ending of a file's name without its compression and shard: `.jsonl` for rows.jsonl-00000-of-00010.gz. Lower case."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED_ENDINGS else path
    return SHARD.sub("", bare.suffix.lower())


def bare_name(path: Path) -> str:
    """The name of a file without its endings, as in `a` of `a.jsonl.xz`."""
    unpacked = path.with_suffix("") if path.suffix.lower() in COMPRESSED_ENDINGS else path
    return unpacked.stem


def is_compressed(path: Path) -> bool:
    """Whether the name of a file says that it is compressed."""
    return path.suffix.lower() in (*COMPRESSED_ENDINGS, *SHORT_ENDINGS)


def format_of(path: Path) -> FileFormat:
    """The format of a file by its name; a name that tells nothing is taken for lines of JSON."""
    return ENDINGS.get(ending_of(path), "jsonl")


def is_plain_lines(path: Path) -> bool:
    """Whether a row of the file is a line of it that a person can read there."""
    return format_of(path) == "jsonl" and not is_compressed(path)


def holds_rows(path: Path) -> bool:
    """Whether a file's name ends as one of rows does, and is none that tells about the others of its folder."""
    is_about_others = path.stem.upper().startswith(ABOUT_OTHERS) or path.name.startswith(".")
    is_about_others |= path.name.endswith(REPORT_ENDING)
    return ending_of(path) in ENDINGS and not is_about_others
