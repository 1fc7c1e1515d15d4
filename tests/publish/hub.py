"""A stand-in for the Hugging Face hub on 127.0.0.1 that takes models: repositories, large-file storage, commits and cards.

It answers the calls that huggingface_hub makes to publish (seen with 2.4.0), keeps what it was sent, and fails where a test says so:
`site.faults` is asked before each request and may answer 429, 500 and the like, `reset` (the line is cut before anything is done),
`half` (cut in the middle of the body), `lost` (done, and the answer is cut), or `slow`.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.publish.card_rules import faults_of_card

TOKEN = "hf_" + "CanaryTokenOfTheTests0123456789ab"
READ_TOKEN = "hf_" + "CanaryTokenThatMayOnlyRead012345"
# tokenizer.json as well, so that an adapter has two large files.
LARGE_ENDINGS = (".safetensors", ".gguf", ".bin", "tokenizer.json")
LARGE_BYTES = 10 * 2**20
SLOW_S = 0.6
Fault = str | int | None


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    number: int
    """From 1."""
    method: str
    path: str

    def is_a(self, method: str, pattern: str) -> bool:
        return self.method == method and re.search(pattern, self.path) is not None


@dataclass
class Repo:
    """A repository: its commits, each with every file."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    large: set[str] = field(default_factory=set)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def at(self, revision: str) -> dict[str, bytes] | None:
        return self.files if revision == "main" else dict(self.commits).get(revision)

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((sha, files))
        return sha


