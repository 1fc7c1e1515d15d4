"""API keys: made once, shown once, kept as salted hashes; the doorkeeper of a server that asks for them.

A key holds 256 random bits, so nobody finds it from its hash, however fast hashing is. A slow hash (scrypt, argon2) is for passwords
that people choose; here it would only let a stranger keep a core busy with wrong keys. So: HMAC-SHA256 with a salt for each key.
The part before the secret names the record, so that every request costs one hash and one comparison in constant time
(`hmac.compare_digest`; RELIABILITY of the design, S13), whether the key is right, wrong, revoked or no key at all.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.files import disk_faults, write_text
from luthier.floor.lookup import did_you_mean
from luthier.serve.hooks import KeyHolder
from luthier.serve.refusal import Refusal

# `sk-` is what scanners for leaked keys look for, ours (screen/secrets.py, floor/secrets.py) among them.
PREFIX = "sk-luthier"
SECRET_BYTES = 32
SALT_BYTES = 16
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(rf"{PREFIX}-([0-9a-f]{{12}})-([A-Za-z0-9_-]{{43}})")
# A longer header holds no key of ours, and is not worth hashing.
LONGEST_HEADER = 256
LIMIT_NAMES = ("requests_per_minute", "tokens_per_minute", "concurrency")


@dataclass(frozen=True)
class StoredKey:
    """A key as the file keeps it: enough to recognise it, not enough to make it."""

    id: str
    """Twelve hexadecimal digits, the middle of the key; no secret."""
    name: str
    salt: str
    hash: str
    created: str
    is_admin: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    revoked: str | None = None
    """When it was; null while it opens the door."""


def new_key(path: Path, name: str, *, limits: Mapping[str, int] | None = None, is_admin: bool = False) -> str:
    """Add a key to the file and return it: the only time that it is in the clear.

    Raises UsageError if a live key has the name or a limit is none, EnvironmentFault if the file cannot be trusted or written.
    """
    if not NAME.fullmatch(name):
        raise _usage(f"{name!r} is no name for a key", "Take letters, digits, dots, dashes: at most 64.")
    limits = dict(limits or {})
    wrong = [limit for limit, value in limits.items() if limit not in LIMIT_NAMES or value < 1]
    if wrong:
        raise _usage(f"{wrong[0]} = {limits[wrong[0]]} is no limit", "A limit is a whole number from 1.")
    id, secret, salt = (
        secrets.token_hex(6),
        secrets.token_urlsafe(SECRET_BYTES),
        secrets.token_hex(SALT_BYTES),
    )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = StoredKey(id, name, salt, _hash(salt, secret), created, is_admin, limits)
    with _changing(path) as keys:
        if any(other.name == name and other.revoked is None for other in keys):
            raise _usage(f"there is a key {name} already", f"Revoke it first: luthier keys revoke {name}")
        keys.append(key)
    return f"{PREFIX}-{id}-{secret}"


def revoke_key(path: Path, name: str) -> StoredKey:
    """Take a key its right; a running server refuses it from its next request on. Raises UsageError if there is none."""
    with _changing(path) as keys:
        for place, key in enumerate(keys):
            if name in (key.name, key.id) and key.revoked is None:
                keys[place] = replace(key, revoked=datetime.now(UTC).isoformat(timespec="seconds"))
                return keys[place]
        live = [key.name for key in keys if key.revoked is None]
    raise _usage(f"there is no live key {name}{did_you_mean(name, live)}", "See: luthier keys list")


def read_keys(path: Path) -> list[StoredKey]:
    """Every key of the file, revoked ones too; none if there is no file.

    Raises EnvironmentFault if others may read or write the file (env-permission), or if it is damaged (env-keys).
    """
    try:
        with open(path, encoding="utf-8") as file:
            others = os.fstat(file.fileno()).st_mode & 0o077
            if others:
                raise EnvironmentFault(
                    "env-permission",
                    f"others may read or write the API keys: mode {others:03o} too much",
                    where=str(path),
                    fix=f"Type: chmod 600 {path}",
                )
            return [_stored(record) for record in json.load(file)["keys"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        what = f"the file of API keys is damaged: {type(fault).__name__}"
        fix = "Put it back from a copy, or move it away and make new keys: luthier keys new NAME"
        raise EnvironmentFault("env-keys", what, where=str(path), fix=fix) from fault
    except OSError as fault:
        what = f"cannot read the API keys: {fault.strerror}"
        raise EnvironmentFault("env-permission", what, where=str(path), fix=f"See: ls -l {path}") from fault


class KeyRing:
    """Admits the holders of live keys; looks at the file again when it has changed, so that a revoked key is refused at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_id: dict[str, StoredKey] = {}
        # A key that nobody has: whoever names no record is compared with it, which takes as long.
        salt = secrets.token_hex(SALT_BYTES)
        self._nobody = StoredKey("", "", salt, _hash(salt, secrets.token_urlsafe(SECRET_BYTES)), "")
        self.refresh()

    def __len__(self) -> int:
        return len(self._by_id)

    def admit(self, authorization: str | None) -> KeyHolder:
        """The holder of the key in the Authorization header. Raises Refusal(401, "api-key"), always the same one."""
        # A file that was damaged or opened to others under a running server opens the door to nobody.
        with suppress(EnvironmentFault):
            self.refresh()
        header = authorization or ""
        found = _KEY.fullmatch(header[7:]) if header[:7].lower() == "bearer " else None
        id, secret = (found[1], found[2]) if found and len(header) <= LONGEST_HEADER else ("", "")
        key = self._by_id.get(id, self._nobody)
        if not hmac.compare_digest(_hash(key.salt, secret), key.hash):
            raise Refusal(401, "api-key", "a valid API key is needed: Authorization: Bearer KEY")
        return KeyHolder(name=key.name, is_admin=key.is_admin, limits=key.limits)

    def refresh(self) -> None:
        """Read the file again if it is not the one that was read. Raises EnvironmentFault, and knows no key then."""
        try:
            facts = os.stat(self._path)
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        except OSError:
            seen = None
        if seen == self._seen and seen is not None:
            return
        self._seen, self._by_id = seen, {}
        self._by_id = {key.id: key for key in read_keys(self._path) if key.revoked is None}


def _hash(salt: str, secret: str) -> str:
    return hmac.new(bytes.fromhex(salt), secret.encode(), hashlib.sha256).hexdigest()


def _stored(record: Any) -> StoredKey:
    key = StoredKey(**record)
    texts: Sequence[Any] = (key.id, key.name, key.salt, key.hash, key.created)
    checks: Sequence[Callable[[], bool]] = (
        lambda: all(isinstance(text, str) for text in texts),
        lambda: len(bytes.fromhex(key.salt)) >= SALT_BYTES and len(bytes.fromhex(key.hash)) == 32,
        lambda: all(name in LIMIT_NAMES and type(value) is int for name, value in key.limits.items()),
        lambda: type(key.is_admin) is bool and isinstance(key.revoked, str | None),
    )
    if not all(check() for check in checks):
        raise ValueError("a record is not one of ours")
    return key


@contextmanager
def _changing(path: Path) -> Iterator[list[StoredKey]]:
    """The keys to be changed in place, and written when the block ends well; one process at a time."""
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path)
        yield keys
        text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2)
        write_text(path, text + "\n", mode=0o600)
    finally:
        os.close(lock)


def _usage(what: str, fix: str) -> UsageError:
    return UsageError("usage", what, where="luthier keys", fix=fix)
