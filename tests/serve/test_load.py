"""A load test tells how long people wait: a slow server cannot make it ask less, and what fails is counted."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.cli.bench_serve import result_of
from luthier.floor.stop import StopFlag
from luthier.reports.load import LEVEL_NAMES, LoadReport, missed_of, parse_level, waits_of
from luthier.serve.load import Load, Outcome, send_load
from tests.cli.workshop import Done, luthier
from tests.serve.conftest import BASE, Running

PROMPTS = [[{"role": "user", "content": "Hello"}]]
EVENT = 'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]}\n\n'
END = 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def send(url: str, *, rate: float, seconds: float, **changes: Any) -> tuple[Load, list[Outcome]]:
    load = Load(
        **{"model": BASE, "prompts": PROMPTS, "rate_per_s": rate, "seconds": seconds, "most_new_tokens": 3}
        | changes
    )
    sent = asyncio.run(send_load(f"{url}/v1", None, load, on_tick=lambda ended, total: None, stop=StopFlag()))
    return load, sent


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def made_server(answer: Answer) -> Iterator[str]:
    """A server that names a model and answers as the test wants."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": "m"}]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def stream(handler: BaseHTTPRequestHandler, text: str) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(text.encode())


def test_answers_of_a_real_server_are_timed_and_counted(server: Running) -> None:
    load, sent = send(server.url, rate=20, seconds=1)
    assert len(sent) == len(load.due_times_s()) > 5
    result = result_of(load, sent, {})
    assert (result.answered, result.failures) == (len(sent), {})
    assert result.prompt_tokens > result.new_tokens > 0
    assert all(
        each.due_s <= each.sent_s < (each.first_token_s or math.inf) <= each.ended_s
        for each in sent
        if each.first_token_s
    )
    assert result.first_token.p50 <= result.request.p50 <= result.request.p99


