"""The package is the pinned one or nothing: another hash, a lying archive, a registry that is away."""

import io
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from luthier.floor.errors import EnvironmentFault
from luthier.llamacpp import find, package
from luthier.llamacpp.library import Library
from tests.cli.workshop import listing

Member = tuple[str, bytes | str]
"""A name and the bytes of a file, or what a link points to."""


def make_archive(path: Path, members: Sequence[Member]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def test_what_is_fetched_is_there_once_and_is_the_version_that_is_called(llama_cpp: Path) -> None:
    assert find.need_library() == find.Found(llama_cpp, "luthier env make gguf")
    assert package.fetch() == llama_cpp
    assert Library(llama_cpp).c.llama_version().decode().startswith("0.5.0")
    assert sorted(path.suffix for path in llama_cpp.parent.iterdir())[-1] == ".so"
    assert (llama_cpp.parent / "LICENSE").read_text().startswith("MIT")


def test_another_library_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(EnvironmentFault) as caught:
        Library(tmp_path / "libllama.so")
    assert (caught.value.code, caught.value.fix) == (
        "env-extra",
        "Fetch the one that fits: luthier env make gguf",
    )


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1] + b"x", lambda data: data[:-1]], ids=["hash", "size"]
)
def test_a_package_with_another_hash_is_deleted_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]
) -> None:
    """As a registry that was broken into would send it."""
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        f'#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\ncp {tmp_path}/sent.tgz "$2"\n'
    )
    npm.chmod(0o755)
    (tmp_path / "sent.tgz").write_bytes(spoil(bytes(package.PACKED_BYTES)))
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EnvironmentFault, match="its SHA-512 is another one; it was deleted"):
        package.fetch()
    assert listing(tmp_path / "cache") == {"luthier": "empty folder"}


@pytest.mark.parametrize(
    "member",
    [
        ("package/bins/linux-x64/../../../evil.so", b"x"),
        ("package/bins/linux-x64/sub/deep.so", b"x"),
        ("package/bins/linux-x64/link.so", "/etc/passwd"),
    ],
)
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path, member: Member) -> None:
    archive = make_archive(tmp_path / "a.tgz", [("package/bins/linux-x64/good.so", b"x"), member])
    with pytest.raises(EnvironmentFault, match="is no plain file of its folder"):
        package.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil.so").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MOST_UNPACKED_BYTES", 1000)
    archive = make_archive(tmp_path / "a.tgz", [("package/bins/linux-x64/big.so", bytes(1001))])
    with pytest.raises(EnvironmentFault, match="larger than it can be"):
        package.unpack(archive, tmp_path / "out")


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tgz", [("package/bins/linux-x64/lib.so", os.urandom(5000))])
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        package.unpack(archive, tmp_path / "out")


def test_without_npm_and_network_the_message_says_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / ".npmrc").write_text("registry=http://127.0.0.1:9/\n")
    with pytest.raises(EnvironmentFault) as caught:
        package.fetch()
    assert caught.value.code == "env-network"
    assert "luthier env make gguf" in caught.value.fix
    assert "pip install llama-cpp-python" in caught.value.fix