@dataclass
class Site:
    """What the hub holds and has seen; tests look into it and tell it to fail."""

    address: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    put_bytes: int = 0
    """Bytes of large files that arrived whole."""
    faults: Callable[[Call], Fault] = lambda call: None
    answers: dict[str, Callable[["Handler"], None]] = field(default_factory=dict)
    """By a pattern of `METHOD path`: an answer in place of the usual one."""
    ignored: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, *, private: bool = True, files: dict[str, bytes] | None = None) -> Repo:
        repo = self.repos[name] = Repo(private)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})})
        return repo


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client's acknowledgement
    site: Site
    body: bytes

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, BrokenPipeError, ValueError, OSError):
            super().handle_one_request()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.site.lock:
            call = Call(len(self.site.calls) + 1, self.command, path)
            self.site.calls.append(call)
        fault = self.site.faults(call)
        count = int(self.headers.get("Content-Length", 0))
        if fault == "half":
            self.rfile.read(count // 2)
        if fault in ("reset", "half"):
            return self._cut()
        self.body = self._read(count)
        if fault == "slow":
            time.sleep(SLOW_S)
        if isinstance(fault, int):
            return self.reply({"error": f"injected {fault}"}, status=fault)
        if fault == "lost":
            self.wfile = _Nowhere()  # type: ignore[assignment]
        special = next(
            (a for p, a in self.site.answers.items() if re.search(p, f"{self.command} {path}")), None
        )
        (special or Handler._usual)(self)
        return self._cut() if fault == "lost" else None

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _read(self, count: int) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(count)

    def _cut(self) -> None:
        """Drop the line at once, as a network does (RST instead of FIN)."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def reply(self, value: Any, *, status: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _usual(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/storage/"):  # signed addresses: no token comes here
            return self._store(path.removeprefix("/storage/"))
        with self.site.lock:
            self.site.bodies.append(self.body)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path == "/api/validate-yaml":
            return self._validate()
        if token not in (TOKEN, READ_TOKEN):
            return self.reply({"error": "Invalid credentials"}, status=401)
        if path == "/api/whoami-v2":
            role = "write" if token == TOKEN else "read"
            return self.reply({"name": "me", "auth": {"accessToken": {"role": role}}})
        if path == "/api/repos/create":
            return self._create()
        return self._of_repo(path)

    def _create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not name.startswith("me/"):
            return self.reply({"error": "no right"}, status=403)
        with self.site.lock:
            if name in self.site.repos:
                return self.reply({"error": "exists", "url": f"{self.site.address}/{name}"}, status=409)
            self.site.add(name, private=wanted.get("visibility") == "private")
        return self.reply({"url": f"{self.site.address}/{name}"})

    def _of_repo(self, path: str) -> None:
        match = re.fullmatch(r"(?:/api/models)?/([\w.-]+/[\w.-]+?)(\.git)?(/.*)?", path)
        repo = self.site.repos.get(match[1]) if match else None
        if match is None or repo is None:
            return self.reply({"error": "not found"}, status=404, X_Error_Code="RepoNotFound")
        rest = match[3] or ""
        with self.site.lock:
            if rest == "" or rest.startswith("/revision/"):
                return self.reply({"id": match[1], "sha": repo.head, "private": repo.private, "siblings": []})
            if rest.startswith("/tree/"):
                return self._tree(repo, rest.removeprefix("/tree/").partition("/")[0])
            if rest.startswith("/preupload/"):
                return self._preupload(repo)
            if rest == "/info/lfs/objects/batch":
                return self._batch()
            if rest == "/verify":
                return self.reply({})
            if rest.startswith("/commit/"):
                return self._commit(match[1], repo)
            if rest.startswith("/resolve/"):
                return self._resolve(repo, rest.removeprefix("/resolve/"))
        return self.reply({"error": f"no such call {path}"}, status=404)

    def _tree(self, repo: Repo, revision: str) -> None:
        entries = []
        for name, content in (repo.at(revision) or {}).items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": blob(content)}
            if name in repo.large:
                entry["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return self.reply(entries)

    def _preupload(self, repo: Repo) -> None:
        answers = []
        for file in json.loads(self.body)["files"]:
            name, there = file["path"], repo.files.get(file["path"])
            mode = "lfs" if name.endswith(LARGE_ENDINGS) or file["size"] > LARGE_BYTES else "regular"
            oid = None if there is None else digest(there) if name in repo.large else blob(there)
            answers.append(
                {"path": name, "uploadMode": mode, "shouldIgnore": name in self.site.ignored, "oid": oid}
            )
        return self.reply({"files": answers})

    def _batch(self) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.site.stored:
                address = f"{self.site.address}/storage/{wanted['oid']}?X-Signature=storage-key"
                entry["actions"] = {"upload": {"href": address}}
            objects.append(entry)
        return self.reply({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        if digest(self.body) != oid:
            return self.reply({"error": "checksum"}, status=400)
        with self.site.lock:
            self.site.stored[oid] = self.body
            self.site.put_bytes += len(self.body)
        return self.reply({})

    def _commit(self, name: str, repo: Repo) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent is not None and parent != repo.head:
            return self.reply({"error": "the parent is not the head"}, status=412)
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.site.stored:
                    return self.reply({"error": "no such object"}, status=400)
                files[value["path"]] = self.site.stored[value["oid"]]
                repo.large.add(value["path"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        return self.reply({"commitUrl": f"{self.site.address}/{name}/commit/{sha}", "commitOid": sha})

    def _resolve(self, repo: Repo, rest: str) -> None:
        revision, _, name = rest.partition("/")
        content = (repo.at(revision) or {}).get(name)
        if content is None:
            return self.reply(
                {"error": "no entry"}, status=404, X_Error_Code="EntryNotFound", X_Repo_Commit=repo.head
            )
        etag = digest(content) if name in repo.large else blob(content)
        sha = repo.head if revision == "main" else revision
        return self.reply(content, ETag=f'"{etag}"', X_Repo_Commit=sha)

    def _validate(self) -> None:
        problems = faults_of_card(json.loads(self.body)["content"])
        answer = {"errors": [{"message": problem} for problem in problems], "warnings": []}
        return self.reply(answer, status=400 if problems else 200)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Nowhere:
    def write(self, content: bytes) -> int:
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    closed = False


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A line that was cut on purpose is no news."""


@contextmanager
def hub_site() -> Iterator[Site]:
    """A hub that is there for the block."""
    site = Site()
    server = _Server(("127.0.0.1", 0), type("OfSite", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    # The default asks only twice a second whether to stop.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
