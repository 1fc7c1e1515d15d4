"""Small JSON files of folders from elsewhere: bounded, never through a link that leaves, and every fault names the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import ModelError
from luthier.knowledge.hostile_json import MOST_BYTES, read_object


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_object(path, path.parent, code="mdl-config")
    assert str(path) in caught.value.where
    return caught.value


def test_an_object_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": "ä"}', encoding="utf-8")
    assert read_object(path, tmp_path, code="mdl-config") == {"a": "ä"}
    path.write_text('{"a": "ä"}', encoding="utf-8-sig")
    assert read_object(path, tmp_path, code="mdl-config") == {"a": "ä"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b"[1, 2]", "holds a list"),
        (b"42", "holds a int"),
        (b"null", "holds a NoneType"),
        (b"[" * 200_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "nested or written"),
    ],
)
def test_what_is_no_object_is_refused_with_what_it_is(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    fault = refused(path)
    assert fault.code == "mdl-config"
    assert said in fault.what


def test_a_fault_of_syntax_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "a": 1\n  "b": 2\n}')
    assert refused(path).where == f"{path}:3"


def test_a_file_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(MOST_BYTES + 1)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("read"))
    assert "4 MiB" in refused(path).what.replace("4.0", "4")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"password": 1}')
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").symlink_to(tmp_path / "secret.json")
    fault = refused(folder / "config.json")
    assert fault.code == "mdl-path"
    assert "password" not in fault.render()


def test_the_links_of_the_hub_cache_are_followed_and_no_others(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    (blobs / "hash").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to(blobs / "hash")
    assert read_object(snapshot / "config.json", snapshot, code="mdl-config") == {"a": 1}
    (tmp_path / "outside").write_text("{}")
    (snapshot / "other.json").symlink_to(tmp_path / "outside")
    assert refused(snapshot / "other.json").code == "mdl-path"


@settings(deadline=1000, max_examples=200)
@given(raw=st.one_of(st.binary(max_size=60), st.text(alphabet='{}[]",:0123eE+-.natrufls \\u', max_size=60)))
def test_whatever_a_file_holds_an_object_or_a_model_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes | str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    try:
        found = read_object(path, path.parent, code="mdl-config")
    except ModelError:
        return
    assert found == json.loads(path.read_text(encoding="utf-8-sig"))
