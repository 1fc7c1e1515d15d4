"""The figures of /metrics, in Prometheus's text format, and the hook that counts them.

Every label has few values, all of them ours: kinds of request, outcomes, HTTP statuses and fault words. Names of models, keys and
clients are not among them, since whoever chooses names could fill the memory of this server and of the one that reads.
"""

import importlib
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from luthier.config.serve import MetricsConfig
from luthier.floor.errors import FAULTS, EnvironmentFault
from luthier.serve.hooks import Asked, Bystander, Ended, KeyHolder, ServerState

# Steps of a half at most where answers of small and large models lie, so that a quantile read from them is within a third.
SECONDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 600,
)  # fmt: skip
RATES = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)
NOT_READ = "other"
# What is told of the moment.
GAUGES = {
    "queue_length": "Requests that wait for the engine.",
    "queue_limit": "Requests that may wait; the next one is refused.",
    "running": "Requests that the engine works on.",
    "running_limit": "Requests that the engine works on at most.",
    "ready": "1 while requests are answered.",
    "draining": "1 once the server is being stopped.",
    "engine_restarts": "How often the engine had to be started anew.",
    "price_per_hour": "What an hour of the machine costs, as the recipe says.",
    "cost_per_token": "That price, spread over the tokens made since the start; NaN while there are none.",
}


class Metrics(Bystander):
    """Counts requests, and renders the page."""

    def __init__(self, config: MetricsConfig) -> None:
        client = _load_client()
        self._client = client
        self.content_type = str(client.CONTENT_TYPE_LATEST)
        self._started_s = time.monotonic()
        self._price_per_hour = config.price_per_hour
        self._registry = registry = client.CollectorRegistry()
        client.ProcessCollector(registry=registry)

        def counter(name: str, help: str, *labels: str) -> Any:
            return client.Counter(f"luthier_{name}", help, labels, registry=registry)

        def histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Any:
            return client.Histogram(f"luthier_{name}", help, labels, registry=registry, buckets=buckets)

        self._requests = counter(
            "requests",
            "Requests by kind, outcome and HTTP status (499: the client left).",
            "kind",
            "outcome",
            "status",
        )
        self._errors = counter("errors", "Requests that were refused or failed, by fault word.", "code")
        self._withheld = counter("withheld", "Answers that a filter ended.")
        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts that the model has read.")
        self._completion_tokens = counter("completion_tokens", "Tokens that the model has made.")
        self._request_s = histogram(
            "request_seconds", "From the request's last byte to the answer's last.", SECONDS, "kind"
        )
        self._first_token_s = histogram(
            "first_token_seconds", "From the request's last byte to the answer's first token.", SECONDS
        )
        self._queued_s = histogram("queue_seconds", "Time that requests waited for the engine.", SECONDS)
        self._rate = histogram(
            "answer_tokens_per_second", "Tokens a second of one answer, after its first.", RATES
        )
        self._gauges = {
            name: client.Gauge(f"luthier_{name}", help, registry=registry) for name, help in GAUGES.items()
        }
        labels = ("version", "engine")
        self._info = client.Gauge(
            "luthier_info", "1, with the version and the engine.", labels, registry=registry
        )

    async def after(self, asked: Asked, ended: Ended) -> None:
        """Count a request that was understood."""
        self._count(asked.kind, ended.outcome, ended.status, ended.code)
        if "content_filter" in ended.finish_reasons:
            self._withheld.inc()
        if ended.queued_s is not None:
            self._queued_s.observe(ended.queued_s)
        if ended.first_token_s is not None:
            self._prompt_tokens.inc(ended.prompt_tokens)
            self._completion_tokens.inc(ended.completion_tokens)
        if ended.outcome not in ("answered", "cached"):
            return
        self._request_s.labels(asked.kind).observe(ended.total_s)
        if ended.first_token_s is not None:
            self._first_token_s.observe(ended.first_token_s)
            rest_s = ended.total_s - ended.first_token_s
            if ended.completion_tokens > 1 and rest_s > 0:
                self._rate.observe((ended.completion_tokens - 1) / rest_s)

    async def refused(self, id: str, key: KeyHolder | None, path: str, status: int, code: str) -> None:
        """Count one that was not."""
        self._count(NOT_READ, "refused" if status < 500 else "failed", status, code)

    def render(self, state: ServerState) -> str:
        """The page of now."""
        values = {
            "queue_length": state.waiting,
            "queue_limit": state.most_waiting,
            "running": state.running,
            "running_limit": state.most_running,
            "ready": state.is_ready,
            "draining": state.is_draining,
            "engine_restarts": state.engine_restarts,
            "price_per_hour": self._price_per_hour,
            "cost_per_token": self._cost_per_token(),
        }
        for name, gauge in self._gauges.items():
            gauge.set(values[name])
        self._info.labels(version("luthier"), state.engine).set(1)
        return str(self._client.generate_latest(self._registry).decode("utf-8"))

    def _cost_per_token(self) -> float:
        tokens = self._registry.get_sample_value("luthier_completion_tokens_total")
        hours = (time.monotonic() - self._started_s) / 3600
        return self._price_per_hour * hours / tokens if tokens else float("nan")

    def _count(self, kind: str, outcome: str, status: int, code: str | None) -> None:
        self._requests.labels(kind, outcome, str(status)).inc()
        if code is not None:
            self._errors.labels(code if code in FAULTS else NOT_READ).inc()


def sample_names() -> frozenset[str]:
    """Every name that /metrics can have, for those who write queries."""
    metrics = Metrics(MetricsConfig())
    endings: Mapping[str, tuple[str, ...]] = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_count", "_sum"),
    }
    return frozenset(
        family.name + ending
        for family in metrics._registry.collect()
        for ending in endings.get(family.type, ("",))
    )


def _load_client() -> Any:
    try:
        return importlib.import_module("prometheus_client")
    except ModuleNotFoundError as fault:
        what = "the figures of /metrics need prometheus_client, which is not installed"
        fix = "Type: pip install 'luthier[serve]'; or leave them out: serve.metrics.enabled=false"
        raise EnvironmentFault("env-extra", what, where="serve.metrics", fix=fix) from fault
