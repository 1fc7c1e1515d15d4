"""An endpoint with every fault that one can have, over real HTTP on the loopback."""

import dataclasses
import socket
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from luthier.data.synth import endpoint as endpoint_file
from luthier.data.synth.endpoint import check_address, is_loopback, retry_after_s
from luthier.data.synth.stage import synth
from luthier.data.synth.task import Patience
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.log import Recorder
from tests.data.synth.asking_for import ANSWERS, QUICK, TOPICS, make_task, topic_of
from tests.data.synth.endpoint_server import Asked, Reply, endpoint

pytestmark = pytest.mark.slow

KEY = "a-key-that-nobody-may-see-0123456789"
BOMB = b'{"choices":' + b"[" * 100_000
DEEP = BOMB + b"]" * 100_000 + b"}"


def well(asked: Asked, before: int) -> Reply:
    return Reply(ANSWERS[topic_of(asked.prompt)])


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=429, headers={"Retry-After": "0"}, body=b'{"error": {"message": "slow down"}}'),
        Reply(status=500, body=b"<html>oops</html>"),
        Reply(status=503, body=b""),
        Reply(drop_after=0),
        Reply(drop_after=20),
        Reply(body=b"<html>a proxy's page</html>"),
        Reply(body=b'{"choices": []}'),
        Reply(body=b"[1, 2]"),
        Reply(body=b'{"choices": [{"message": {"content": ["parts"]}}]}'),
        Reply(body=b"\xff\xfe\x00"),
        Reply(body=DEEP),
    ],
    ids=lambda fault: f"{fault.status}-{fault.drop_after}-{(fault.body or b'')[:12]!r}",
)
def test_a_fault_that_passes_costs_no_row(tmp_path: Path, fault: Reply) -> None:
    with endpoint(lambda asked, before: fault if before == 0 else well(asked, before)) as server:
        report = synth(make_task(tmp_path, server.address))
    assert (report.rows, report.unanswered, report.answers) == (6, 0, 6)
    assert len(server.asked) == 12


def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    busy = Reply(status=429, headers={"Retry-After": "1"}, body=b"{}")
    with endpoint(lambda asked, before: busy if before == 0 else well(asked, before)) as server:
        listener, started = Recorder(), time.monotonic()
        synth(make_task(tmp_path, server.address, seeds=TOPICS[:1]), listener=listener)
    assert time.monotonic() - started >= 1.0
    assert "HTTP 429: {}; asking again in 1.0 s" in listener.lines


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after_s("17") == 17
    in_a_minute = retry_after_s(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 58 <= in_a_minute <= 60
    assert [retry_after_s(text) for text in (None, "", "soon", "-3")] == [None] * 4


def test_a_slow_answer_is_given_up_and_asked_for_again(tmp_path: Path) -> None:
    patience = dataclasses.replace(QUICK, timeout_s=0.3)
    with endpoint(
        lambda asked, before: dataclasses.replace(well(asked, before), wait_s=0 if before else 1)
    ) as server:
        report = synth(make_task(tmp_path, server.address, seeds=TOPICS[:2], patience=patience))
    assert (report.rows, report.unanswered) == (2, 0)


def test_a_prompt_that_is_never_answered_is_in_the_books_and_asked_for_next_time(tmp_path: Path) -> None:
    broken = True

    def choose(asked: Asked, before: int) -> Reply:
        return Reply(status=500) if broken and topic_of(asked.prompt) == "tides" else well(asked, before)

    with endpoint(choose) as server:
        task, listener = make_task(tmp_path, server.address), Recorder()
        report = synth(task, listener=listener)
        assert (report.rows, report.unanswered, report.dropped) == (5, 1, {})
        assert any("1 prompt got no answer (HTTP 500" in line for line in listener.warnings)
        broken = False
        again = synth(task)
    assert (again.rows, again.unanswered, again.requests) == (6, 0, 1)


def test_a_prompt_that_the_endpoint_refuses_is_left_out_for_good(tmp_path: Path) -> None:
    too_long = Reply(status=400, body=b'{"error": {"message": "prompt is too long"}}')

    def choose(asked: Asked, before: int) -> Reply:
        return too_long if topic_of(asked.prompt) == "tides" else well(asked, before)

    with endpoint(choose) as server:
        task = make_task(tmp_path, server.address)
        assert synth(task).dropped == {"refused by the endpoint": 1}
        assert synth(task).requests == 0
    assert "HTTP 400: prompt is too long" in (tmp_path / "rows.dropped").read_text()


def test_an_answer_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_file, "MOST_ANSWER_BYTES", 100_000)

    def choose(asked: Asked, before: int) -> Reply:
        return Reply("long " * 10**6) if topic_of(asked.prompt) == "tides" else well(asked, before)

    with endpoint(choose) as server:
        report = synth(make_task(tmp_path, server.address))
    assert report.dropped == {"refused by the endpoint": 1}
    assert (tmp_path / "rows.journal").stat().st_size < 10_000


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_would_refuse_everything_stops_at_once_and_shows_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    refusal = Reply(status=status, body=f'{{"error": {{"message": "not allowed: {KEY}"}}}}'.encode())
    with endpoint(lambda asked, before: refusal) as server:
        task = make_task(tmp_path, server.address, key_variable="MY_KEY")
        with pytest.raises(EnvironmentFault) as raised:
            synth(task)
    assert raised.value.code == "env-endpoint"
    assert f"HTTP {status}: not allowed: ***" in raised.value.what
    assert len(server.asked) <= QUICK.concurrency
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


