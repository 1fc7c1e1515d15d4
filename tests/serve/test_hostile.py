"""Clients that mean harm or are broken: each gets a 4xx in OpenAI's form in its time, and nobody else notices."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.serve.engines.own import OwnEngine
from luthier.serve.server import bind, refuse_open_bind
from tests.serve.conftest import BASE, Running, Start

# The engine's process takes seconds to start.
pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
GOOD = {"model": BASE, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "temperature": 0}
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty(start: Start) -> Iterator[Running]:
    """A server that waits for nobody."""
    with start(head_s=0.4, body_s=0.4, write_s=0.4) as running:
        yield running


@pytest.fixture(scope="module")
def client(hasty: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hasty.url, timeout=20) as found:
        yield found


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and fault word; checks OpenAI's error form on the way."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    assert "/luthier/" not in answer.text
    return answer.status_code, error["code"]


def changed(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "api-body"),
    "no JSON": (b"{model", 400, "api-body"),
    "a list": (b"[]", 400, "api-body"),
    "invalid UTF-8": (b'{"model": "\xff\xfe"}', 400, "api-body"),
    "NaN": (b'{"model": "m", "temperature": NaN}', 400, "api-body"),
    "a key twice": (b'{"model": "a", "model": "b"}', 400, "api-body"),
    "100,000 deep": (b'{"a":' * 100_000, 400, "api-depth"),
    "40 deep": (changed(tools=[json.loads('{"a":' * 40 + "1" + "}" * 40)]), 400, "api-depth"),
    "too large": (b'{"model": "' + b"a" * 2**20 + b'"}', 413, "api-size"),
    "half a surrogate pair": (changed(messages=[{"role": "user", "content": "\ud800"}]), 400, "api-field"),
    "an unknown field": (changed(temprature=1), 400, "api-field"),
    "a template": (changed(chat_template="{{ 1 }}"), 400, "api-field"),
    "template arguments": (changed(chat_template_kwargs={"tokenize": True}), 400, "api-field"),
    "an absurd length": (changed(max_tokens=10**12), 400, "api-field"),
    "a length of 0": (changed(max_tokens=0), 400, "api-field"),
    "a length of 1.5": (changed(max_tokens=1.5), 400, "api-field"),
    "a length that is text": (changed(max_tokens="5"), 400, "api-field"),
    "longer than the context": (changed(max_tokens=4096), 400, "api-context"),
    "too many choices": (changed(n=10**6), 400, "api-field"),
    "a negative temperature": (changed(temperature=-1), 400, "api-field"),
    "a hot temperature": (changed(temperature="hot"), 400, "api-field"),
    "top_p of 0": (changed(top_p=0), 400, "api-field"),
    "a seed of 2^80": (changed(seed=2**80), 400, "api-field"),
    "10,000 stops": (changed(stop=["a"] * 10_000), 400, "api-field"),
    "an empty stop": (changed(stop=""), 400, "api-field"),
    "a stream that may be": (changed(stream="maybe"), 400, "api-field"),
    "log probabilities without asking": (changed(top_logprobs=3), 400, "api-field"),
    "a bias that is no number": (changed(logit_bias={"x": 1}), 400, "api-field"),
    "no messages": (changed(messages=[]), 400, "api-field"),
    "messages that are text": (changed(messages="Hello"), 400, "api-field"),
    "no role": (changed(messages=[{"content": "Hello"}]), 400, "api-field"),
    "an unknown role": (changed(messages=[{"role": "root", "content": "Hello"}]), 400, "api-field"),
    "content that is a number": (changed(messages=[{"role": "user", "content": 1}]), 400, "api-field"),
    "a picture by file": (
        changed(
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
                }
            ]
        ),
        400,
        "api-field",
    ),
    "nothing to answer": (
        changed(messages=[*GOOD["messages"], {"role": "assistant", "content": "a"}]),
        400,
        "api-field",
    ),
    "too many messages": (changed(messages=[{"role": "user", "content": ""}] * 20_000), 400, "api-field"),
    "a path for a model": (changed(model="../../etc/passwd"), 404, "api-model"),
    "a number for a model": (changed(model=1), 400, "api-field"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_by_name(client: httpx.Client, name: str) -> None:
    body, status, code = BODIES[name]
    answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert code_of(answer) == (status, code), answer.text


def test_the_fault_is_named_by_its_place(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Hello"}, {"role": "user", "content": 5}]
    error = client.post(CHAT, json=GOOD | {"messages": messages}).json()["error"]
    assert error["param"].startswith("messages.1")
    unknown = client.post(CHAT, json=GOOD | {"foo": 1}).json()["error"]
    assert (unknown["param"], unknown["message"]) == ("foo", "foo: is not a field that this server knows")


def test_types_hosts_origins_and_methods_are_judged(client: httpx.Client) -> None:
    raw = json.dumps(GOOD).encode()
    json_type = {"content-type": "application/json"}
    assert code_of(client.post(CHAT, content=raw)) == (415, "api-type")
    packed = client.post(CHAT, content=raw, headers=json_type | {"content-encoding": "gzip"})
    assert code_of(packed) == (415, "api-type")
    assert code_of(client.get("/health", headers={"host": "evil.example"})) == (421, "api-host")
    for origin in ("https://evil.example", "null"):
        assert code_of(client.post(CHAT, json=GOOD, headers={"origin": origin})) == (403, "api-host")
    assert client.post(CHAT, json=GOOD, headers={"origin": "http://localhost:3000"}).status_code == 200
    assert code_of(client.get(CHAT)) == (405, "api-method")
    for path in ("/v1//chat/..;/x", "/v1/%2e%2e/x", "/v1/models/%00", "/admin", "/metrics"):
        assert code_of(client.get(path))[0] == 404, path
    assert "access-control-allow-origin" not in client.get("/v1/models").headers


def send(running: Running, text: bytes) -> socket.socket:
    found = socket.create_connection(running.address, timeout=10)
    with contextlib.suppress(OSError):  # a server that refuses closes before it has read everything
        found.sendall(text)
    return found


def read_to_end(connection: socket.socket) -> bytes:
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            raw += part
    return raw


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/chat", b"408"),
        (HEAD.encode() + b"Content-Length: 100\r\n\r\n{", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10**6, b"431"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 200 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
        (HEAD.encode() + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (HEAD.encode() + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    ],
)
def test_half_and_huge_requests_end_in_their_time(hasty: Running, sent: bytes, status: bytes) -> None:
    started = time.monotonic()
    with send(hasty, sent) as connection:
        said = read_to_end(connection)
    assert said.startswith(b"HTTP/1.1 " + status), said[:200]
    assert time.monotonic() - started < 3


def test_a_client_that_leaves_frees_its_slot(hasty: Running, engine: OwnEngine, client: httpx.Client) -> None:
    body = changed(max_tokens=1900, temperature=1, seed=1, stream=True, n=8)
    with send(hasty, HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert hasty.works.queue.running_rows == 8
    wait_until(lambda: hasty.works.queue.running == 0 and not engine._rows)
    assert client.post(CHAT, json=GOOD, timeout=5).status_code == 200


def test_a_client_that_stops_reading_is_cut_off(hasty: Running, client: httpx.Client) -> None:
    body = changed(max_tokens=1500, temperature=1, stream=True, n=8, logprobs=True, top_logprobs=20)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(hasty.address)
    with connection:
        connection.sendall(HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: hasty.works.queue.running == 1)
        assert client.post(CHAT, json=GOOD).status_code == 200
        wait_until(lambda: hasty.works.queue.running == 0, seconds=15)
        connection.settimeout(5)
        assert b"[DONE]" not in read_to_end(connection)


def wait_until(is_so: Any, *, seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def test_a_full_queue_says_when_to_come_again(start: Start) -> None:
    with (
        start(most_running=1, most_waiting=1, wait_s=0.3) as running,
        httpx.Client(base_url=running.url) as client,
    ):
        long = changed(max_tokens=400, temperature=1, stream=True)
        with contextlib.ExitStack() as held:
            first = held.enter_context(
                send(running, HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(long) + long)
            )
            assert first.recv(100)
            waiting = held.enter_context(
                send(running, HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(long) + long)
            )
            wait_until(lambda: running.works.queue.waiting == 1)
            full = client.post(CHAT, json=GOOD)
            assert code_of(full) == (503, "api-busy")
            assert int(full.headers["retry-after"]) >= 1
            assert b"503" in waiting.recv(100), "waited for longer than it may"
        running.drain.has_begun = True
        assert code_of(client.post(CHAT, json=GOOD)) == (503, "api-draining")
        assert client.get("/ready").json() == {"ready": False}
        assert client.get("/health").status_code == 200


def test_an_open_address_without_keys_is_refused(hasty: Running) -> None:
    from dataclasses import replace

    settings = hasty.works.settings
    refuse_open_bind(settings, has_keys=False, command="luthier serve x")
    open_to_all = replace(settings, host="0.0.0.0")
    refuse_open_bind(open_to_all, has_keys=True, command="luthier serve x")
    with pytest.raises(UsageError, match="lets other machines use the model") as refused:
        refuse_open_bind(open_to_all, has_keys=False, command="luthier serve x")
    assert "luthier keys new" in refused.value.fix
    with pytest.raises(EnvironmentFault) as taken:
        bind(replace(settings, port=hasty.address[1]))
    assert (taken.value.code, taken.value.exit_code) == ("env-port", 5)
