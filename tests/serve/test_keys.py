"""API keys: shown once, kept as hashes in a file of the owner alone, and refused the moment they are revoked."""

import json
import math
import os
import random
import statistics
import time
from pathlib import Path

import pytest

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.secrets import hide_secrets
from luthier.screen.secrets import find_secrets
from luthier.serve.keys import KeyRing, new_key, read_keys, revoke_key
from luthier.serve.refusal import Refusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serve" / "keys.json"


def status_of(ring: KeyRing, header: str | None) -> int:
    try:
        ring.admit(header)
    except Refusal as refusal:
        assert refusal.body()["error"]["message"] == "a valid API key is needed: Authorization: Bearer KEY"
        return refusal.status
    return 200


def test_a_key_opens_with_its_name_and_limits(path: Path) -> None:
    key = new_key(path, "shop", limits={"requests_per_minute": 7}, is_admin=True)
    holder = KeyRing(path).admit(f"Bearer {key}")
    assert (holder.name, dict(holder.limits), holder.is_admin) == ("shop", {"requests_per_minute": 7}, True)


def test_the_file_is_the_owners_alone_and_holds_no_key(path: Path) -> None:
    key = new_key(path, "shop")
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(part not in path.read_text() for part in (key, key[-43:], key[-20:]))
    assert [file.name for file in path.parent.iterdir() if "tmp" in file.name] == []


def test_a_key_is_hidden_in_messages_and_found_in_files(path: Path) -> None:
    key = new_key(path, "shop")
    assert hide_secrets(f"the key {key}") == "the key sk-***"
    assert [span.kind for span in find_secrets(f"the key {key}.")] == ["secret"]


def test_two_keys_of_like_content_have_hashes_of_nothing_in_common(path: Path) -> None:
    new_key(path, "one")
    new_key(path, "two")
    first, second = read_keys(path)
    assert (first.salt, first.hash) != (second.salt, second.hash)


def test_every_other_header_is_refused_with_the_same_words(path: Path) -> None:
    key = new_key(path, "shop")
    ring = KeyRing(path)
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer ",
        key,
        f"Basic {key}",
        f"Bearer  {key}",
        f"Bearer {key} ",
        f"Bearer {key}x",
    ]
    wrong += [
        f"Bearer {key[:-1]}",
        f"Bearer {key[:-1]}é",
        f"Bearer {key.upper()}",
        "Bearer ' OR 1=1 --",
        "Bearer %s%n",
    ]
    wrong += [f"Bearer {'a' * 10**7}", f"Bearer {key}\x00", f"Bearer {key}\n", "Bearer \ud800"]
    assert [status_of(ring, header) for header in wrong] == [401] * len(wrong)
    assert status_of(ring, f"Bearer {key}") == status_of(ring, f"bearer {key}") == 200


def test_a_revoked_key_is_refused_by_a_server_that_runs(path: Path) -> None:
    key, other = new_key(path, "shop"), new_key(path, "desk")
    ring = KeyRing(path)
    assert status_of(ring, f"Bearer {key}") == 200
    revoke_key(path, "shop")
    assert (status_of(ring, f"Bearer {key}"), status_of(ring, f"Bearer {other}")) == (401, 200)
    again = new_key(path, "shop")
    assert (status_of(ring, f"Bearer {again}"), status_of(ring, f"Bearer {key}")) == (200, 401)
    assert [(stored.name, stored.revoked is None) for stored in read_keys(path)] == [
        ("shop", False),
        ("desk", True),
        ("shop", True),
    ]


def test_a_file_that_others_may_read_is_refused_and_opens_to_nobody(path: Path) -> None:
    key = new_key(path, "shop")
    ring = KeyRing(path)
    path.chmod(0o640)
    os.utime(path, ns=(1, 1))
    with pytest.raises(EnvironmentFault, match="others may read") as raised:
        read_keys(path)
    assert raised.value.fix == f"Type: chmod 600 {path}"
    assert status_of(ring, f"Bearer {key}") == 401


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"keys": 3}', '{"keys": [{}]}', '{"keys": [{"id": 1}]}', "[" * 100_000, '{"keys": [3]}'],
)
def test_a_damaged_file_is_named(path: Path, text: str) -> None:
    new_key(path, "shop")
    path.write_text(text)
    with pytest.raises(EnvironmentFault, match="damaged"):
        read_keys(path)


def test_a_record_with_another_type_or_a_short_salt_is_damage(path: Path) -> None:
    new_key(path, "shop")
    whole = json.loads(path.read_text())["keys"][0]
    for change in (
        {"salt": ""},
        {"hash": "00"},
        {"limits": {"x": 1}},
        {"limits": {"concurrency": True}},
        {"is_admin": 1},
    ):
        path.write_text(json.dumps({"keys": [whole | change]}))
        with pytest.raises(EnvironmentFault, match="damaged"):
            read_keys(path)


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "-x", "é", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        new_key(path, name)
    assert not path.exists()


def test_a_name_twice_a_key_that_is_not_there_and_no_limit_are_refused(path: Path) -> None:
    new_key(path, "shop")
    with pytest.raises(UsageError, match="already"):
        new_key(path, "shop")
    with pytest.raises(UsageError, match="did you mean shop"):
        revoke_key(path, "shpo")
    for limits in ({"requests_per_minute": 0}, {"requests": 3}):
        with pytest.raises(UsageError, match="no limit"):
            new_key(path, "desk", limits=limits)


@pytest.mark.slow
def test_the_time_of_a_refusal_does_not_tell_how_much_of_a_key_is_right(path: Path) -> None:
    """Welch's t between keys that are wrong in their first and in their last character, interleaved (G14: |t| < 3)."""
    key = new_key(path, "shop")
    ring = KeyRing(path)
    early, late = (f"Bearer {key[:-43]}{'A' * 43}", f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}")
    seconds: dict[str, list[float]] = {early: [], late: []}
    order = [early, late] * 10_000
    random.Random(3).shuffle(order)
    for header in order:
        start = time.perf_counter()
        status_of(ring, header)
        seconds[header].append(time.perf_counter() - start)
    # What the machine did in between is no part of the comparison: the slowest tenth is left out.
    one, two = (sorted(values)[: len(values) * 9 // 10] for values in seconds.values())
    spread = math.sqrt(statistics.variance(one) / len(one) + statistics.variance(two) / len(two))
    assert abs(statistics.mean(one) - statistics.mean(two)) < max(3 * spread, 2e-7)
