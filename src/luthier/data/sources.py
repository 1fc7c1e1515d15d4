"""Find the files that a recipe's data section names, on this machine or on the Hugging Face hub, and hash them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.config.data import ColumnsConfig, DataConfig, FileFormat, SourceConfig
from luthier.data.hub import fetch_rows
from luthier.floor.errors import DataError, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener
from luthier.text.columns import named_columns
from luthier.text.readers.endings import ENDINGS
from luthier.text.row_files import reading, warn_of_files_passed_over
from luthier.text.rows import FileSet, Row, RowKind, find_files, first_row, first_shape, read_rows_of

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Files of training rows that are read alike, and how often each row is seen in an epoch."""

    name: str
    rows: FileSet
    weight: float = 1.0


@dataclass(frozen=True)
class Sources:
    """The files to read, and what their rows hold."""

    parts: tuple[Source, ...]
    validation_rows: FileSet | None
    """None if validation rows are set apart from the training rows."""
    kind: RowKind
    hashes: dict[str, str]
    """SHA-256 of every file."""
    unread_columns: dict[str, int]
    """Columns of hub datasets that no format uses, with the datasets' rows."""

    @property
    def train(self) -> tuple[Path, ...]:
        """The files of training rows, of all sources."""
        return tuple(file for part in self.parts for file in part.rows.files)

    @property
    def validation(self) -> tuple[Path, ...]:
        """The files of validation rows; none if those are set apart from the training rows."""
        return self.validation_rows.files if self.validation_rows else ()

    def read_train(self, *, unused_fields: Counter[str] | None = None) -> Iterator[Row]:
        """The training rows, each once, source after source; raises DataError as `read_rows` does."""
        return read_rows_of([part.rows for part in self.parts], self.kind, unused_fields=unused_fields)

    def read_validation(self, *, unused_fields: Counter[str] | None = None) -> Iterator[Row]:
        """The validation rows, none if they are set apart from the training rows."""
        sets = [self.validation_rows] if self.validation_rows else []
        return read_rows_of(sets, self.kind, unused_fields=unused_fields)

    def split_by(self, *, group_by: str | None, stratify_by: str | None) -> "Sources":
        """The same sources, whose training rows carry the fields that sets are split by."""
        parts = [
            replace(part, rows=replace(part.rows, group_by=group_by, stratify_by=stratify_by))
            for part in self.parts
        ]
        return replace(self, parts=tuple(parts))

    def key(self) -> list[object]:
        """What of the mixture and of the reading changes a row, for the name of the prepared tokens; nothing where all is plain."""
        parts = [[len(part.rows.files), part.weight, *_reading_key(part.rows)] for part in self.parts]
        is_plain = len(parts) == 1 and parts[0][1:] == [1.0, *PLAIN]
        last = [_reading_key(self.validation_rows)] if self.validation_rows else []
        return [] if is_plain and all(each == PLAIN for each in last) else [*parts, *last]


PLAIN: list[object] = ["auto", None]


def _reading_key(rows: FileSet) -> list[object]:
    return [rows.file_format, sorted(rows.columns.of_field.items()) if rows.columns else None]


def find_sources(config: DataConfig, listener: Listener) -> Sources:
    """Find, look into and hash the files. Raises DataError if something is missing, holds no rows, or does not fit the rest."""
    unread: Counter[str] = Counter()
    parts = [_find(each, config, unread, listener) for each in source_configs(config)]
    _check_apart(parts)
    validation = None
    if config.validation_path:
        where = Path(config.validation_path)
        warn_of_files_passed_over(where, listener, config.pattern)
        files = find_files(where, config.pattern)
        validation = _file_set(files, config.file_format, config.columns)
    kind = _resolve_kind(parts, config)
    for part in parts:
        listener.say(f"data: {part.name}: rows read as {first_shape(part.rows, config.format)}")
    files = [file for part in parts for file in part.rows.files]
    hashes = {
        str(file): _hash(file) for file in dict.fromkeys([*files, *(validation.files if validation else ())])
    }
    return Sources(tuple(parts), validation, kind, hashes, dict(unread))


