"""What the server adds to its engine: `python bench/serve/gateway.py --json bench/serve/gateway.json`.

The same requests are answered by the engine alone, asked in the process that owns it, and over HTTP through `luthier serve` by a client in
a process of its own that does as little as a client can. As many streams at once either way, each asking again a moment after it is answered.
Rounds alternate; a figure is the median of the rounds, and what the server adds is the median of the rounds' differences.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = "embedded-base"
MOST_NEW_TOKENS = 16
WARM_UP = 2
# Between an answer and the next request of a stream, at most: without it all streams end and begin at the same step of the engine.
PAUSE_S = 0.1
HEAD = "POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
# The most that the server may add at 16 streams, in seconds (figure G14 of the design's catalogue of figures).
MOST_ADDED_S = {"p50": 0.003, "p99": 0.010}


def body(number: int) -> dict[str, Any]:
    return {
        "model": MODEL,
        "prompt": f"The restaurant number {number} by the river",
        "max_tokens": MOST_NEW_TOKENS,
        "temperature": 1,
        "seed": number,
        "stream": True,
    }


async def ask_engine(streams: int, requests: int) -> list[tuple[float, float]]:
    """Seconds to the first token and to the end of each request, from the engine alone."""
    from luthier.config.serve import ServeConfig
    from luthier.serve.api import CompletionRequest
    from luthier.serve.engines.own import OwnEngine
    from luthier.serve.subject import find_served

    config = ServeConfig(threads=1)
    engine = OwnEngine(find_served("embedded", config).for_own(config, device="cpu"))
    await engine.start()

    async def one(number: int) -> tuple[float, float]:
        # As a server would: the body is read as JSON and judged.
        started, first = time.perf_counter(), 0.0
        request = CompletionRequest.model_validate_json(json.dumps(body(number)))
        prepared = await engine.prepare(request)
        async for piece in engine.answer(prepared, most_new_tokens=MOST_NEW_TOKENS):
            if piece.text and not first:
                first = time.perf_counter()
        return (first or time.perf_counter()) - started, time.perf_counter() - started

    try:
        return await loops(one, streams, requests)
    finally:
        await engine.stop()


async def ask_server(host: str, port: int, streams: int, requests: int) -> list[tuple[float, float]]:
    """The same over HTTP, a connection a stream."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(number: int) -> tuple[float, float]:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, port)
        started, first = time.perf_counter(), 0.0
        raw = json.dumps(body(number))
        writer.write((HEAD.format(host=f"{host}:{port}", length=len(raw)) + raw).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        while size := int(await reader.readline(), 16):
            chunk = await reader.readexactly(size + 2)
            if not first and b'"text":""' not in chunk:
                first = time.perf_counter()
        await reader.readline()
        idle.append((reader, writer))
        return (first or time.perf_counter()) - started, time.perf_counter() - started

    try:
        return await loops(one, streams, requests)
    finally:
        for _, writer in idle:
            writer.close()


async def loops(one: Any, streams: int, requests: int) -> list[tuple[float, float]]:
    numbers, found = itertools.count(), list[tuple[float, float]]()

    async def loop(seed: int) -> None:
        chance = random.Random(seed)
        for turn in range(requests // streams + WARM_UP):
            await asyncio.sleep(chance.uniform(0, PAUSE_S))
            times = await one(next(numbers))
            if turn >= WARM_UP:
                found.append(times)

    await asyncio.gather(*(loop(seed) for seed in range(streams)))
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{share}": ordered[math.ceil(share / 100 * len(ordered)) - 1] for share in (50, 95, 99)}


def child(words: list[str]) -> list[tuple[float, float]]:
    """Run one side in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return [tuple(times) for times in json.loads(done.stdout)]


def measure_server(streams: int, requests: int) -> list[tuple[float, float]]:
    words = ["-m", "luthier", "serve", "embedded", "serve.port=0", "serve.threads=1", "--json"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):
            said += server.stdout.readline()
        host, port = json.loads(said)["url"].removeprefix("http://").removesuffix("/v1").split(":")
        try:
            return child(
                [
                    "--side",
                    "server",
                    "--at",
                    host,
                    port,
                    "--streams",
                    str(streams),
                    "--requests",
                    str(requests),
                ]
            )
        finally:
            server.send_signal(signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int, default=800, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--side", choices=("engine", "server"), help=argparse.SUPPRESS)
    parser.add_argument("--at", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side == "engine":
        print(json.dumps(asyncio.run(ask_engine(given.streams, given.requests))))
        return 0
    if given.side == "server":
        print(
            json.dumps(asyncio.run(ask_server(given.at[0], int(given.at[1]), given.streams, given.requests)))
        )
        return 0
    sizes = ["--streams", str(given.streams), "--requests", str(given.requests)]
    load = os.getloadavg()[0]
    rounds = []
    for _ in range(given.rounds):
        engine = child(["--side", "engine", *sizes])
        server = measure_server(given.streams, given.requests)
        rounds.append(
            {
                side: {
                    "first_token_s": percentiles([first for first, _ in times]),
                    "request_s": percentiles([whole for _, whole in times]),
                }
                for side, times in (("engine", engine), ("server", server))
            }
        )
        print(json.dumps(rounds[-1]), file=sys.stderr)
    added = {
        kind: {
            share: statistics.median(
                each["server"][kind][share] - each["engine"][kind][share] for each in rounds
            )
            for share in ("p50", "p95", "p99")
        }
        for kind in ("first_token_s", "request_s")
    }
    kept = {share: added["first_token_s"][share] <= most for share, most in MOST_ADDED_S.items()}
    found = {
        "streams": given.streams, "requests_a_round": given.requests, "new_tokens_a_request": MOST_NEW_TOKENS,
        "added_s": added, "allowed_s": MOST_ADDED_S, "kept": kept, "rounds": rounds, "load_before": load,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores", "versions": {name: version(name) for name in ("luthier", "torch", "starlette", "uvicorn")},
    }  # fmt: skip
    print(json.dumps({key: found[key] for key in ("added_s", "kept")}, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
