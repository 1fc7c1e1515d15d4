"""Soak a server with mixed clients, good, wrong, slow and leaving, and hold it to its promises: `python bench/serve/soak.py --seconds 300`.

Starts `luthier serve embedded` with keys, audit, filter, limits and figures, and sends it for so long what clients send: 65 % streams,
12 % whole answers, 15 % invalid requests, 5 % that leave in the middle, 3 % that send or read slowly. Clients are closed loops: each asks
again once it has its answer and has waited a little, so that the load is bounded. Afterwards: no status of 500 and above but 503, no stream that
ended without its end, every request in the audit log, the log whole, memory, descriptors and threads flat after the first quarter.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CLIENTS = 8
# The most that memory may grow: a tenth of what the program had after its first quarter, or 1 MB an hour over long soaks (figure G12).
MOST_GROWTH = 0.10
MODEL = "embedded-base"
HEADERS = {"Content-Type": "application/json"}
INVALID: tuple[tuple[str, bytes], ...] = (
    ("/v1/chat/completions", b""),
    ("/v1/chat/completions", b"{"),
    ("/v1/chat/completions", b"\xff\xfe"),
    ("/v1/chat/completions", b"[" * 5000),
    ("/v1/chat/completions", b'{"model": "gpt-4", "messages": [{"role": "user", "content": "x"}]}'),
    ("/v1/chat/completions", b'{"model": "embedded-base", "messages": []}'),
    ("/v1/chat/completions", b'{"model": "embedded-base", "messages": [{"role": "user", "content": 3}]}'),
    ("/v1/completions", b'{"model": "embedded-base", "prompt": "x", "max_tokens": 1000000000000}'),
    ("/v1/completions", b'{"model": "embedded-base", "prompt": "x", "temperature": "hot"}'),
    ("/v1/completions", b'{"model": "embedded-base", "prompt": "x", "chat_template": "{{ 1 }}"}'),
    ("/v1/completions", b'{"model": "embedded-base", "prompt": "I am jo.doe@mail.example.org"}'),
    ("/v1/completions", b'{"model": "embedded-base", "prompt": "' + b"word " * 3000 + b'"}'),
    ("/v1/completions", b"x" * (2**20 + 1)),
    ("/v1/nowhere", b"{}"),
)
PROMPTS = (
    "Once upon a time",
    "The restaurant",
    "name: The Mill | food: English",
    "Hello",
    "Grüße, 世界 🌍!",
    "1 2 3 4",
)


@dataclass
class Tally:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    lost_streams: int = 0
    broken_connections: Counter[str] = field(default_factory=Counter)
    left: int = 0
    tokens: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def answer(self, response: httpx.Response, kind: str, started: float) -> None:
        self.statuses[response.status_code] += 1
        self.ids.append(response.headers.get("x-request-id", ""))
        self.seconds.setdefault(kind, []).append(time.monotonic() - started)


@dataclass(frozen=True)
class Sample:
    """The server and its engine at one moment."""

    at_s: float
    rss_bytes: int
    descriptors: int
    threads: int


def body(chance: random.Random, **fields: Any) -> dict[str, Any]:
    most = chance.choice((4, 8, 16, 32))
    asked = {
        "model": MODEL,
        "prompt": chance.choice(PROMPTS),
        "max_tokens": most,
        "temperature": chance.choice((0, 1)),
    }
    return asked | {"seed": chance.randrange(100)} | fields


async def stream(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    started = time.monotonic()
    asked = body(chance, stream=True, stream_options={"include_usage": True})
    async with client.stream("POST", "/v1/completions", json=asked) as response:
        lines = [line async for line in response.aiter_lines() if line]
        tally.answer(response, "stream", started)
        if response.status_code != 200:
            return
        if lines[-1] != "data: [DONE]":
            tally.lost_streams += 1
            return
        tally.tokens += json.loads(lines[-2][6:])["usage"]["completion_tokens"]


async def whole(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    started = time.monotonic()
    response = await client.post("/v1/completions", json=body(chance))
    tally.answer(response, "whole", started)
    if response.status_code == 200:
        tally.tokens += response.json()["usage"]["completion_tokens"]


async def invalid(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    path, raw = chance.choice(INVALID)
    headers = HEADERS if chance.random() < 0.8 else {"Authorization": "Bearer sk-luthier-wrong", **HEADERS}
    started = time.monotonic()
    tally.answer(await client.post(path, content=raw, headers=headers), "invalid", started)


async def leave(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    asked = body(chance, stream=True, max_tokens=400, temperature=1)
    async with client.stream("POST", "/v1/completions", json=asked) as response:
        tally.ids.append(response.headers.get("x-request-id", ""))
        async for _ in response.aiter_bytes():
            if chance.random() < 0.5:
                break
    tally.left += 1


async def slow(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    raw = json.dumps(body(chance)).encode()

    async def drip() -> Any:
        for start in range(0, len(raw), 20):
            yield raw[start : start + 20]
            await asyncio.sleep(0.1)

    started = time.monotonic()
    response = await client.post("/v1/completions", content=drip(), headers=HEADERS)
    tally.answer(response, "slow", started)
    if response.status_code == 200:
        tally.tokens += response.json()["usage"]["completion_tokens"]


KINDS: tuple[tuple[int, Callable[[httpx.AsyncClient, random.Random, Tally], Awaitable[None]]], ...] = (
    (65, stream),
    (12, whole),
    (15, invalid),
    (5, leave),
    (3, slow),
)


async def client_loop(number: int, url: str, key: str, until: float, tally: Tally) -> None:
    """One client, which asks until the time is over."""
    chance = random.Random(number)
    weights = [weight for weight, _ in KINDS]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        while time.monotonic() < until:
            (_, act) = chance.choices(KINDS, weights)[0]
            tally.kinds[act.__name__] += 1
            try:
                await act(client, chance, tally)
            except httpx.HTTPError as fault:
                tally.broken_connections[f"{act.__name__}: {type(fault).__name__}"] += 1
            await asyncio.sleep(chance.uniform(0, 0.1))


def children(process: int) -> list[int]:
    """A process and all that it started."""
    found = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


def measure(process: int, started: float) -> Sample:
    rss = descriptors = threads = 0
    for each in children(process):
        rss += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        descriptors += len(os.listdir(f"/proc/{each}/fd"))
        threads += len(os.listdir(f"/proc/{each}/task"))
    return Sample(time.monotonic() - started, rss, descriptors, threads)


async def soak(url: str, key: str, process: int, seconds: float) -> tuple[Tally, list[Sample]]:
    """Send for so long; gives what clients saw and what the server took."""
    tally, samples = Tally(), []
    started = time.monotonic()
    loops = [
        asyncio.ensure_future(client_loop(number, url, key, started + seconds, tally))
        for number in range(CLIENTS)
    ]
    while not all(loop.done() for loop in loops):
        samples.append(measure(process, started))
        await asyncio.wait(loops, timeout=max(0.25, seconds / 600))
    await asyncio.gather(*loops)
    return tally, samples


def growth(samples: list[Sample], seconds: float) -> dict[str, Any]:
    """The middle of the last quarter against that of the second: what came and went in between does not count."""
    second = [each for each in samples if seconds / 4 <= each.at_s < seconds / 2]
    last = [each for each in samples if seconds * 3 / 4 <= each.at_s < seconds]

    def middle(part: list[Sample], name: str) -> float:
        return statistics.median(getattr(each, name) for each in part)

    slope = statistics.linear_regression(
        [each.at_s for each in second + last], [each.rss_bytes for each in second + last]
    ).slope
    return {
        "rss_bytes_second_quarter": middle(second, "rss_bytes"),
        "rss_bytes_last_quarter": middle(last, "rss_bytes"),
        "rss_bytes_an_hour": round(slope * 3600),
        "descriptors": [middle(second, "descriptors"), middle(last, "descriptors")],
        "threads": [middle(second, "threads"), middle(last, "threads")],
    }


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str, str]:
    """A server with everything on a free port; returns it, its address and an administrator's key."""
    luthier = [sys.executable, "-m", "luthier"]
    made = subprocess.run(
        [*luthier, "keys", "new", "soak", "--admin", "--json"], cwd=folder, capture_output=True, check=True
    )
    key = json.loads(made.stdout)["key"]
    settings = ["serve.port=0", "serve.keys=keys.json", "serve.audit.path=audit.jsonl", "serve.threads=1"]
    settings += [
        'serve.filter.personal=["email","card"]',
        "serve.limits.requests_per_minute=100000",
        "serve.queue.most_waiting=4",
    ]
    settings += [
        "serve.queue.most_running=4",
        "serve.cache.most_bytes=20000",
        "serve.metrics.price_per_hour=1",
    ]
    server = subprocess.Popen(
        [*luthier, "serve", "embedded", *settings, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=open(folder / "server.err", "w"),  # noqa: SIM115  # the server's, until it ends
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    said = ""
    while not said.rstrip().endswith("}"):
        line = server.stdout.readline()
        assert line, (folder / "server.err").read_text()
        said += line
    return server, json.loads(said)["url"].removesuffix("/v1"), key


def judge(tally: Tally, samples: list[Sample], folder: Path, code: int, seconds: float) -> dict[str, Any]:
    """The figures, and every promise that was not kept."""
    from luthier.serve.audit.verify import verify_audit

    report = verify_audit(folder / "audit.jsonl")
    text = (folder / "audit.jsonl").read_text()
    missing = [id for id in tally.ids if not id or id not in text]
    grown = growth(samples, seconds)
    share = grown["rss_bytes_last_quarter"] / grown["rss_bytes_second_quarter"] - 1
    wrong = {
        str(status): count for status, count in tally.statuses.items() if status >= 500 and status != 503
    }
    broken = [
        *([f"statuses {wrong}"] if wrong else []),
        *([f"{tally.lost_streams} streams ended without their end"] if tally.lost_streams else []),
        *([f"{len(missing)} requests are not in the audit log"] if missing else []),
        *([f"the audit log is broken: {report.broken_why}"] if report.broken_line else []),
        *(
            [f"asked {report.events.get('asked', 0)}, ended {report.events.get('ended', 0)}"]
            if report.events.get("asked", 0) != report.events.get("ended", 0)
            else []
        ),
        *([f"memory grew by {share:.1%}"] if share > MOST_GROWTH else []),
        *(["descriptors grew"] if grown["descriptors"][1] > grown["descriptors"][0] + CLIENTS else []),
        *(["threads grew"] if grown["threads"][1] > grown["threads"][0] + 2 else []),
        *([f"the server ended with {code}"] if code else []),
    ]
    return {
        "seconds": seconds,
        "clients": CLIENTS,
        "requests": sum(tally.kinds.values()),
        "kinds": dict(tally.kinds),
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "left": tally.left,
        "lost_streams": tally.lost_streams,
        "broken_connections": dict(tally.broken_connections),
        "tokens": tally.tokens,
        "latency_s": {kind: quantiles(values) for kind, values in sorted(tally.seconds.items())},
        "memory_growth": round(share, 4),
        **grown,
        "audit_events": report.events,
        "not_kept": broken,
    }


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 4)
        for share in (50, 95, 99)
    }


def run(seconds: float) -> dict[str, Any]:
    """Start, soak, stop, judge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, url, key = start_server(folder)
        try:
            tally, samples = asyncio.run(soak(url, key, server.pid, seconds))
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
            if server.stdout:
                server.stdout.close()
        return judge(tally, samples, folder, code, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = run(given.seconds)
    text = json.dumps(found, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    return 1 if found["not_kept"] else 0


if __name__ == "__main__":
    sys.exit(main())
