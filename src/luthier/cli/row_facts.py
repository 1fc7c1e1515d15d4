"""What there is to show of a row: all of it from the token store, but for the raw line, which is read again from its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.floor.errors import LuthierError
from luthier.floor.files import sha256_of

if TYPE_CHECKING:
    from luthier.text.token_text import TokenBytes
    from luthier.tokens.rows import TrainingRows

UNCHANGED, CHANGED, GONE = "unchanged", "changed", "gone"


@dataclass(frozen=True)
class Token:
    """One token of a row."""

    id: int
    bytes: bytes
    is_trained: bool


@dataclass(frozen=True)
class Segment:
    """Neighbouring tokens that all carry loss, or none of them; half a character at its edge is spelt out."""

    text: str
    is_trained: bool


@dataclass(frozen=True)
class RawRow:
    """The line a row came from, as it stands now, and whether its file is still the one that was prepared."""

    text: str | None
    state: str

    @property
    def note(self) -> str:
        """What must be said beside the raw row; empty if there is nothing."""
        if self.state == UNCHANGED:
            return ""
        if self.text is None:
            return "the file or the line is gone; what was prepared of it is below"
        return "the file has changed since it was prepared, and so may this line"


@dataclass(frozen=True)
class ShownRow:
    """A row of the token store."""

    row: int
    origin: str
    piece: tuple[int, int]
    """Which piece of its line this is, and of how many that were kept; (1, 1) for a line that was not split."""
    raw: RawRow
    tokens: tuple[Token, ...]
    tokens_lost: int
    trained_tokens_lost: int

    @property
    def trained_tokens(self) -> int:
        return sum(token.is_trained for token in self.tokens)

    @property
    def segments(self) -> list[Segment]:
        return segments_of(self.tokens)

    def as_json(self, *, with_tokens: bool) -> dict[str, Any]:
        """The same for `--json`."""
        facts: dict[str, Any] = {
            "row": self.row,
            "origin": self.origin,
            "piece": list(self.piece),
            "raw": self.raw.text,
            "raw_state": self.raw.state,
            "segments": [{"text": each.text, "is_trained": each.is_trained} for each in self.segments],
            "tokens": len(self.tokens),
            "trained_tokens": self.trained_tokens,
            "tokens_lost": self.tokens_lost,
            "trained_tokens_lost": self.trained_tokens_lost,
        }
        return facts | ({"token_list": tokens_json(self.tokens)} if with_tokens else {})


def tokens_json(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Each token with its id, its text and whether it carries loss."""
    return [{"id": each.id, "text": as_text(each.bytes), "is_trained": each.is_trained} for each in tokens]


def segments_of(tokens: Sequence[Token]) -> list[Segment]:
    """The tokens' text, cut where the mask changes."""
    segments: list[Segment] = []
    parts: list[bytes] = []
    for place, token in enumerate(tokens):
        parts.append(token.bytes)
        if place + 1 == len(tokens) or tokens[place + 1].is_trained != token.is_trained:
            segments.append(Segment(as_text(b"".join(parts)), token.is_trained))
            parts = []
    return segments


def as_text(content: bytes) -> str:
    r"""Bytes as text; what is no UTF-8 is spelt out, as `\xe2`."""
    return content.decode("utf-8", "backslashreplace")


class RowReader:
    """Puts together what there is to show of the rows of a store."""

    def __init__(
        self,
        store: "TrainingRows",
        token_bytes: "TokenBytes",
        hashes: dict[str, str],
        *,
        by_position: bool = False,
    ) -> None:
        self._store = store
        self._token_bytes = token_bytes
        self._hashes = hashes
        self._by_position = by_position
        self._states: dict[str, str] = {}

    def read(self, row: int) -> ShownRow:
        """All about a row."""
        from luthier.tokens.origin import split_origin

        origin = self._store.origin(row)
        found = split_origin(origin)
        assert found is not None, f"the store holds {origin!r} as an origin"
        source, line = found
        tokens_lost, trained_tokens_lost = self._store.lost(row)
        return ShownRow(
            row=row,
            origin=origin,
            piece=self._piece(row, source, line),
            raw=self._raw(source, line, origin),
            tokens=self.tokens(row),
            tokens_lost=tokens_lost,
            trained_tokens_lost=trained_tokens_lost,
        )

    def _piece(self, row: int, source: str, line: int) -> tuple[int, int]:
        """The row among the pieces of its line; copies that a source's weight made are one piece."""
        pieces = self._store.rows_of(source, line)
        if len(pieces) == 1:
            return 1, 1
        distinct = list(dict.fromkeys(self._store.ids(piece).tobytes() for piece in pieces))
        return distinct.index(self._store.ids(row).tobytes()) + 1, len(distinct)

    def tokens(self, row: int) -> tuple[Token, ...]:
        """The tokens of a row, as training takes them."""
        ids, trained = self._store.ids(row).tolist(), self._store.trained(row).tolist()
        return tuple(
            Token(id, self._token_bytes.of(id), is_trained)
            for id, is_trained in zip(ids, trained, strict=True)
        )

    def _raw(self, source: str, line: int, origin: str) -> RawRow:
        from luthier.tokens.origin import file_of

        file = file_of(source)
        if file not in self._states:
            self._states[file] = self._state(file)
        text = None if self._states[file] == GONE else self._read(Path(file), line, origin)
        return RawRow(text, GONE if text is None else self._states[file])

    def _read(self, path: Path, line: int, origin: str) -> str | None:
        return read_raw(path, line, origin, by_position=self._by_position)

    def _state(self, source: str) -> str:
        try:
            return UNCHANGED if sha256_of(Path(source)) == self._hashes.get(source) else CHANGED
        except OSError:
            return GONE


def read_raw(path: Path, line: int, origin: str, *, by_position: bool = False) -> str | None:
    """A row as its file has it: the line of a file of lines, else the record as JSON; None if it is not there.

    `by_position` tells that tables have no header.
    """
    from luthier.text.readers.endings import is_plain_lines

    return read_line(path, line) if is_plain_lines(path) else read_record(path, origin, by_position)


def read_record(path: Path, origin: str, by_position: bool) -> str | None:
    """The record of that origin as JSON. Reads the file up to it."""
    import json

    from luthier.text.problems import Problems
    from luthier.text.readers.formats import read_records

    try:
        for place, fields in read_records(path, Problems(), by_position=by_position):
            if place == origin:
                return json.dumps(fields, ensure_ascii=False, default=str)
    except LuthierError:  # it went away, or its library is not there any more
        return None
    return None


def read_line(path: Path, wanted: int) -> str | None:
    """A line of a file as it stands there, or None if there is none; a line beyond the limit of rows comes cut."""
    from luthier.text.json_lines import read_lines

    try:
        for number, line, _ in read_lines(path):
            if number == wanted:
                return as_text(line)
            if number > wanted:
                break
    except LuthierError:  # it went away, or may not be read any more
        return None
    return None
