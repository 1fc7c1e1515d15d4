"""Bring files to a repository of the hub in one commit, and see that it holds them.

Large files go up first, one after the other; the hub keeps each that arrived whole, so that a repeated command sends only the rest.
Nobody sees any of them before the commit, which is one request: the repository holds all of the publication or nothing of it. A commit
whose answer was lost is not made twice: before another try the repository is looked at.
"""

import hashlib
import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.floor.errors import EnvironmentFault, GateError
from luthier.floor.log import Listener
from luthier.publish.files import CARD, Upload
from luthier.publish.hub import Line, library
from luthier.publish.patience import patiently, status_of

ATTRIBUTES = ".gitattributes"
MOST_REMOTE_FILES = 100_000
READ_S = 60.0


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it."""

    bytes: int
    sha256: str | None
    """Of a large file; None for one that lies in git itself."""
    blob: str
    """Git's own hash."""


@dataclass(frozen=True)
class Repository:
    """A repository as it is before anything is sent."""

    head: str
    private: bool
    files: Mapping[str, RemoteFile]


@dataclass(frozen=True)
class Uploaded:
    """What the upload did."""

    revision: str
    private: bool
    commits: int
    kept: tuple[str, ...]
    deleted: tuple[str, ...]


class Hub:
    """The calls that publishing makes, each with patience."""

    def __init__(self, line: Line, token: str, listener: Listener) -> None:
        self._hub = library()
        self._line = line
        self._token = token
        self._listener = listener
        self._api = self._hub.HfApi(endpoint=line.endpoint, token=token)

    def check_token(self) -> None:
        """Raise EnvironmentFault hub-token if the hub does not know the token, or it may only read."""
        found = patiently(self._line, "the token", self._api.whoami)
        role = found.get("auth", {}).get("accessToken", {}).get("role") if isinstance(found, dict) else None
        if role == "read":
            raise EnvironmentFault(
                "hub-token",
                "the token may only read",
                where=self._line.endpoint,
                fix="Make one that may write at https://huggingface.co/settings/tokens",
            )

    def look(self, repo: str) -> Repository | None:
        """The repository; None if it is not there, or the token may not see it."""
        errors = importlib.import_module("huggingface_hub.errors")

        def ask() -> Any:
            try:
                return self._api.model_info(repo, timeout=READ_S)
            except errors.RepositoryNotFoundError as fault:
                if status_of(fault) == 404:
                    return None
                raise

        info = patiently(self._line, f"a look at {repo}", ask)
        if info is None:
            return None
        files = self.list_files(repo, info.sha) if info.sha else {}
        return Repository(info.sha or "", bool(info.private), files)

    def list_files(self, repo: str, revision: str) -> dict[str, RemoteFile]:
        """Every file of a revision."""

        def ask() -> dict[str, RemoteFile]:
            found: dict[str, RemoteFile] = {}
            for entry in self._api.list_repo_tree(repo, recursive=True, revision=revision):
                if isinstance(entry, self._hub.hf_api.RepoFile):
                    digest = entry.lfs.sha256 if entry.lfs else None
                    found[str(entry.path)] = RemoteFile(int(entry.size), digest, str(entry.blob_id))
                if len(found) > MOST_REMOTE_FILES:
                    raise ValueError(f"more than {MOST_REMOTE_FILES:,} files")
            return found

        return patiently(self._line, f"the list of {repo}", ask)

    def create(self, repo: str, *, private: bool) -> Repository:
        """Make the repository; one that came to be meanwhile is taken as it is."""
        patiently(
            self._line,
            f"a new repository {repo}",
            lambda: self._api.create_repo(repo, private=private, exist_ok=True, repo_type="model"),
        )
        made = self.look(repo)
        if made is None:
            raise EnvironmentFault(
                "hub-answer",
                f"the hub says that it made {repo}, and does not know it",
                where=self._line.endpoint,
            )
        return made

    def check_card(self, text: str) -> None:
        """Raise GateError publish-card if the hub does not take the card's metadata, before anything large is sent."""

        def ask() -> None:
            try:
                self._hub.ModelCard(text).validate(repo_type="model")
            except ValueError as fault:
                if status_of(fault.__context__ or fault) != 400:
                    raise
                raise GateError(
                    "publish-card",
                    f"the hub refuses the card's metadata: {self._line.hide(' '.join(str(fault).split())[:300])}",
                    where=CARD,
                    fix="Look at the beginning of README.md in the run's publish folder, and at publish.card.",
                ) from fault

        patiently(self._line, "the card", ask)

    def operations(self, uploads: Sequence[Upload], deleted: Sequence[str]) -> list[Any]:
        """What a commit consists of; made anew for each try, since the library marks them."""
        found: list[Any] = []
        for upload in uploads:
            addition = self._hub.CommitOperationAdd(
                path_in_repo=upload.path,
                path_or_fileobj=upload.content if upload.content is not None else str(upload.source),
            )
            # Hashed already: the library need not read it again.
            addition.upload_info.sha256 = bytes.fromhex(upload.sha256)
            found.append(addition)
        return [*found, *(self._hub.CommitOperationDelete(path_in_repo=path) for path in deleted)]

    def send(self, repo: str, uploads: Sequence[Upload]) -> None:
        """Bring the large files to the hub's storage, where nobody sees them; the hub says which are large and which it has.

        One at a time, so that what is cut off is one file and not several.
        """
        self._line.total_bytes = self._line.bytes_sent + sum(upload.size_bytes for upload in uploads)
        patiently(
            self._line,
            "the files",
            lambda: self._api.preupload_lfs_files(repo, self.operations(uploads, ()), num_threads=1),
            waits_s=(1.0,),
        )

    def commit(
        self, repo: str, uploads: Sequence[Upload], deleted: Sequence[str], *, parent: str, message: str
    ) -> str:
        """Make the one commit; the revision that holds everything.

        Raises EnvironmentFault hub-conflict if someone else changed the repository since it was looked at.
        """
        attempts = 0

        def ask() -> str:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and (landed := self._landed(repo, uploads, deleted, parent)) is not None:
                return landed
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                made = self._api.create_commit(
                    repo,
                    self.operations(uploads, deleted),
                    commit_message=message,
                    parent_commit=parent or None,
                    num_threads=1,
                )
            for warning in said:
                self._listener.warn(" ".join(str(warning.message).split()))
            return str(made.oid)

        return patiently(self._line, "the commit", ask)

    def _landed(
        self, repo: str, uploads: Sequence[Upload], deleted: Sequence[str], parent: str
    ) -> str | None:
        """The revision of an earlier try whose answer was lost; None if it did not get there."""
        now = self.look(repo)
        if now is None or now.head == parent:
            return None
        if all(is_same(now.files.get(upload.path), upload) for upload in uploads) and not set(deleted) & set(
            now.files
        ):
            return now.head
        raise EnvironmentFault(
            "hub-conflict",
            f"{repo} was changed by someone else while the files were sent",
            where=f"{self._line.endpoint}/{repo}/commits/main",
            fix="Look at what changed, then repeat the command; what arrived whole is not sent again.",
        )

    def read(self, repo: str, path: str, revision: str) -> bytes:
        """A small file as the hub hands it out."""
        hub_utils = importlib.import_module("huggingface_hub.utils")
        address = self._hub.hf_hub_url(repo, path, revision=revision, endpoint=self._line.endpoint)

        def ask() -> bytes:
            headers = hub_utils.build_hf_headers(token=self._token)
            response = hub_utils.http_backoff("GET", address, headers=headers)
            hub_utils.hf_raise_for_status(response)
            return bytes(response.content)

        return patiently(self._line, f"{path} of {repo}", ask, waits_s=())


