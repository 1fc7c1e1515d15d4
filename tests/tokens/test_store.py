"""A token store gives back what was written, and notices every kind of damage."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.tokens.flat_files import META
from luthier.tokens.store import FORMAT, StoreWriter, TokenStore

ROW = st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), min_size=1, max_size=20)


def write_store(folder: Path, vocabulary_size: int = 100) -> TokenStore:
    with StoreWriter(folder, vocabulary_size=vocabulary_size) as writer:
        writer.append([1, 2, 3], [False, False, True], "data/a.jsonl:1")
        writer.append([4, 5], [False, True], "data/b.jsonl:7")
    return TokenStore.open(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(rows=st.lists(ROW, max_size=10), in_blocks=st.booleans())
def test_rows_come_back_as_they_were_written(
    tmp_path: Path, rows: list[list[tuple[int, bool]]], in_blocks: bool
) -> None:
    origins = [f"f{row % 3}.jsonl:{row + 1}" for row in range(len(rows))]
    with StoreWriter(tmp_path / "store") as writer:
        if in_blocks:
            flat = [pair for row in rows for pair in row]
            ids, trained = (
                np.array([i for i, _ in flat], dtype=np.int64),
                np.array([t for _, t in flat], dtype=bool),
            )
            writer.append_block(ids, trained, np.array([len(row) for row in rows], dtype=np.int64), origins)
        else:
            for row, origin in zip(rows, origins, strict=True):
                writer.append([i for i, _ in row], [t for _, t in row], origin)
    store = TokenStore.open(tmp_path / "store")
    store.verify()
    assert store.rows == len(rows)
    assert store.tokens == sum(len(row) for row in rows)
    assert store.trained_tokens == sum(t for row in rows for _, t in row)
    for number, row in enumerate(rows):
        assert store.ids(number).tolist() == [i for i, _ in row]
        assert store.trained(number).tolist() == [t for _, t in row]
        assert store.origin(number) == origins[number]
        assert store.lengths_N[number] == len(row)
        assert store.trained_counts_N[number] == sum(t for _, t in row)


def test_each_row_keeps_what_was_cut_off_it(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        ids, trained = np.array([1, 2, 3]), np.array([False, True, True])
        writer.append_block(
            ids, trained, np.array([2, 1]), ["a:1", "a:2"], lost_N2=np.array([[5, 4], [0, 1]])
        )
        writer.append([4], [True], "a:3")
    store = TokenStore.open(tmp_path / "store")
    assert [store.lost(row) for row in range(3)] == [(5, 4), (0, 1), (0, 0)]


def test_rows_are_found_by_the_line_they_came_from(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        for origin in ("a:1", "b:1", "a:2", "a:2"):
            writer.append([1], [True], origin)
    store = TokenStore.open(tmp_path / "store")
    assert [store.rows_of(*place) for place in (("a", 1), ("b", 1), ("a", 2))] == [[0], [1], [2, 3]]
    assert store.rows_of("a", 3) == store.rows_of("c", 1) == []


def test_a_small_vocabulary_takes_two_bytes_an_id(tmp_path: Path) -> None:
    write_store(tmp_path / "small", vocabulary_size=65_536)
    write_store(tmp_path / "large", vocabulary_size=65_537)
    assert (tmp_path / "small" / "ids.bin").stat().st_size == 10
    assert (tmp_path / "large" / "ids.bin").stat().st_size == 20


def test_arrays_have_the_types_that_training_expects(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    assert (store.lengths_N.dtype, store.trained_counts_N.dtype) == (np.int32, np.int32)
    assert (store.ids(0).dtype, store.trained(0).dtype) == (np.uint16, np.bool_)
    assert not store.ids(0).flags.writeable


def test_the_fingerprint_follows_ids_masks_and_borders_only(tmp_path: Path) -> None:
    def fingerprint(name: str, rows: list[list[int]], trained: bool = True, source: str = "a") -> str:
        with StoreWriter(tmp_path / name) as writer:
            for line, row in enumerate(rows):
                writer.append(row, [trained] * len(row), f"{source}:{line}")
        return TokenStore.open(tmp_path / name).fingerprint

    same = fingerprint("a", [[1, 2], [3]])
    assert fingerprint("b", [[1, 2], [3]], source="elsewhere") == same
    others = {
        fingerprint("c", [[1], [2, 3]]),
        fingerprint("d", [[1, 2], [4]]),
        fingerprint("e", [[1, 2], [3]], False),
    }
    assert len(others | {same}) == 4


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "store") as writer:
        writer.append([1], [True], "a:1")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file_open(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store")

    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EnvironmentFault), writer:
        file = writer._files["ids.bin"]
        file.close()
        writer._files["ids.bin"] = SimpleNamespace(close=refuse)
    assert all(each.closed for name, each in writer._files.items() if name != "ids.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*FORMAT.files, META])
def test_a_missing_file_is_noticed(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "store")
    (tmp_path / "store" / name).unlink()
    assert_damaged(tmp_path / "store", f"{name} is missing")


@pytest.mark.parametrize("name", FORMAT.files)
def test_a_truncated_file_is_noticed_when_opened(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "store")
    content = (tmp_path / "store" / name).read_bytes()
    (tmp_path / "store" / name).write_bytes(content[:-1])
    assert_damaged(tmp_path / "store", f"{name} has {len(content) - 1} bytes instead of {len(content)}")


@pytest.mark.parametrize("name", FORMAT.files)
def test_a_flipped_bit_is_noticed_by_verify(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "store")
    content = bytearray((tmp_path / "store" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "store" / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is not what was written") as caught:
        TokenStore.open(tmp_path / "store").verify()
    assert caught.value.code == "data-cache"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"files": {}}', "cannot be read"),
    ],
)
def test_an_unreadable_meta_is_noticed(tmp_path: Path, damage: str, said: str) -> None:
    write_store(tmp_path / "store")
    (tmp_path / "store" / META).write_text(damage)
    assert_damaged(tmp_path / "store", said)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("fingerprint", "0", "contradicts"), ("format", "other/9", "other/9"), ("rows", 3, "3 rows")],
)
def test_a_meta_that_was_edited_is_noticed(tmp_path: Path, key: str, value: object, said: str) -> None:
    write_store(tmp_path / "store")
    meta = json.loads((tmp_path / "store" / META).read_text())
    (tmp_path / "store" / META).write_text(json.dumps({**meta, key: value}))
    assert_damaged(tmp_path / "store", said)


def assert_damaged(folder: Path, said: str) -> None:
    with pytest.raises(DataError) as caught:
        TokenStore.open(folder)
    assert caught.value.code == "data-cache"
    assert said in caught.value.what
    assert "luthier prepare" in caught.value.fix
