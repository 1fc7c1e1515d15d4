"""A stand-in for the Hugging Face hub on 127.0.0.1: one dataset, with the calls that the libraries make to read it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "owner/rows"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)
FILES = {
    "data/train.jsonl": b'{"prompt": "p1", "completion": "c\xc3\xa9", "id": 1}\n{"prompt": "p2", "completion": "c2", "id": 2}\n',
    "data/test.jsonl": b'{"prompt": "p3", "completion": "c3", "id": 3}\n',
}
ENTRIES = [
    {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    for path, content in FILES.items()
]
FOLDER = {"type": "directory", "path": "data", "size": 0, "oid": "0" * 40}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        facts = f"/api/datasets/{NAME}"
        if path in (facts, *(f"{facts}/revision/{revision}" for revision in REVISIONS)):
            siblings = [{"rfilename": name} for name in FILES]
            return self._reply_json({"id": NAME, "sha": COMMIT, "private": False, "siblings": siblings})
        if path.startswith(f"{facts}/revision/"):
            return self._refuse("RevisionNotFound")
        if path.startswith(f"{facts}/tree/"):
            return self._reply_json(ENTRIES if path.endswith("/data") else [FOLDER])
        revision, _, file = path.removeprefix(f"/datasets/{NAME}/resolve/").partition("/")
        if revision in REVISIONS and file in FILES:
            etag = hashlib.sha1(FILES[file]).hexdigest()
            return self._reply(FILES[file], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        if path.startswith(f"/datasets/{NAME}/"):
            return self._refuse("EntryNotFound" if revision in REVISIONS else "RevisionNotFound")
        return self._refuse("RepoNotFound")

    do_HEAD = do_GET

    def _reply_json(self, value: object) -> None:
        self._reply(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, why: str) -> None:
        self._reply(b"", {"X-Error-Code": why, "X-Repo-Commit": COMMIT}, status=404)

    def _reply(self, body: bytes, headers: dict[str, str], *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[str]:
    """The address of a hub that is there for the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
