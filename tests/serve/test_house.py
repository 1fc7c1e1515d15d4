"""The whole house over a real server: keys, limits, filter, cache, figures and audit tell of the very same requests that clients made."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from luthier.config.serve import ServeConfig
from luthier.serve.audit.verify import verify_audit
from luthier.serve.fit import fitted
from luthier.serve.keys import new_key, revoke_key
from tests.serve.conftest import BASE, Loop, Running, Start

pytestmark = pytest.mark.slow
GREEDY: dict[str, Any] = {"model": BASE, "max_tokens": 24, "temperature": 0}
PROMPT = "Once upon a time"


@dataclass
class House:
    """A server with everything, and what the client counted."""

    running: Running
    audit: Path
    keys: dict[str, str]
    keys_file: Path
    held_back: str
    """What the filter looks for: it stands in the answer to PROMPT, across the borders of tokens."""
    answer: str
    statuses: dict[int, int] = field(default_factory=dict)
    completion_tokens: int = 0
    ids: list[str] = field(default_factory=list)

    def post(self, key: str | None, body: dict[str, Any], path: str = "/v1/completions") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        got = httpx.post(f"{self.running.url}{path}", json=body, headers=headers, timeout=60)
        self.statuses[got.status_code] = self.statuses.get(got.status_code, 0) + 1
        self.ids.append(got.headers["x-request-id"])
        return got

    def records(self) -> list[dict[str, Any]]:
        """The log, once every request in it has ended: the client has its answer a moment before that."""
        until = time.monotonic() + 10
        while True:
            found = [json.loads(line) for line in self.audit.read_bytes().splitlines()]
            events = [record["event"] for record in found]
            if events.count("asked") == events.count("ended"):
                return found
            assert time.monotonic() < until, "a request never ended"
            time.sleep(0.02)

    def figures(self) -> dict[tuple[str, str], float]:
        page = httpx.get(
            f"{self.running.url}/metrics", headers={"Authorization": f"Bearer {self.keys['boss']}"}
        )
        assert page.status_code == 200
        return {
            (sample.name, sample.labels.get("status", sample.labels.get("code", ""))): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
            if "le" not in sample.labels
        }


@pytest.fixture(scope="module")
def house(
    start: Start, loop: Loop, server: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    plain = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    answer = plain.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
    held_back = answer[9:17]
    keys_file = folder / "keys.json"
    keys = {
        "shop": new_key(keys_file, "shop"),
        "few": new_key(keys_file, "few", limits={"requests_per_minute": 3, "tokens_per_minute": 1000}),
        "gone": new_key(keys_file, "gone"),
        "boss": new_key(keys_file, "boss", is_admin=True),
    }
    config = ServeConfig.model_validate(
        {
            "keys": str(keys_file),
            "audit": {"path": str(folder / "audit.jsonl")},
            "filter": {"patterns": [re.escape(held_back)], "personal": ["email"]},
            "cache": {"most_bytes": 100_000},
            "metrics": {"price_per_hour": 2.0},
        }
    )
    with fitted(config, target="embedded") as everything, start(everything.fittings) as running:
        yield House(running, folder / "audit.jsonl", keys, keys_file, held_back, answer)
        for hook in everything.fittings.hooks:
            loop.run(hook.close())


def test_nobody_is_let_in_without_a_live_key(house: House) -> None:
    body = {"prompt": "Hello", **GREEDY}
    bodies = [house.post(key, body) for key in (None, "sk-wrong", house.keys["shop"][:-1] + "?")]
    assert {got.status_code for got in bodies} == {401}
    assert len({got.text for got in bodies}) == 1
    assert house.post("gone", {**body, "max_tokens": 1}).status_code == 200
    house.completion_tokens += 1
    revoke_key(house.keys_file, "gone")
    assert house.post("gone", body).status_code == 401
    routes = (
        "/v1/models",
        "/v1/models/x",
        "/metrics",
        "/openapi.json",
        "/v1/chat/completions",
        "/nowhere",
        "/",
    )
    assert [httpx.get(house.running.url + route).status_code for route in routes] == [401] * len(routes)
    house.statuses[401] += len(routes)
    shop = {"Authorization": f"Bearer {house.keys['shop']}"}
    assert httpx.get(f"{house.running.url}/metrics", headers=shop).status_code == 403
    house.statuses[403] = 1


def test_a_key_that_has_used_up_its_minute_is_told_when_to_come_again(house: House) -> None:
    body = {"prompt": "One", "model": BASE, "max_tokens": 2, "temperature": 1}
    left = []
    for _ in range(3):
        got = house.post("few", body)
        assert got.status_code == 200
        house.completion_tokens += got.json()["usage"]["completion_tokens"]
        left.append(got.headers["x-ratelimit-remaining-requests"])
    assert left == ["2", "1", "0"]
    over = house.post("few", body)
    assert over.status_code == 429
    assert 1 <= int(over.headers["retry-after"]) <= 60
    assert over.json()["error"]["code"] == "api-limit"
    assert over.json()["error"]["type"] == "rate_limit_error"
    assert house.post("shop", {**body, "prompt": "Two"}).status_code == 200
    house.completion_tokens += 2


def test_a_filtered_stream_ends_before_what_is_looked_for(house: House) -> None:
    client = OpenAI(base_url=f"{house.running.url}/v1", api_key=house.keys["shop"], max_retries=0)
    before = house.answer[: house.answer.index(house.held_back)]
    chunks = list(
        client.completions.create(
            prompt=PROMPT, **GREEDY, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == before
    assert len([text for text in texts if text]) > 1, "what is cleared is sent as it comes"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "content_filter"
    house.statuses[200] += 1
    house.completion_tokens += chunks[-1].usage.completion_tokens
    whole = house.post("shop", {"prompt": PROMPT, **GREEDY})
    assert whole.json()["choices"][0]["text"] == before
    assert whole.json()["choices"][0]["finish_reason"] == "content_filter"
    house.completion_tokens += whole.json()["usage"]["completion_tokens"]


def test_a_request_with_personal_data_is_refused_and_does_not_reach_the_log(house: House) -> None:
    client = OpenAI(base_url=f"{house.running.url}/v1", api_key=house.keys["shop"], max_retries=0)
    with pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(
            messages=[{"role": "user", "content": "I am jo.doe@mail.org"}], **GREEDY
        )
    assert (refused.value.status_code, refused.value.code) == (400, "api-filter")  # type: ignore[attr-defined]
    house.statuses[400] = house.statuses.get(400, 0) + 1
    assert "jo.doe" not in house.audit.read_text()
    assert house.post("shop", {"prompt": 3, "model": BASE}).status_code == 400


def test_an_answer_is_given_again_and_costs_nothing(house: House) -> None:
    body = {"prompt": "The restaurant", **GREEDY, "max_tokens": 8}
    first, second = house.post("shop", body), house.post("shop", {**body, "user": "another"})
    assert first.json()["choices"] == second.json()["choices"]
    house.completion_tokens += 8
    assert [record["outcome"] for record in house.records() if record["event"] == "ended"][-1] == "cached"


def test_the_figures_are_what_the_client_counted(house: House) -> None:
    house.records()
    figures = house.figures()
    assert house.statuses[200] >= 8
    page = httpx.get(
        f"{house.running.url}/metrics", headers={"Authorization": f"Bearer {house.keys['boss']}"}
    ).text
    assert _by_status(page) == house.statuses
    assert figures["luthier_completion_tokens_total", ""] == house.completion_tokens
    assert figures["luthier_errors_total", "api-limit"] == 1
    assert figures["luthier_withheld_total", ""] == 2
    assert (figures["luthier_running", ""], figures["luthier_queue_length", ""]) == (0, 0)
    assert figures["luthier_cost_per_token", ""] > 0


def test_every_request_is_in_the_audit_log_with_its_outcome(house: House) -> None:
    report = verify_audit(house.audit)
    assert report.broken_line is None
    house.records()
    text = house.audit.read_text()
    assert [id for id in house.ids if id not in text] == []
    asked = [record["id"] for record in house.records() if record["event"] == "asked"]
    ended = {record["id"]: record for record in house.records() if record["event"] == "ended"}
    assert sorted(asked) == sorted(ended)
    statuses: dict[int, int] = {}
    for record in house.records():
        if record["event"] in ("ended", "refused"):
            statuses[record["status"]] = statuses.get(record["status"], 0) + 1
    assert statuses == house.statuses
    assert sum(record["completion_tokens"] for record in ended.values()) == house.completion_tokens
    assert not any(key in text for key in house.keys.values())
    assert PROMPT not in text


def _by_status(page: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "luthier_requests_total":
                status = int(sample.labels["status"])
                counts[status] = counts.get(status, 0) + int(sample.value)
    return counts
