"""A text store gives back what was put in, and notices when it is not what was written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.tokens.flat_files import META
from luthier.tokens.text_store import FORMAT, TextStore, TextStoreWriter

ROWS = [b"short", b"the same words again and again, " * 100, b"", b"short"]


def write(folder: Path, rows: list[bytes], **made_for: str | int) -> TextStore:
    with TextStoreWriter(folder, made_for=made_for) as writer:
        for number, row in enumerate(rows):
            writer.append(row, f"rows.jsonl:{number + 1}")
    return TextStore.open(folder)


@given(rows=st.lists(st.binary(max_size=600), max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_comes_back(rows: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    store = write(tmp_path_factory.mktemp("texts") / "store", rows)
    assert [store.content(row) for row in range(store.rows)] == rows
    assert [store.origin(row) for row in range(store.rows)] == [
        f"rows.jsonl:{n + 1}" for n in range(len(rows))
    ]


def test_long_rows_are_packed_and_copies_share_their_place(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [ROWS[1]] * 3)
    assert (tmp_path / "store/texts.bin").stat().st_size < len(ROWS[1]) / 4
    assert len({store.content(row) for row in range(3)}) == 1
    assert store.bytes_of(np.array([0, 2])).tolist() == [store.bytes_of(np.array([1]))[0]] * 2


def test_the_fingerprint_covers_texts_and_what_they_are_made_for(tmp_path: Path) -> None:
    stores = [
        write(tmp_path / "one", ROWS, max_length=8),
        write(tmp_path / "same", ROWS, max_length=8),
        write(tmp_path / "other-setting", ROWS, max_length=9),
        write(tmp_path / "other-texts", ROWS[:3], max_length=8),
    ]
    prints = [store.fingerprint for store in stores]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize("name", [*FORMAT.files, META])
def test_a_store_that_was_cut_or_lost_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path / "store", ROWS)
    path = tmp_path / "store" / name
    content = path.read_bytes()
    for spoil in (lambda: path.write_bytes(content[:-9]), path.unlink):
        spoil()
        with pytest.raises(DataError) as caught:
            TextStore.open(tmp_path / "store")
        assert caught.value.code == "data-cache"


def test_a_flipped_byte_is_found_by_verify_and_by_the_row(tmp_path: Path) -> None:
    store = write(tmp_path / "store", ROWS)
    path = tmp_path / "store/texts.bin"
    content = bytearray(path.read_bytes())
    content[len(ROWS[0]) + 1 + 40] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="SHA-256"):
        store.verify()
    with pytest.raises(DataError, match="row 1 cannot be unpacked"):
        TextStore.open(tmp_path / "store").content(1)


def test_what_was_made_for_something_else_by_hand_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", ROWS, max_length=8)
    meta = tmp_path / "store" / META
    meta.write_text(meta.read_text().replace('"max_length": 8', '"max_length": 9'))
    with pytest.raises(DataError, match="contradicts itself"):
        TextStore.open(tmp_path / "store")
