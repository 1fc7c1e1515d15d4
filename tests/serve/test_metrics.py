"""The figures of /metrics: Prometheus's own parser reads them, they are what happened, and nobody can make them grow."""

import asyncio
import math
import random

from prometheus_client.parser import text_string_to_metric_families

from luthier.config.serve import MetricsConfig
from luthier.serve.hooks import KeyHolder, ServerState
from luthier.serve.metrics import SECONDS, Metrics, sample_names
from tests.serve.asking import asked, ended

STATE = ServerState(
    models=("m",), is_ready=True, is_draining=False, waiting=3, most_waiting=64, running=2, most_running=4, engine="own", engine_restarts=1
)  # fmt: skip


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render(STATE)):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def one(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_what_happened_is_what_is_told() -> None:
    metrics = Metrics(MetricsConfig())

    async def serve() -> None:
        await metrics.after(
            asked(), ended(completion_tokens=5, first_token_s=0.1, total_s=0.5, queued_s=0.01)
        )
        await metrics.after(asked(), ended(finish_reasons=("content_filter",), completion_tokens=2))
        await metrics.after(
            asked(), ended(outcome="cached", completion_tokens=0, first_token_s=None, queued_s=None)
        )
        await metrics.after(asked(), ended(outcome="cancelled", status=499, completion_tokens=3))
        await metrics.after(
            asked(), ended(outcome="refused", status=429, code="api-limit", first_token_s=None, queued_s=None)
        )
        await metrics.refused("r", None, "/v1/x", 401, "api-key")

    asyncio.run(serve())
    assert one(metrics, "luthier_requests_total", kind="chat", outcome="answered", status="200") == 2
    assert one(metrics, "luthier_requests_total", kind="chat", outcome="cached", status="200") == 1
    assert one(metrics, "luthier_requests_total", kind="chat", outcome="cancelled", status="499") == 1
    assert one(metrics, "luthier_requests_total", kind="other", outcome="refused", status="401") == 1
    assert (
        one(metrics, "luthier_errors_total", code="api-limit")
        == one(metrics, "luthier_errors_total", code="api-key")
        == 1
    )
    assert one(metrics, "luthier_prompt_tokens_total") == 30
    assert one(metrics, "luthier_completion_tokens_total") == 10
    assert one(metrics, "luthier_withheld_total") == 1
    assert one(metrics, "luthier_request_seconds_count", kind="chat") == 3
    assert one(metrics, "luthier_first_token_seconds_count") == 2
    assert one(metrics, "luthier_answer_tokens_per_second_bucket", le="10.0") == 2
    assert [
        one(metrics, f"luthier_{name}")
        for name in ("queue_length", "queue_limit", "running", "running_limit")
    ] == [3, 64, 2, 4]
    assert [one(metrics, f"luthier_{name}") for name in ("ready", "draining", "engine_restarts")] == [1, 0, 1]
    assert one(metrics, "process_resident_memory_bytes") > 2**20


def test_quantiles_read_from_the_buckets_are_those_of_the_times() -> None:
    """As histogram_quantile of Prometheus has it: linear inside a bucket."""
    metrics = Metrics(MetricsConfig())
    chance = random.Random(5)
    times = sorted(chance.lognormvariate(0, 1) for _ in range(5000))

    async def serve() -> None:
        for total_s in times:
            await metrics.after(asked(), ended(total_s=total_s))

    asyncio.run(serve())
    for share in (0.5, 0.95, 0.99):
        rank, low, below = share * len(times), 0.0, 0.0
        for bound in SECONDS:
            count = one(metrics, "luthier_request_seconds_bucket", kind="chat", le=str(float(bound)))
            if count >= rank:
                told = low + (bound - low) * (rank - below) / (count - below)
                break
            low, below = bound, count
        true = times[int(rank)]
        assert abs(told - true) / true < 0.15, (share, told, true)


def test_no_client_and_no_operator_can_make_the_page_grow() -> None:
    metrics = Metrics(MetricsConfig())

    async def serve(names: list[str]) -> None:
        for name in names:
            await metrics.after(
                asked(model=name, key=KeyHolder(name)), ended(code=name, status=400, outcome="refused")
            )
            await metrics.refused(name, KeyHolder(name), name, 404, name)

    asyncio.run(serve(["a"]))
    before = len(samples(metrics))
    asyncio.run(serve([f"model-{number}" for number in range(500)]))
    assert len(samples(metrics)) == before
    assert one(metrics, "luthier_errors_total", code="other") == 1002


def test_a_token_costs_what_the_machine_costs() -> None:
    metrics = Metrics(MetricsConfig(price_per_hour=3.6))
    assert math.isnan(one(metrics, "luthier_cost_per_token"))
    metrics._started_s -= 1000  # at 3.6 an hour a thousand seconds cost 1
    asyncio.run(metrics.after(asked(), ended(completion_tokens=400)))
    assert abs(one(metrics, "luthier_cost_per_token") - 1 / 400) < 1e-5
    assert one(metrics, "luthier_price_per_hour") == 3.6


def test_the_names_told_to_those_who_write_queries_are_those_of_the_page() -> None:
    metrics = Metrics(MetricsConfig())
    asyncio.run(metrics.after(asked(), ended()))
    asyncio.run(metrics.refused("r", None, "/", 404, "api-path"))
    told = {name for name, _ in samples(metrics) if not name.endswith("_created")}
    assert told <= sample_names()
    assert {name for name in sample_names() if name.startswith("luthier_")} <= told
