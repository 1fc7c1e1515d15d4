"""One line of the audit log, and what makes a chain of the lines.

A record is one JSON object in one form only (ASCII, keys in the order of writing, no spaces), so that a line with another byte is
another line. `previous` is the hash of the record before, `hash` is that of the record itself without `hash`: SHA-256 over the line's
bytes up to that member. An edit, a removal, an insertion or an exchange of lines breaks the chain at the first line concerned;
only an end that is cut off does not, which is what anchors are for. Nobody's signature is in it: who can write the log and every
copy of its anchors can write another log.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRST_PREVIOUS = "0" * 64
CUT = "cut"
# The members that the log adds to what is recorded.
RESERVED = ("seq", "time", "event", "previous", "hash")
_HASH_MEMBER = ',"hash":"'
_LINE_END = len(_HASH_MEMBER) + 64 + len('"}\n')
# A line that is longer is none of ours: with content, a request has 1 MB and its answer as many tokens as the context.
LONGEST_LINE = 64 * 2**20


@dataclass(frozen=True)
class Anchor:
    """How far the log had come: so many records, of which the last has this hash."""

    records: int = 0
    hash: str = FIRST_PREVIOUS

    def __str__(self) -> str:
        return f"{self.records}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """`RECORDS:HASH`. Raises ValueError."""
        records, _, hash = text.partition(":")
        if not (
            records.isascii()
            and records.isdigit()
            and len(hash) == 64
            and set(hash) <= set("0123456789abcdef")
        ):
            raise ValueError(f"{text!r} is no anchor: RECORDS:HASH, as the server prints it when it ends")
        return cls(int(records), hash)


def make_line(after: Anchor, *, time: str, event: str, facts: Mapping[str, Any]) -> tuple[bytes, Anchor]:
    """The line of the record that follows `after`, and the anchor that it makes."""
    assert not set(facts) & set(RESERVED), f"{sorted(set(facts) & set(RESERVED))} are the log's own members"
    record = {"seq": after.records + 1, "time": time, "event": event, **facts, "previous": after.hash}
    body = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))[:-1].encode("ascii")
    hash = hashlib.sha256(body).hexdigest()
    return body + f'{_HASH_MEMBER}{hash}"}}\n'.encode("ascii"), Anchor(after.records + 1, hash)


def read_line(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None if it is not one that `make_line` could have made, wherever in a chain."""
    body, tail = line[:-_LINE_END], line[-_LINE_END:]
    hash = hashlib.sha256(body).hexdigest()
    if tail != f'{_HASH_MEMBER}{hash}"}}\n'.encode("ascii"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = (
        isinstance(record, dict)
        and type(record.get("seq")) is int
        and isinstance(record.get("previous"), str)
        and isinstance(record.get("event"), str)
        and isinstance(record.get("time"), str)
    )
    return record if is_ours else None


def anchor_of(record: Mapping[str, Any]) -> Anchor:
    """The anchor that a record makes."""
    return Anchor(record["seq"], record["hash"])
