"""The bench of training speed: how results are kept, judged and shown, and what it does when time is up."""

import json
from pathlib import Path
from typing import Any

import pytest
from speed.flops import base_weights, flops_per_token, lora_weights
from speed.luthier_program import read_metrics, recipe_of
from speed.outcome import Refusal
from speed.page import BEGIN, END, NOTHING, block, write_page
from speed.processes import read_outcome, without_paths
from speed.results import keep, read_results, shown, summary
from speed.session import Budget, Options, Session
from speed.workloads import GIB, WORKLOADS, Contender

from luthier.config.recipe import Recipe
from luthier.knowledge.shapes import SHAPES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "train_speed.json"
PAGE = ROOT / "docs" / "explanation" / "speed.md"


def measured(rate: float, **more: Any) -> dict[str, Any]:
    return {"status": "measured", "tokens_per_second": rate, "peak_bytes": 30 * GIB, **more}


def entry(row: str, date: str, **rates: float | str) -> dict[str, Any]:
    """An entry of contenders with a rate each, or with the word of a refusal."""
    contenders = {}
    for name, rate in rates.items():
        run = measured(rate) if isinstance(rate, float) else {"status": rate, "why": "because"}
        contenders[name] = {**summary([run], flops_per_token=1e6, limit=1e12), "settings": {}, "runs": [run]}
    return {
        "id": f"{row} {date}",
        "row": row,
        "date": date,
        "repeat": 1,
        "hardware": {"device": "a card"},
        "versions": {"torch": "2.11.0", "transformers": "5.17.0"},
        "matmul_width": 8192,
        "matmul_flops": 790e12,
        "contenders": contenders,
    }


def test_the_page_says_what_the_results_say() -> None:
    text = PAGE.read_text("utf-8")
    assert BEGIN in text
    assert block(read_results(RESULTS)) in text, "run: python bench/train_speed.py --table"


def test_a_page_without_results_says_that_nothing_was_measured() -> None:
    assert block([]) == f"{BEGIN}\n\n{NOTHING}\n\n{END}"


def test_the_arithmetic_is_that_of_the_published_figures() -> None:
    small, large = SHAPES["qwen2.5-0.5b"], SHAPES["llama-3.1-8b"]
    assert round(base_weights(small) / 1e9, 3) == 0.494
    assert round(lora_weights(small, 64) / 1e6) == 35
    assert round(base_weights(large) / 1e9, 2) == 7.50
    assert round(lora_weights(large, 64) / 1e6) == 168
    limit = 790e12 / flops_per_token(large, kind="train", method="lora", rank=64)
    assert round(limit / 1e3, 1) == 25.5
    assert flops_per_token(small, kind="generate", method="lora", rank=64) == 2 * base_weights(small)


def test_results_of_two_calls_stand_beside_each_other(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    first, second = entry("tiny", "2026-01-01", luthier=10.0), entry("tiny", "2026-01-02", luthier=11.0)
    keep(file, [second])
    keep(file, [first])
    assert [each["date"] for each in read_results(file)] == ["2026-01-01", "2026-01-02"]
    keep(file, [second | {"repeat": 3}])
    assert [each["repeat"] for each in read_results(file)] == [1, 3], "one of the same id is replaced"


def test_a_file_of_another_kind_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text('{"format": "something"}')
    with pytest.raises(ValueError, match=r"results\.json is no luthier-train-speed"):
        keep(file, [entry("tiny", "2026-01-01", luthier=1.0)])
    assert file.read_text() == '{"format": "something"}'


def test_a_summary_has_the_median_and_the_noise() -> None:
    found = summary([measured(3.0), measured(1.0), measured(2.5)], flops_per_token=2.0, limit=10.0)
    assert found["tokens_per_second"] == {"median": 2.5, "least": 1.0, "most": 3.0}
    assert found["share_of_limit"] == 0.5


def test_a_refusal_beside_figures_is_not_hidden() -> None:
    refused = {"status": "out_of_memory", "why": "the card is full"}
    found = summary([measured(3.0), refused], flops_per_token=1.0, limit=1.0)
    assert (found["status"], found["why"], found["repeats_refused"]) == (
        "measured",
        "the card is full",
        1,
    )
    assert summary([refused], flops_per_token=1.0, limit=1.0)["status"] == "out_of_memory"


def test_a_row_is_shown_by_its_newest_call_with_a_rival() -> None:
    both = entry("tiny", "2026-01-01", luthier=2.0, trl=1.0)
    alone = entry("tiny", "2026-01-02", luthier=3.0, trl="missing")
    assert shown([both, alone]) == {"tiny": both}
    assert shown([alone]) == {"tiny": alone}
    assert shown([entry("tiny", "2026-01-03", luthier="failed")]) == {}


def test_a_table_orders_contenders_and_judges_the_row() -> None:
    row = entry("llama8b-lora", "2026-01-01", trl_liger=4440.0, luthier=18000.0, unsloth_packed="missing")
    text = block([row])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines[2:]] == ["luthier", "trl_liger", "unsloth_packed"]
    assert "| unsloth_packed | not installed |" in text
    assert "Luthier is 4.05 times as fast as trl_liger. To reach: 17k in 49 GiB (reached)." in text
    assert "Not measured yet: qwen0.5b-lora-32k" in text


