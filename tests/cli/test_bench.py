"""`luthier bench`: what it finds out, what it leaves behind, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from luthier.cli.bench import ShapeName
from luthier.cli.bench_text import ADVICE, MEANING, sentence
from luthier.cli.bench_train import costs_of, timed_steps
from luthier.floor.errors import UnhealthyError
from luthier.knowledge.shapes import GIB, LEAST_BYTES, PACK_TOKENS, SHAPES, default_shape
from luthier.modelling.step_costs import COSTS, StepCosts
from luthier.reports.bench import BenchReport
from tests.cli.workshop import listing, luthier, make_workshop
from tests.docs.pages import page, spans


def test_the_names_of_the_shapes_are_those_of_the_table() -> None:
    assert [name.value for name in ShapeName] == list(SHAPES) == list(PACK_TOKENS)
    assert set(MEANING) == set(ADVICE["train"]) == set(COSTS)


def test_the_largest_shape_that_fits_is_taken() -> None:
    assert default_shape(None) == "tiny"
    assert default_shape(8 * GIB) == "tiny"
    for name, least in LEAST_BYTES.items():
        assert default_shape(least) == name
    assert default_shape(140 * GIB) == "llama-3.1-8b"


@pytest.mark.slow
def test_a_training_of_ones_own_is_measured_and_nothing_is_left(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    before = listing(folder)
    done = luthier(folder, "bench", "train", "train", "--steps", "3", "--warmup", "2", "--json")
    assert done.code == 0, done.err
    found = BenchReport.model_validate(done.json)
    assert (found.kind, found.model, found.method) == ("train", "./base", "lora")
    assert found.steps == 3
    assert found.tokens_per_second == pytest.approx(found.tokens / found.seconds)
    assert found.matmul_flops > 1e9
    assert found.spec_flops is None
    assert found.first_seconds
    assert found.peak_bytes > 0
    assert listing(folder) == before


@pytest.mark.slow
def test_generation_is_measured_and_written_where_it_was_asked_for(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    before = listing(folder)
    done = luthier(
        folder, "bench", "generate", "train", "--prompts", "3", "--new-tokens", "4", "--out", "b.json"
    )
    assert done.code == 0, done.err
    found = BenchReport.model_validate_json((folder / "b.json").read_bytes())
    assert (found.steps, found.tokens) == (3, 12)
    assert found.share_of_matmul is not None
    assert 0 < found.share_of_matmul < 2
    assert sum(found.breakdown.values()) > 0
    assert "3 answers, 12 tokens" in done.out
    assert found.largest in done.out
    assert listing(folder, apart_from=lambda name: name == "b.json") == before


@pytest.mark.slow
def test_random_weights_train_without_a_recipe(tmp_path: Path) -> None:
    done = luthier(
        tmp_path,
        *("bench", "train", "--shape", "tiny", "--steps", "1", "--warmup", "1", "--json"),
        *("train.tokens_per_step=1024", "train.pack_tokens=1024"),
    )
    assert done.code == 0, done.err
    assert done.json["model"] == "tiny (random weights)"
    assert listing(tmp_path) == {}


def test_a_recipe_and_a_shape_are_one_too_many(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    done = luthier(folder, "bench", "train", "train", "--shape", "tiny")
    assert done.code == 2
    assert "the recipe train names a model, and --shape tiny another" in done.err


def test_a_setting_that_is_none_is_refused_before_anything_is_made(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    done = luthier(folder, "bench", "train", "train", "train.lrr=1")
    assert done.code == 2
    assert "train.lrr" in done.err


def lines_of(count: int) -> list[dict[str, Any]]:
    """Steps of 10 tokens and one second; the three that are traced, the one before and the one after take ten."""
    lines, seconds = [], 0.0
    for step in range(1, count + 1):
        seconds += 10.0 if 10 <= step <= 14 else 1.0
        lines.append(
            {
                "step": step,
                "tokens": 10 * step,
                "seconds": seconds,
                "tokens_per_second": 1.0,
                "peak_bytes": step,
            }
        )
    return lines


def test_steps_that_the_profiler_slowed_are_not_timed() -> None:
    traced = {"first_step": 11, "last_step": 13, "on_device": True}
    found = timed_steps(lines_of(20), warmup=5, steps=10, traced=traced)
    assert (found["steps"], found["tokens"], found["seconds"], found["peak_bytes"]) == (10, 100, 10.0, 20)
    on_cpu = timed_steps(lines_of(20), warmup=5, steps=10, traced={**traced, "on_device": False})
    assert on_cpu["peak_bytes"] == 9


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(UnhealthyError):
        timed_steps(lines_of(4), warmup=5, steps=10, traced={})


def test_the_largest_cost_is_named_with_what_makes_it_smaller() -> None:
    seconds = dict.fromkeys(COSTS, 0.0) | {"host_launch": 0.38, "matmul": 0.3, "attention": 0.32}
    costs = StepCosts(1, 1.0, seconds, on_device=True)
    assert sentence(costs, "train").startswith(
        "38 % of a step is waiting for the host to launch kernels: raise train.pack_tokens"
    )
    assert costs_of({}, step_seconds=1.0).wall_seconds == 0


def test_every_key_of_the_result_is_documented() -> None:
    documented = {word for span in spans(page("docs/reference/cli.md")) for word in span.split()}
    assert sorted(set(BenchReport.model_fields) - documented) == []