def is_same(remote: RemoteFile | None, upload: Upload) -> bool:
    """Whether the hub lists exactly this file: by SHA-256 where it is large, else by git's hash."""
    if remote is None or remote.bytes != upload.size_bytes:
        return False
    return remote.sha256 == upload.sha256 if remote.sha256 else remote.blob == git_hash(upload)


def git_hash(upload: Upload) -> str:
    """The SHA-1 by which git knows the content (git-scm.com/book, Git Objects): `blob <bytes>\\0` goes before it."""
    return hashlib.sha1(
        f"blob {upload.size_bytes}\0".encode() + upload.read(), usedforsecurity=False
    ).hexdigest()


def check_remote(hub: Hub, repo: str, revision: str, uploads: Sequence[Upload], listener: Listener) -> None:
    """Compare every file of the revision with ours by size and SHA-256; small ones are read back.

    Raises EnvironmentFault hub-mismatch naming those that differ.
    """
    remote = hub.list_files(repo, revision)
    wrong = []
    for number, upload in enumerate(uploads, start=1):
        listener.progress("checking what the hub holds", number, len(uploads), upload.path)
        found = remote.get(upload.path)
        if found is None:
            wrong.append(f"{upload.path} is not there")
        elif found.bytes != upload.size_bytes:
            wrong.append(f"{upload.path} has {found.bytes:,} bytes there, {upload.size_bytes:,} here")
        else:
            digest = found.sha256 or hashlib.sha256(hub.read(repo, upload.path, revision)).hexdigest()
            if digest != upload.sha256:
                wrong.append(
                    f"{upload.path} has SHA-256 {digest[:16]}... there, {upload.sha256[:16]}... here"
                )
    if wrong:
        raise EnvironmentFault(
            "hub-mismatch",
            f"the hub holds otherwise than was sent, in {len(wrong)} of {len(uploads)} files",
            where=f"{repo} at {revision[:12]}",
            problems=wrong[:20],
            why="A .gitignore of the repository may leave files out; a file may have changed here while it was sent.",
            fix="Repeat the command: it sends what differs.",
        )