def test_too_much_memory_is_not_reached() -> None:
    row = entry("llama8b-lora", "2026-01-01", trl_liger=4440.0, luthier=18000.0)
    row["contenders"]["luthier"]["peak_bytes"] = 50 * GIB
    assert "(not reached)" in block([row])


def test_a_page_without_the_block_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n")
    with pytest.raises(ValueError, match=r"page\.md has no block"):
        write_page(page, [])


def test_nothing_starts_that_would_not_be_done_in_time() -> None:
    now = [0.0]
    budget = Budget(100, clock=lambda: now[0])
    assert budget.fits("luthier"), "nothing is known yet"
    budget.note("luthier", 60)
    now[0] = 60
    assert not budget.fits("luthier")
    assert not budget.fits("trl"), "one that has not run is expected to take as long as the longest"
    budget.note("trl", 30)
    assert budget.fits("trl")
    assert Budget(None).fits("luthier")


def test_what_is_left_out_for_want_of_time_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload, out = WORKLOADS["tiny"], tmp_path / "results.json"
    options = Options(scratch=tmp_path, out=out, command="python bench/train_speed.py", repeat=2)
    probed = {"matmul_flops": 1e9}
    contenders = [workload.contender("luthier"), Contender("later", "trl", missing="it is not written yet")]
    session = Session(workload, contenders, options, Budget(0.0), probed)
    session.flops, session.task = 1.0, {}
    session.runs["later"].append({"status": "missing", "why": "it is not written yet"})
    session.record(contenders[1])
    assert session.compete(contenders[0], {}) is None
    session.record_left_out()
    [kept] = read_results(out)
    assert kept["contenders"]["luthier"] == {"status": "left_out", "runs": [], "repeats_left_out": 2}
    assert kept["contenders"]["later"]["status"] == "missing"
    said = json.loads(capsys.readouterr().out)
    assert (said["contender"], said["status"], said["repeats"]) == ("luthier", "left_out", 2)


@pytest.mark.parametrize(
    ("said", "complaint", "status"),
    [
        ('talk\nRESULT {"status": "measured"}\n', "warnings", "measured"),
        (
            "",
            "Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            "out_of_memory",
        ),
        ("", "Traceback\nKeyError: 'x'", "failed"),
        ("", "", "failed"),
    ],
)
def test_last_words_tell_how_a_process_ended(said: str, complaint: str, status: str) -> None:
    assert read_outcome(said, complaint, 1)["status"] == status


def test_results_name_no_folder_of_a_machine() -> None:
    assert without_paths('File "/home/me/lib/trainer.py", line 6: and/or https://a.b/c/d') == (
        'File "trainer.py", line 6: and/or https://a.b/c/d'
    )
    text = RESULTS.read_text("utf-8") if RESULTS.is_file() else ""
    assert without_paths(text) == text


def test_metrics_are_read_behind_the_warm_up() -> None:
    lines = [
        {"step": step, "tokens_per_second": 1.0, "tokens": 100 * step, "seconds": 10.0 + step, "peak_bytes": step, "loss": 2.0}
        for step in range(1, 6)
    ]  # fmt: skip
    found = read_metrics([*lines, {"step": 5, "validation_loss": 1.0}], warmup=2)
    assert (found["tokens_per_second"], found["steps"], found["peak_bytes"]) == (100.0, 3, 5)
    with pytest.raises(Refusal, match="the steps 1 to 5, and 5 are warm-up"):
        read_metrics(lines, warmup=5)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_every_row_is_a_recipe_that_luthier_takes(name: str, tmp_path: Path) -> None:
    workload = WORKLOADS[name]
    contender = workload.contender("luthier")
    task = {
        "workload": workload.facts(),
        "settings": contender.settings,
        "rows_facts": {"rows": 100, "tokens": 20_000, "longest_tokens": workload.longest},
        "base": str(tmp_path),
        "rows": str(tmp_path / "rows.jsonl"),
        "folder": str(tmp_path),
        "dropout": 0.05,
    }
    recipe = Recipe.model_validate(recipe_of(task))
    assert recipe.train.most_steps == workload.warmup + workload.steps
    assert recipe.train.log.logging_steps == 1
