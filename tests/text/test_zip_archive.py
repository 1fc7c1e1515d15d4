"""Archives from strangers: read where they are honest, refused in one message where not, and never unpacked."""

import json
import struct
import zipfile
from pathlib import Path

import pytest

from luthier.floor.errors import DataError
from tests.data.convert.converting import converted, said, talk, write_json, write_zip

EXPORT = json.dumps([talk("Hi", "Hello")])


def refusal(source: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        converted(source)
    assert sorted(path.name for path in source.parent.iterdir()) == [source.name], "nothing was unpacked"
    return caught.value


def test_an_old_export_is_read_as_it_came(tmp_path: Path) -> None:
    members = {
        "user.json": "{}",
        "chat.html": "<script>",
        "conversations.json": EXPORT,
        "a/file.png": b"\x89PNG",
    }
    rows, report = converted(write_zip(tmp_path / "export.zip", members))
    assert said(rows[0]) == [("user", "Hi"), ("assistant", "Hello")]
    assert list(report.files) == [str(tmp_path / "export.zip")]


def test_a_new_export_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    members = {
        f"export/conversations-{number:03}.json": json.dumps([talk(f"Question {number}", "Answer")])
        for number in (11, 2, 0)
    } | {"export/shared_conversations.json": "broken"}
    rows, _ = converted(write_zip(tmp_path / "export.zip", members))
    assert [said(row)[0][1] for row in rows] == ["Question 0", "Question 2", "Question 11"]


def test_an_unpacked_export_is_read_and_a_folder_with_its_zip_too(tmp_path: Path) -> None:
    unpacked, packed = tmp_path / "unpacked", tmp_path / "packed"
    unpacked.mkdir()
    packed.mkdir()
    write_json(unpacked / "conversations.json", [talk("Hi", "Hello")])
    write_json(unpacked / "user.json", {"email": "x"})
    write_zip(packed / "export.zip", {"conversations.json": EXPORT})
    assert converted(unpacked)[0] == converted(packed)[0]


def test_two_archives_in_a_folder_are_a_question_to_the_person(tmp_path: Path) -> None:
    folder = tmp_path / "chatgpt"
    folder.mkdir()
    for name in ("a.zip", "b.zip"):
        write_zip(folder / name, {"conversations.json": EXPORT})
    with pytest.raises(DataError, match="holds 2 archives") as caught:
        converted(folder)
    assert "luthier data convert" in caught.value.fix


def test_names_that_leave_the_archive_are_not_looked_at(tmp_path: Path) -> None:
    for name in (
        "../conversations.json",
        "/tmp/conversations.json",
        "..\\conversations.json",
        "C:conversations.json",
    ):
        source = write_zip(tmp_path / "slip.zip", {name: EXPORT})
        assert refusal(source).code == "data-dialect"


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "locked.zip", {"conversations.json": EXPORT})
    content = bytearray(source.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(magic) + offset] |= 1
    source.write_bytes(content)
    fault = refusal(source)
    assert fault.code == "data-archive"
    assert "encrypted" in fault.what and "unzip" in fault.fix


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    source = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("conversations.json", "w") as file,
    ):
        for _ in range(80):
            file.write(b" " * 2**20)
    fault = refusal(source)
    assert fault.code == "data-archive"
    assert "bomb" in fault.what and "80.0 MiB" in fault.what


def test_a_directory_of_millions_of_names_is_refused_before_it_is_read(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "many.zip", {"conversations.json": EXPORT})
    content = bytearray(source.read_bytes())
    struct.pack_into("<L", content, content.rfind(b"PK\x05\x06") + 12, 2**30)
    source.write_bytes(content)
    assert "lists more files than any export" in refusal(source).what


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_an_archive_that_was_cut_says_so(tmp_path: Path, share: float) -> None:
    source = write_zip(tmp_path / "cut.zip", {"conversations.json": EXPORT})
    source.write_bytes(source.read_bytes()[: int(len(source.read_bytes()) * share)])
    assert refusal(source).code == "data-archive"


def test_a_damaged_member_says_so_wherever_it_is_hit(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "hit.zip", {"conversations.json": EXPORT})
    whole = source.read_bytes()
    refused = 0
    for at in range(0, len(whole), 3):
        content = bytearray(whole)
        content[at] ^= 0xFF
        source.write_bytes(content)
        try:
            rows, _ = converted(source)
            assert said(rows[0]) == [("user", "Hi"), ("assistant", "Hello")]
        except DataError as fault:
            assert fault.code in ("data-archive", "data-dialect", "data-json", "data-enc"), fault.what
            refused += 1
    assert refused > 50


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "twice.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("conversations.json", EXPORT)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("conversations.json", EXPORT)
    assert "twice" in refusal(source).what


@pytest.mark.parametrize("members", [{}, {"photo.png": b"x"}, {"a.json": "[]", "b.json": "[]"}])
def test_an_archive_that_is_no_export_says_what_it_holds(
    tmp_path: Path, members: dict[str, str | bytes]
) -> None:
    fault = refusal(write_zip(tmp_path / "other.zip", members))
    assert fault.code == "data-dialect"
    assert all(name in fault.why for name in members)