def source_configs(config: DataConfig) -> tuple[SourceConfig, ...]:
    """The sources that a data section names: several, or the one of its path."""
    return config.sources or (
        SourceConfig(
            path=config.path,
            pattern=config.pattern,
            file_format=config.file_format,
            columns=config.columns,
            revision=config.revision,
            hub_split=config.hub_split,
        ),
    )


def names_positions(config: DataConfig) -> bool:
    """Whether columns are named by their place in tables without a header."""
    named = [named_columns(each.columns) for each in source_configs(config)]
    return any(columns.are_positions for columns in named if columns)


def is_hub_id(name: str) -> bool:
    """Whether a data path means a dataset of the hub: of the form owner/name, and no such place on this machine."""
    path = Path(name)
    is_local = path.exists() or path.parent.exists() or has_known_ending(path)
    return bool(HUB_ID.fullmatch(name)) and not is_local


def check_nothing_is_fetched(config: DataConfig) -> None:
    """Raise UsageError for a dataset of the hub, which a dry run does not fetch."""
    fetched = next((each.path for each in source_configs(config) if is_hub_id(each.path)), None)
    if fetched:
        what = f"{fetched} is a dataset of the hub, and a dry run fetches nothing"
        raise UsageError(
            "usage", what, where="--dry-run", fix="Leave --dry-run out, or name files: data.path=FILE"
        )


def has_known_ending(path: Path) -> bool:
    """Whether a name ends as that of a file of rows does."""
    return any(suffix.lower() in ENDINGS for suffix in path.suffixes[-2:])


def _find(each: SourceConfig, config: DataConfig, unread: Counter[str], listener: Listener) -> Source:
    columns = named_columns(each.columns)
    if is_hub_id(each.path):
        listener.say(f"data: reading {each.path} from the Hugging Face hub")
        fetched = fetch_rows(
            each.path,
            revision=each.revision,
            split=each.hub_split,
            cache=Path(config.cache_path),
            columns=sorted(columns.used) if columns else None,
        )
        unread.update(fetched.unread_columns)
        rows = FileSet((fetched.path,), "jsonl", columns)
    else:
        where = Path(each.path)
        warn_of_files_passed_over(where, listener, each.pattern)
        rows = _file_set(find_files(where, each.pattern), each.file_format, each.columns)
    return Source(each.name or each.path, rows, each.weight)


def _file_set(files: Sequence[Path], file_format: FileFormat, columns: ColumnsConfig) -> FileSet:
    return FileSet(tuple(files), file_format, named_columns(columns))


def _check_apart(parts: Sequence[Source]) -> None:
    """Raise DataError (data-source) if two sources have a name or a file in common."""
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            "data-source",
            f"two sources are called {twice}",
            where="data.sources",
            fix="Give each a name of its own, or one of them the weight of both.",
        )
    seen: dict[Path, str] = {}
    for part in parts:
        for file in part.rows.files:
            other = seen.setdefault(file.resolve(), part.name)
            if other != part.name:
                raise DataError(
                    "data-source",
                    f"{file} is in two sources: {other} and {part.name}",
                    where="data.sources",
                    why="Its rows would be counted for one of them only.",
                    fix="Raise the weight of one source instead, or narrow its pattern.",
                )


def _resolve_kind(parts: Sequence[Source], config: DataConfig) -> RowKind:
    """The rows' format: as set, or that of the first rows of all sources, which must be one."""
    if config.format != "auto":
        return config.format
    kinds = {part.name: first_row(part.rows, "auto").kind for part in parts}
    if len(set(kinds.values())) > 1:
        raise DataError(
            "data-source",
            "the sources hold rows of different kinds",
            where="data.sources",
            problems=[f"{name}: {kind}" for name, kind in kinds.items()],
            fix="Train on one kind, or bring them to one form: luthier data convert SOURCE --to messages",
        )
    return next(iter(kinds.values()))


def _hash(file: Path) -> str:
    with reading(file):
        return sha256_of(file)
