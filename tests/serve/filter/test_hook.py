"""The filter as the server asks it: requests refused, a moderator over real HTTP, and what happens when it is away."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from luthier.config.serve import FilterConfig
from luthier.floor.errors import DataError, LuthierError, UsageError
from luthier.serve.filter.hook import FilterHook, filter_hook
from luthier.serve.filter.words import WordSeeker
from luthier.serve.hooks import Asked, Withheld
from luthier.serve.refusal import Refusal
from tests.serve.asking import asked
from tests.serve.filter.streams import stream

pytestmark = pytest.mark.slow


class ModeratorServer(ThreadingHTTPServer):
    """Flags every text with the word `bad` in it; `answer` replaces what it says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.keys: set[str | None] = set()
        self.answer: bytes | None = None
        self.status = 200
        self.wait_s = 0.0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that did not wait is what a test wants."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/moderations"


class _Handler(BaseHTTPRequestHandler):
    server: ModeratorServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body["input"])
        self.server.keys.add(self.headers["Authorization"])
        time.sleep(self.server.wait_s)
        said = json.dumps({"results": [{"flagged": "bad" in body["input"].split()}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(self.server.answer if self.server.answer is not None else said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ModeratorServer]:
    made = ModeratorServer()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def hook_of(**settings: Any) -> FilterHook:
    made = filter_hook(FilterConfig.model_validate(settings))
    assert made is not None
    return made


def asked_of(hook: FilterHook, request: Asked) -> Refusal | None:
    async def ask() -> Refusal | None:
        try:
            assert await hook.before(request) == {}
        except Refusal as refusal:
            return refusal
        finally:
            await hook.close()
        return None

    return asyncio.run(ask())


def test_a_recipe_that_looks_for_nothing_has_no_filter() -> None:
    assert filter_hook(FilterConfig()) is None
    assert (
        filter_hook(FilterConfig.model_validate({"patterns": ["a"], "input": "off", "output": "off"})) is None
    )


def test_a_request_is_refused_by_the_kind_and_never_by_the_words(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# ours\nRed Flag  # a phrase\n\ndamn\n")
    settings = {"words": str(words), "patterns": [r"\bxyz\d+"], "personal": ["email"]}
    for text, kind in (
        ("DAMN it", "word"),
        ("a red, flag", "word"),
        ("see xyz77", "pattern"),
        ("a.b@mail.org", "email"),
    ):
        refusal = asked_of(hook_of(**settings), asked("fine", texts=("fine", text)))
        assert refusal is not None
        assert (refusal.status, refusal.code, refusal.param) == (400, "api-filter", "messages")
        assert f"({kind})" in refusal.message
        assert text not in refusal.message
    for text in ("Scunthorpe damnation", "red flags", "4111 1111 1111 1111"):
        assert asked_of(hook_of(**settings), asked(text)) is None
    assert asked_of(hook_of(**settings, input="off"), asked("damn")) is None


def test_a_long_prompt_is_searched_as_well() -> None:
    assert asked_of(hook_of(personal=["email"]), asked("word " * 100_000 + "a.b@mail.org")) is not None


def test_the_moderator_is_asked_once_for_all_texts(
    server: ModeratorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATOR_KEY", "sk-0123456789abcdef")
    moderator = {"url": server.url, "key_from": "MODERATOR_KEY"}
    assert asked_of(hook_of(moderator=moderator), asked(texts=("good", "fine"))) is None
    refusal = asked_of(hook_of(moderator=moderator), asked(texts=("good", "bad")))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "api-filter")
    assert server.seen == ["good\n\nfine", "good\n\nbad"]
    assert server.keys == {"Bearer sk-0123456789abcdef"}
    monkeypatch.delenv("MODERATOR_KEY")
    with pytest.raises(UsageError, match="MODERATOR_KEY"):
        hook_of(moderator=moderator)


WRONG_ANSWERS: tuple[tuple[int, bytes | None], ...] = (
    (500, None),
    (302, None),
    (200, b""),
    (200, b"[]"),
    (200, b'{"results": []}'),
    (200, b'{"results": [{"flagged": "no"}]}'),
    (200, b'{"results": [{}]}'),
    (200, b"[" * 100_000),
    (200, b" " * 2**21),
)


@pytest.mark.parametrize(("status", "answer"), WRONG_ANSWERS)
def test_an_answer_that_is_no_judgement_lets_nothing_through(
    server: ModeratorServer, status: int, answer: bytes | None
) -> None:
    server.status, server.answer = status, answer
    refusal = asked_of(hook_of(moderator={"url": server.url}), asked("good"))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (503, "api-moderator")
    assert asked_of(hook_of(moderator={"url": server.url}, on_failure="pass"), asked("good")) is None


def test_a_moderator_that_is_away_or_slow_lets_nothing_through(server: ModeratorServer) -> None:
    for moderator in (
        {"url": "http://127.0.0.1:9/"},
        {"url": "http://a b/"},
        {"url": server.url, "timeout_s": 0.05},
    ):
        server.wait_s = 0.3
        start = time.monotonic()
        refusal = asked_of(hook_of(moderator=moderator), asked("good"))
        assert refusal is not None
        assert refusal.status == 503
        assert time.monotonic() - start < 2


def test_a_stream_is_held_until_the_moderator_has_cleared_it(server: ModeratorServer) -> None:
    """Of a text that is flagged, nothing goes out that was not cleared by an earlier judgement."""

    async def run(text: str) -> tuple[str, str | None]:
        hook = hook_of(moderator={"url": server.url, "every_characters": 20})
        gate = hook.gate(asked(), 0)
        assert gate is not None
        out = ""
        try:
            for letter in text:
                out += await gate.feed(letter)
            return out + await gate.finish(), None
        except Withheld as end:
            return out + end.released, end.reason
        finally:
            await hook.close()

    good = "one two three four five six seven eight nine ten"
    assert asyncio.run(run(good)) == (good, None)
    assert server.seen == [good[:20], good[:40], good]
    out, reason = asyncio.run(run(f"{good} bad eleven twelve thirteen fourteen"))
    assert reason == "moderator"
    assert out in (good[:40], good + " ba"[:1])
    assert "bad" not in out
    server.status = 500
    assert asyncio.run(run(good))[0] == ""


@pytest.mark.parametrize(
    "pattern", ["(", "a(?=b)", "(?<!a)b", r"a\Bb", "x*", "|a", "(?P<a", "[a", "a{99999999999}"]
)
def test_a_pattern_that_cannot_be_used_on_a_stream_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(LuthierError) as raised:
        hook_of(patterns=[pattern])
    assert raised.value.code == "cfg-range"
    assert raised.value.where == "serve.filter.patterns"


def test_a_sign_that_is_escaped_is_none() -> None:
    assert asked_of(hook_of(patterns=[r"\(\?=\\Bx"]), asked(r"a (?=\Bx")) is not None


@pytest.mark.parametrize("content", [None, b"# nothing\n\n", b"\xff\xfe", b"...\n"])
def test_a_word_list_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="the word list"):
        hook_of(words=str(path))


def test_a_hundred_thousand_words_cost_no_more_than_a_few() -> None:
    words = WordSeeker(f"word{number}" for number in range(100_000))
    text = "nothing to see here " * 500
    start = time.process_time()
    assert words.find(text) == []
    assert time.process_time() - start < 0.5


def test_an_answer_of_four_thousand_tokens_is_held_at_a_small_price() -> None:
    """Less than a millisecond a token, whatever its length: the search goes on from where the text was sent."""
    hook = hook_of(personal=["email", "phone", "card", "iban", "ip", "secret"], patterns=[r"\bfoo\d+"])
    pieces = ["word ", "and", " number ", "12 ", "more. "] * 800
    start = time.process_time()
    out, reason = stream(pieces, hook._seekers)
    assert ("".join(out), reason) == ("".join(pieces), None)
    assert (time.process_time() - start) / len(pieces) < 1e-3
