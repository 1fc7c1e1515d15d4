"""The Grafana board of a server: one row a figure that an operator asks about, each with its query."""

import json
from typing import Any

WIDTH, HEIGHT = 12, 8
QUANTILES = (0.5, 0.95, 0.99)


def _quantiles(name: str) -> list[tuple[str, str]]:
    query = "histogram_quantile({share}, sum by (le) (rate({name}_bucket[$__rate_interval])))"
    return [(query.format(share=share, name=name), f"p{share * 100:g}") for share in QUANTILES]


# Title, unit of Grafana, and queries with their legends.
PANELS: tuple[tuple[str, str, list[tuple[str, str]]], ...] = (
    ("Answers", "s", _quantiles("luthier_request_seconds")),
    ("First token", "s", _quantiles("luthier_first_token_seconds")),
    ("Time in the queue", "s", _quantiles("luthier_queue_seconds")),
    (
        "Requests",
        "reqps",
        [("sum by (outcome) (rate(luthier_requests_total[$__rate_interval]))", "{{outcome}}")],
    ),
    (
        "Refusals and faults",
        "reqps",
        [("sum by (code) (rate(luthier_errors_total[$__rate_interval]))", "{{code}}")],
    ),
    (
        "Tokens",
        "short",
        [
            ("sum(rate(luthier_completion_tokens_total[$__rate_interval]))", "made a second"),
            ("sum(rate(luthier_prompt_tokens_total[$__rate_interval]))", "read a second"),
        ],
    ),
    ("Speed of one answer, tokens a second", "short", _quantiles("luthier_answer_tokens_per_second")),
    (
        "Queue and work",
        "short",
        [
            ("sum(luthier_queue_length)", "waiting"),
            ("sum(luthier_running)", "running"),
            ("sum(luthier_running_limit)", "running at most"),
        ],
    ),
    (
        "Cost of a million tokens",
        "short",
        [
            (
                "1e6 * sum(luthier_price_per_hour) / 3600 / sum(rate(luthier_completion_tokens_total[15m]))",
                "in the price's currency",
            )
        ],
    ),
    ("Answers that a filter ended", "short", [("sum(increase(luthier_withheld_total[5m]))", "in 5 minutes")]),
    ("Memory", "bytes", [('process_resident_memory_bytes{job=~".*luthier.*"}', "{{instance}}")]),
    (
        "Ready",
        "short",
        [("luthier_ready", "{{instance}}"), ("luthier_engine_restarts", "restarts of {{instance}}")],
    ),
)


def board() -> str:
    """The board as the JSON that Grafana reads."""
    return json.dumps(
        {
            "title": "Luthier",
            "uid": "luthier",
            "schemaVersion": 41,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
        },
        indent=1,
    )


def _panel(number: int, title: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(queries)
        ],
    }