def test_waiting_counts_from_when_a_request_was_due() -> None:
    """One answer at a time, each 0.1 s, 20 a second asked: the queue grows, and the figures must say so."""
    lock = threading.Lock()

    def one_by_one(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            time.sleep(0.1)
        stream(handler, EVENT + END)

    with made_server(one_by_one) as url:
        load, sent = send(url, rate=20, seconds=1)
    result = result_of(load, sent, parse_level(["request_p99=300ms"]))
    assert result.answered == len(sent)
    assert result.request.p99 > 0.1 * len(sent) - 1
    assert result.missed
    assert result.missed[0].startswith("request_p99 ")


@pytest.mark.parametrize(
    ("text", "status", "failure"),
    [
        (EVENT, 200, "cut off"),
        ("data: []\n\n", 200, "not in OpenAI's form"),
        ('data: {"error": {"message": "gone"}}\n\n', 200, "not in OpenAI's form"),
        ("", 503, "status 503"),
        ("", None, "no whole answer within 0.3 s"),
    ],
    ids=["cut", "no_object", "error", "busy", "silent"],
)
def test_what_is_no_whole_answer_is_a_failure(text: str, status: int | None, failure: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if status is None:
            time.sleep(1)
            return
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(text.encode())

    with made_server(answer) as url:
        load, sent = send(url, rate=10, seconds=0.5, timeout_s=0.3 if status is None else 30)
    result = result_of(load, sent, parse_level(["first_token_p50=10"]))
    assert result.failures == {failure: len(sent)}
    assert result.answered == 0
    assert result.missed == ("first_token_p50 none, allowed 10.00 s", "errors 100.0%, allowed 1.0%")


@given(rate=st.floats(0.5, 50), seconds=st.floats(1, 20), seed=st.integers(0, 2**32))
def test_arrivals_are_the_seeds_and_lie_within_the_time(rate: float, seconds: float, seed: int) -> None:
    load = Load("m", PROMPTS, rate, seconds, 1, seed=seed)
    due = load.due_times_s()
    assert due == load.due_times_s() == sorted(due)
    assert all(0 < each < seconds for each in due)
    assert abs(len(due) - rate * seconds) <= 7 * math.sqrt(rate * seconds) + 7


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_a_percentile_is_a_value_that_its_share_does_not_exceed(values: list[float]) -> None:
    waits = waits_of(values)
    for value, share in ((waits.p50, 0.5), (waits.p95, 0.95), (waits.p99, 0.99)):
        assert value in values
        assert sum(each <= value for each in values) >= share * len(values) - 1e-9
        assert sum(each < value for each in values) < share * len(values)


def test_a_level_is_read_in_seconds_and_shares() -> None:
    level = parse_level(["first_token_p95=500ms", "request_p99=2s", "token_gap_p50=0.04", "errors=2%"])
    assert level == pytest.approx(
        {"first_token_p95": 0.5, "request_p99": 2, "token_gap_p50": 0.04, "errors": 0.02}
    )
    assert parse_level(["request_p50=1"])["errors"] == 0.01
    assert parse_level([]) == {}
    assert set(result_of(Load("m", PROMPTS, 1, 1, 1), [], {}).figures()) == set(LEVEL_NAMES)
    assert missed_of(result_of(Load("m", PROMPTS, 1, 1, 1), [], {}), {"errors": 1.0})


def bench(folder: Path, *words: str) -> Done:
    return luthier(folder, "bench", "serve", *words)


def test_the_command_says_what_was_kept_and_ends_with_1_where_nothing_is(
    server: Running, tmp_path: Path
) -> None:
    words = (server.url, "--model", BASE, "--seconds", "1", "--max-tokens", "3", "--rate", "8", "--rate", "4")
    kept = bench(tmp_path, *words, "--at-most", "request_p50=30s", "--json", "--out", "load.json")
    assert kept.code == 0, kept.err
    found = LoadReport.model_validate(kept.json)
    assert [result.rate for result in found.rates] == [4, 8]
    assert (found.highest_kept, found.model) == (8, BASE)
    assert json.loads((tmp_path / "load.json").read_text()) == kept.json
    missed = bench(tmp_path, *words, "--at-most", "request_p50=0.01ms")
    assert missed.code == 1
    assert "gate-level" in missed.err
    assert "verdict  4/s missed: request_p50" in missed.out
    assert "8/s" not in missed.out  # nothing above a rate that misses is tried


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("http://127.0.0.1:9", "--seconds", "1"), 5, "cannot be reached"),
        (("URL", "--model", "other"), 2, "has no model 'other'"),
        (("URL", "serve.threads=1"), 2, "takes no settings"),
        (("URL", "--at-most", "first_token_p90=1"), 2, "is not FIGURE=MOST"),
        (("URL", "--at-most", "errors=1s"), 2, "is not a share"),
        (("URL", "--rate", "0"), 2, "0 requests a second"),
        (("URL", "--key-from", "NOWHERE_KEY"), 2, "the environment has no NOWHERE_KEY"),
        (("URL", "--rows", "none.jsonl"), 3, "there is no none.jsonl"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    server: Running, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = bench(tmp_path, *(server.url if word == "URL" else word for word in words))
    assert (done.code, said in done.err) == (code, True), done.err


@pytest.mark.slow
def test_a_model_is_served_for_the_while_and_asked_what_rows_ask(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "The Mill is a pub.", "completion": "name[The Mill]"}\n' * 3)
    words = ("embedded", "serve.threads=1", "--rows", str(rows), "--seconds", "1", "--rate", "3")
    done = bench(tmp_path, *words, "--max-tokens", "2", "--json")
    assert done.code == 0, done.err
    found = LoadReport.model_validate(done.json)
    assert found.prompts == str(rows)
    assert found.rates[0].failures == {}
    nothing = bench(tmp_path, "nowhere/at/all")
    assert (nothing.code, "ended before it answered" in nothing.err) == (5, True), nothing.err