def test_the_key_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with endpoint(well) as server:
        synth(make_task(tmp_path, server.address, key_variable="MY_KEY"))
    assert [path.name for path in tmp_path.iterdir() if KEY.encode() in path.read_bytes()] == []


def test_no_other_address_is_reached(tmp_path: Path) -> None:
    with endpoint(well) as other:
        away = Reply(status=307, headers={"Location": f"{other.address}/chat/completions"}, body=b"")
        with endpoint(lambda asked, before: away) as server, pytest.raises(EnvironmentFault) as raised:
            synth(make_task(tmp_path, server.address))
    assert f"sends on to {other.address}" in raised.value.what
    assert not other.asked


def test_a_server_that_is_not_there_is_said_so_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        synth(make_task(tmp_path, address, patience=Patience()))
    assert time.monotonic() - started < 10


def test_an_endpoint_that_answers_nothing_is_given_up(tmp_path: Path) -> None:
    with endpoint(lambda asked, before: Reply(status=400, body=b'{"error": "no such setting"}')) as server:
        task = make_task(tmp_path, server.address, seeds=[*TOPICS, *"abcdefghijklmnopqrstuvwxyz"])
        with pytest.raises(EnvironmentFault, match="no such setting"):
            synth(task)
    assert len(server.asked) <= 10 + QUICK.concurrency
    assert len((tmp_path / "rows.journal").read_text().splitlines()) == 1, "nothing is held against a prompt"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:8080", "is no http or https address"),
        ("ftp://host/v1", "is no http or https address"),
        ("https://me:secret@host/v1", "holds a name or password"),
        ("http://host:99999/v1", "is no address"),
        ("http://[::1/v1", "is no address"),
        ("http://host/v1?key=1", "has more than a path"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        check_address(address)
    assert "secret" not in raised.value.render()


def test_an_address_is_taken_as_people_write_it() -> None:
    for written in (
        "http://h:1",
        "http://h:1/",
        "http://h:1/v1",
        "http://h:1/v1/",
        "http://h:1/v1/chat/completions",
    ):
        assert check_address(written) == "http://h:1/v1"
    assert [is_loopback(f"http://{host}") for host in ("127.0.0.1:1", "[::1]:1", "localhost", "10.0.0.1")] == [
        True, True, True, False,
    ]  # fmt: skip


def test_the_key_must_be_in_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(UsageError, match="NO_KEY is not set"):
        synth(make_task(tmp_path, "http://127.0.0.1:9/v1", key_variable="NO_KEY"))
