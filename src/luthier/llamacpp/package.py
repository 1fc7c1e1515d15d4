"""Bring the llama.cpp library to this machine, at the user's command: one pinned package, checked by its hash, kept in the cache.

The npm package @node-llama-cpp/linux-x64 (MIT) holds llama.cpp built for every x86-64 processor of the last 15 years, 10.8 MB
packed. `npm pack` fetches it from whatever registry the user's npm is set to; without npm it comes from there over plain HTTPS.
Nothing of it runs on the way: only shared libraries are taken out, by their names, and only once the hash is right.
"""

import base64
import configparser
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder
from luthier.floor.log import Listener, Silent
from luthier.llamacpp.abi import VERSION

PACKAGE = "@node-llama-cpp/linux-x64"
PACKAGE_VERSION = "3.22.1"
INTEGRITY = "sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="
PUBLIC_REGISTRY = "https://registry.npmjs.org"
PACKED_BYTES = 10_824_547
MOST_UNPACKED_BYTES = 64 * 2**20
FOLDER_INSIDE = "package/bins/linux-x64/"
LIBRARY = "libllama.v0.5.0.so"
LICENSE = "package/LICENSE"
# Not needed to load, quantize or measure a model.
LEFT_OUT = ("libllama-common.so",)
FETCH_SECONDS = 300


def cache_folder() -> Path:
    """Where the library is kept for every project of the user."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "luthier" / f"llama.cpp-{VERSION}"


def is_fetched() -> bool:
    """Whether the library is in the cache."""
    return (cache_folder() / LIBRARY).is_file()


def fetch(*, listener: Listener = Silent(), again: bool = False) -> Path:
    """Put the library into the cache and return its path; one that is there stays, unless `again`.

    Raises EnvironmentFault: env-extra on a machine it is not built for or if the package is not the pinned one, env-network if it
    cannot be fetched, env-disk.
    """
    folder = cache_folder()
    if is_fetched() and not again:
        return folder / LIBRARY
    _refuse_other_machines()
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as work:
            listener.say(f"Fetching {PACKAGE} {PACKAGE_VERSION} ({PACKED_BYTES / 1e6:.1f} MB)")
            archive = _fetch_archive(Path(work))
            check_archive(archive)
            unpacked = Path(work) / "libraries"
            unpack(archive, unpacked)
            publish_folder(unpacked, folder)
    return folder / LIBRARY


def check_archive(archive: Path) -> None:
    """Raise EnvironmentFault (env-extra) unless the file is, bit for bit, the package that was pinned."""
    if archive.stat().st_size == PACKED_BYTES:
        with open(archive, "rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if "sha512-" + base64.b64encode(digest).decode() == INTEGRITY:
            return
    raise EnvironmentFault(
        "env-extra",
        f"what was fetched is not {PACKAGE} {PACKAGE_VERSION}: its SHA-512 is another one; it was deleted",
        where=archive.name,
        why="A library runs with your rights, so only the one that Luthier was tested with is taken.",
        fix="Look at the registry that npm is set to: npm config get registry",
    )


def unpack(archive: Path, folder: Path) -> None:
    """Take the shared libraries and the licence out of the archive. Raises EnvironmentFault (env-extra) on a member that lies."""
    folder.mkdir()
    left = MOST_UNPACKED_BYTES
    with _tar_faults(archive), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.removeprefix(FOLDER_INSIDE)
            if member.name == LICENSE:
                name = "LICENSE"
            elif not member.name.startswith(FOLDER_INSIDE) or not name.endswith(".so") or name in LEFT_OUT:
                continue
            if not member.isfile() or Path(name).name != name:
                raise _hostile(archive, member.name, "is no plain file of its folder")
            left -= member.size
            if left < 0:
                raise _hostile(archive, member.name, "makes the package larger than it can be")
            source = tar.extractfile(member)
            assert source is not None, "a plain file has contents"
            with open(folder / name, "xb") as target:
                shutil.copyfileobj(source, target)


def _hostile(archive: Path, member: str, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        "env-extra",
        f"the archive's member {member[:100]!r} {what}; nothing of it was kept",
        where=archive.name,
    )


@contextmanager
def _tar_faults(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as fault:
        raise EnvironmentFault(
            "env-extra", f"the archive cannot be read: {fault}", where=archive.name
        ) from fault


def _refuse_other_machines() -> None:
    found = f"{platform.system()} {platform.machine()}"
    if found != "Linux x86_64":
        raise EnvironmentFault(
            "env-extra",
            f"the pinned llama.cpp is built for Linux on x86-64, and this is {found}",
            fix=f"Install a build of llama.cpp {VERSION}: pip install llama-cpp-python",
        )


def _fetch_archive(folder: Path) -> Path:
    """The packed file, from the registry that the user's npm is set to."""
    npm = shutil.which("npm")
    return _fetch_by_npm(npm, folder) if npm else _fetch_plainly(folder)


def _fetch_by_npm(npm: str, folder: Path) -> Path:
    # npm pack runs scripts of local folders only; a package of a registry is copied as it is.
    command = [npm, "pack", f"{PACKAGE}@{PACKAGE_VERSION}", "--ignore-scripts", "--silent"]
    try:
        subprocess.run(
            [*command, "--pack-destination", str(folder)],
            cwd=folder,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired as fault:
        raise _not_fetched(f"npm took longer than {FETCH_SECONDS} s") from fault
    except subprocess.CalledProcessError as fault:
        lines = fault.stderr.decode(errors="replace").strip().splitlines() or [
            f"npm ended with {fault.returncode}"
        ]
        raise _not_fetched(lines[0][:200]) from fault
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1:
        raise _not_fetched("npm left no package behind")
    return found[0]


def _fetch_plainly(folder: Path) -> Path:
    registry = _registry()
    if urllib.parse.urlsplit(registry).scheme not in ("https", "http"):
        raise _not_fetched(f"the npm registry is set to {registry[:80]!r}, which is no web address")
    name = PACKAGE.rpartition("/")[2]
    target = folder / f"{name}-{PACKAGE_VERSION}.tgz"
    try:
        with urllib.request.urlopen(
            f"{registry.rstrip('/')}/{PACKAGE}/-/{target.name}", timeout=FETCH_SECONDS
        ) as answer:
            # One byte more than it may have: a longer answer is then refused by its size.
            target.write_bytes(answer.read(PACKED_BYTES + 1))
    except (urllib.error.URLError, TimeoutError, ValueError) as fault:
        raise _not_fetched(str(fault)[:200]) from fault
    return target


def _registry() -> str:
    """The registry that npm would use: the environment, then ~/.npmrc, then the public one."""
    named = os.environ.get("npm_config_registry")  # noqa: SIM112  (npm's own spelling)
    if named:
        return named
    settings = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    try:
        settings.read_string("[npm]\n" + (Path.home() / ".npmrc").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return PUBLIC_REGISTRY
    return settings["npm"].get("registry", PUBLIC_REGISTRY)


def _not_fetched(what: str) -> EnvironmentFault:
    return EnvironmentFault(
        "env-network",
        f"{PACKAGE} {PACKAGE_VERSION} could not be fetched: {what}",
        why="llama.cpp checks and quantizes what Luthier exports.",
        fix=f"Connect and repeat: luthier env make gguf; or install another build of llama.cpp {VERSION}: "
        "pip install llama-cpp-python",
    )
