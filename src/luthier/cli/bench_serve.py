"""`luthier bench serve`: an open-loop load test of a server, at one rate or several, with a verdict against a level that the user names."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.output import show, show_json, table, tell
from luthier.floor.errors import EnvironmentFault, GateError, UsageError
from luthier.floor.stop import StopFlag, listen_for_stop

if TYPE_CHECKING:
    from luthier.cli.screen import Screen
    from luthier.reports.load import LoadReport, RateResult
    from luthier.serve.load import Load, Outcome

FIX_STOP = "Nothing was kept. Repeat the command."
STOP_WAIT_S = 30
LONGEST_READY = 100_000
# Common words, so that every tokenizer has few tokens a word; each prompt draws its own, so that no cache has seen it.
WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what "
    "all were we when your can said there use an each which she do how their if will up other about out many then them these "
    "so some her would make like him into time has look two more write go see number no way could people my than first water "
    "been call who oil its now find long down day did get come made may part"
)
MADE_UP = 256
PROMPT_WORDS = 60
MOST_RATE = 10_000


@dataclass(frozen=True)
class LoadTest:
    """What the command line asks for."""

    words: Sequence[str]
    rates: Sequence[float]
    seconds: float
    rows: Path | None
    model: str | None
    most_new_tokens: int
    temperature: float
    level: dict[str, float]
    key: str | None
    timeout_s: float
    seed: int

    def run(self) -> "LoadReport":
        """Measure every rate, slowest first; after one that misses the level no higher one is tried."""
        from luthier.cli.screen import Screen
        from luthier.reports.load import LoadReport
        from luthier.reports.provenance import gather_provenance
        from luthier.serve.load import Load
        from luthier.serve.talk import Server

        (prompts, source), screen = self._prompts(), Screen()
        with listen_for_stop(StopFlag()) as stop, reached(self.words, screen) as url:
            with closing(Server(url, self.key)) as server:
                models = server.models
            model = self.model or models[0]
            if model not in models:
                fix = f"It serves {', '.join(models[:8])}."
                raise UsageError("usage", f"{url} has no model {model!r}", where="--model", fix=fix)
            results: list[RateResult] = []
            for rate in sorted(self.rates):
                load = Load(
                    model=model,
                    prompts=prompts,
                    rate_per_s=rate,
                    seconds=self.seconds,
                    most_new_tokens=self.most_new_tokens,
                    temperature=self.temperature,
                    seed=self.seed,
                    timeout_s=self.timeout_s,
                )
                results.append(self._measure(url, load, screen, stop))
                if results[-1].missed:
                    break
        kept = [result.rate for result in results if self.level and not result.missed]
        return LoadReport(
            url=url,
            model=model,
            prompts=source,
            seconds=self.seconds,
            max_tokens=self.most_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
            level=self.level,
            rates=tuple(results),
            highest_kept=max(kept, default=None),
            provenance=gather_provenance(),
        )

    def _measure(self, url: str, load: "Load", screen: "Screen", stop: StopFlag) -> "RateResult":
        from luthier.serve.load import send_load

        label = f"{load.rate_per_s:g} requests/s"

        def on_tick(ended: "Sequence[Outcome]", total: int) -> None:
            failed = sum(not outcome.is_answered for outcome in ended)
            screen.progress(label, len(ended), total, f"{failed:,} failed" if failed else "")

        outcomes = asyncio.run(send_load(url, self.key, load, on_tick=on_tick, stop=stop))
        stop.check("the load test was stopped", fix=FIX_STOP)
        return result_of(load, outcomes, self.level)

    def _prompts(self) -> tuple[list[list[dict[str, Any]]], str]:
        if self.rows is not None:
            return asked_in(self.rows), str(self.rows)
        chance, words = random.Random(self.seed), WORDS.split()
        made = [" ".join(chance.choices(words, k=PROMPT_WORDS)) for _ in range(MADE_UP)]
        return [
            [{"role": "user", "content": text}] for text in made
        ], f"made up, {PROMPT_WORDS} common words each"


def result_of(load: "Load", outcomes: "Sequence[Outcome]", level: dict[str, float]) -> "RateResult":
    """The figures of one rate."""
    from luthier.reports.load import RateResult, count_failures, missed_of, waits_of

    answered = [outcome for outcome in outcomes if outcome.is_answered]
    first = [each.first_token_s - each.due_s for each in answered if each.first_token_s is not None]
    gaps = [
        (each.last_token_s - each.first_token_s) / (each.new_tokens - 1)
        for each in answered
        if each.first_token_s is not None and each.last_token_s is not None and each.new_tokens > 1
    ]
    lasted_s = max((each.ended_s for each in outcomes), default=load.seconds)
    new_tokens = sum(each.new_tokens or each.pieces for each in answered)
    result = RateResult(
        rate=load.rate_per_s,
        requests=len(outcomes),
        answered=len(answered),
        failures=count_failures([each.failure for each in outcomes if each.failure]),
        first_token=waits_of(first),
        request=waits_of([each.ended_s - each.due_s for each in answered]),
        token_gap=waits_of(gaps),
        late=waits_of([each.sent_s - each.due_s for each in outcomes if each.sent_s]),
        answers_per_second=len(answered) / lasted_s,
        new_tokens_per_second=new_tokens / lasted_s,
        prompt_tokens=sum(each.prompt_tokens for each in answered),
        new_tokens=new_tokens,
        missed=(),
    )
    return result.model_copy(update={"missed": missed_of(result, level)})


def asked_in(path: Path) -> list[list[dict[str, Any]]]:
    """What rows ask: of a conversation all before its last answer. Raises DataError for rows that ask nothing."""
    from luthier.config.data import DataConfig
    from luthier.floor.errors import DataError
    from luthier.text.rows import read_held_out

    prompts = list[list[dict[str, Any]]]()
    for row in read_held_out(path, DataConfig(), "auto"):
        if row.kind == "prompt_completion":
            prompts.append([{"role": "user", "content": row.prompt}])
            continue
        answers = [number for number, message in enumerate(row.messages) if message.role == "assistant"]
        before = row.messages[: answers[-1]] if answers else row.messages
        if not before:
            fix = "Name rows of prompt and completion, or conversations: --rows FILE"
            raise DataError("data-field", "the row asks nothing", where=row.origin, fix=fix)
        prompts.append([{"role": message.role, "content": message.content} for message in before])
    return prompts


@contextmanager
def reached(words: Sequence[str], screen: "Screen") -> Iterator[str]:
    """The address, ending in /v1, of the server that was named, or of one of our own that is started for the while."""
    if words and words[0].startswith(("http://", "https://")):
        if len(words) > 1:
            what = f"{words[1]}: a server that runs already takes no settings"
            raise UsageError("usage", what, where="the command line")
        from luthier.serve.events import api_root

        yield api_root(words[0])
        return
    from luthier.cli.serve import serve_target
    from luthier.serve.extra import require_server

    require_server()
    target, overrides = serve_target(words, screen)
    command = [sys.executable, "-m", "luthier", "serve", target, *overrides, "serve.port=0", "--json"]
    # In a session of its own: Ctrl-C is for the measurement, which then ends the server.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            yield _ready_url(server, target)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                server.kill()


def _ready_url(server: "subprocess.Popen[str]", target: str) -> str:
    """What the server says once it answers; it has told on standard error why, if it does not."""
    assert server.stdout is not None
    said = ""
    for line in server.stdout:
        said += line
        if said.rstrip().endswith("}") or len(said) > LONGEST_READY:
            break
    try:
        return str(json.loads(said)["url"])
    except (ValueError, LookupError, TypeError):
        raise EnvironmentFault(
            "env-endpoint",
            f"the server of {target} ended before it answered",
            where="the command line",
            fix=f"Start it alone and see: luthier serve {target}",
        ) from None


def rates_of(given: Sequence[float] | None) -> Sequence[float]:
    """The rates that were named, or 1. Raises UsageError for one that cannot be sent."""
    rates = given or (1.0,)
    wrong = next((rate for rate in rates if not 0 < rate <= MOST_RATE), None)
    if wrong is not None:
        fix = f"Above 0, at most {MOST_RATE}: --rate 2"
        raise UsageError("usage", f"{wrong:g} requests a second", where="--rate", fix=fix)
    return rates


def level_of(words: Sequence[str] | None) -> dict[str, float]:
    """The level that was asked for. Raises UsageError for a figure or an amount that is none."""
    from luthier.reports.load import parse_level

    try:
        return parse_level(words or ())
    except ValueError as fault:
        raise UsageError("usage", str(fault), where="--at-most") from fault


def show_load(report: "LoadReport", out: Path | None, *, as_json: bool) -> None:
    """Print the result, and write it where that was asked for. Raises GateError as `check_level` does."""
    from luthier.floor.files import write_json

    found = report.model_dump(mode="json")
    if out is not None:
        write_json(out, found)
        tell(f"written to {out}")
    show_json(found) if as_json else show(load_text(report))
    check_level(report)


def load_text(report: "LoadReport") -> str:
    """One screen: the server, a line a rate, what failed, and the verdict."""
    from luthier.reports.load import show_amount

    head = (
        "rate",
        "requests",
        "failed",
        "first token p50",
        "p95",
        "p99",
        "request p50",
        "p95",
        "p99",
        "tokens/s",
    )
    rows: list[tuple[str, ...]] = [head]
    for result in report.rates:
        waits = [
            show_amount("request", getattr(kind, share))
            for kind in (result.first_token, result.request)
            for share in ("p50", "p95", "p99")
        ]
        failed = f"{result.requests - result.answered:,}"
        rows.append((f"{result.rate:g}/s", f"{result.requests:,}", failed, *waits, f"{result.new_tokens_per_second:,.0f}"))  # fmt: skip
    lines = [
        f"server   {report.url}, {report.model}",
        f"load     Poisson arrivals, {report.seconds:g} s a rate; prompts: {report.prompts}; answers of at most {report.max_tokens} tokens",
        "",
        *table(rows, right=range(1, len(head))).splitlines(),
        "",
    ]
    for result in report.rates:
        lines += _remarks(result, report.seconds)
    return "\n".join([*lines, *_verdict(report)])


def _remarks(result: "RateResult", seconds: float) -> list[str]:
    from luthier.reports.load import ENOUGH_BEYOND, SHARES

    lines = [
        f"failed   at {result.rate:g}/s: {count:,} times {why}" for why, count in result.failures.items()
    ]
    if result.answered and (unsure := result.unsure()):
        needed = seconds * ENOUGH_BEYOND / (1 - SHARES[unsure[-1]]) / result.answered
        lines.append(
            f"unsure   at {result.rate:g}/s: {', '.join(unsure)} of {result.answered:,} answers; --seconds {needed:.0f} would do"
        )
    if result.late.p99 > 0.05:
        lines.append(
            f"late     at {result.rate:g}/s requests left up to {result.late.p99:.2f} s late: this machine was too busy to send them"
            " in time, which counts as waiting"
        )
    return lines


def _verdict(report: "LoadReport") -> list[str]:
    from luthier.reports.load import show_amount

    if not report.level:
        return [
            "verdict  none was asked for; a level, such as --at-most first_token_p95=500ms --at-most request_p99=5s"
        ]
    asked = ", ".join(f"{name} {show_amount(name, most)}" for name, most in report.level.items())
    verdicts = ["missed: " + "; ".join(result.missed) if result.missed else "kept" for result in report.rates]
    lines = [
        f"verdict  {result.rate:g}/s {verdict}"
        for result, verdict in zip(report.rates, verdicts, strict=True)
    ]
    return [f"level    {asked}", *lines]


def check_level(report: "LoadReport") -> None:
    """Raise GateError (gate-level) if a level was asked for and no rate keeps it."""
    if report.level and report.highest_kept is None:
        result = report.rates[0]
        raise GateError(
            "gate-level",
            f"at {result.rate:g} requests a second the level is missed: {'; '.join(result.missed)}",
            where=report.url,
            fix="Try a lower rate, shorter answers (--max-tokens), or more replicas: luthier serve --render compose",
        )
