"""A finished, evaluated run with everything that its card is written from, made in a second with a tiny base."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.config.used import write_recipe
from luthier.floor.rundir import RunDir
from luthier.publish.stage import Prepared, prepare_publication
from luthier.reports.evaluate import CompareReport, Estimate, EvaluateReport, MetricComparison
from luthier.reports.merge import MergeReport
from luthier.reports.provenance import gather_provenance
from tests.export.finished_run import make_finished_run, write_data_report
from tests.publish.hub import TOKEN, Site

REPO = "me/colours"
# Over a base that the hub knows, from data under a permissive licence: nothing stands against it.
PUBLISH: dict[str, Any] = {
    "repo": REPO,
    "licence": "apache-2.0",
    "base_model": "Qwen/Qwen2.5-0.5B",
    "data_licences": ["cc-by-4.0"],
}


def make_run(folder: Path, base: Path) -> tuple[Recipe, RunDir]:
    """A run with an adapter, and the reports of data, evaluation and comparison."""
    recipe, run = make_finished_run(folder / "2026-11-25_10-00-00", base, LoraMethod(rank=4, alpha=8))
    write_data_report(run, folder / "store", rows=[[5, 6, 7, 8], [9, 10, 11]])
    for subject, value in (("tuned", 0.75), ("base", 0.25)):
        write_evaluation(run, subject, value)
    facts = MetricComparison(base=0.25, tuned=0.75, delta=0.5, low=0.4, high=0.6, p_value=0.001)
    CompareReport(
        inputs_hash="0",
        seconds=1.0,
        provenance=gather_provenance(),
        base_name="base",
        tuned_name="tuned",
        rows=4,
        metrics={"exact_match": facts, "loss": facts.model_copy(update={"p_value": float("nan")})},
        gate_metric="exact_match",
        passed=True,
        rows_won=(0, 1),
        rows_lost=(3,),
    ).write(run.report("compare"))
    write_recipe(recipe, run.config_used)
    return recipe, run


def write_evaluation(run: RunDir, subject: str, value: float) -> None:
    folder = run.stage("evaluate") / subject
    EvaluateReport(
        inputs_hash="0",
        seconds=1.0,
        provenance=gather_provenance(),
        subject=subject,
        model=str(run.model),
        rows=4,
        prompts_cut=0,
        answers_unfinished=0,
        metrics={"exact_match": Estimate(value=value, low=value - 0.1, high=value + 0.1)},
        bleu_signature="",
        chrf_signature="",
        new_tokens_per_second=1.0,
        data_sha256="ab" * 32,
    ).write(folder / "report.json")
    (folder / "predictions.jsonl").write_text(
        '{"row": 0, "prompt": "Colour 1?", "expected": "green", "generated": "green ```"}\n', encoding="utf-8"
    )


def with_publish(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with these settings of `publish` over the ones against which nothing stands."""
    tree = recipe.model_dump(mode="json")
    return Recipe.model_validate(tree | {"publish": PUBLISH | settings})


def prepared(recipe: Recipe, run: RunDir, **settings: Any) -> Prepared:
    return prepare_publication(with_publish(recipe, **settings), run)


def at_site(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Let huggingface_hub in this process know this hub only, with a token that may write, and never wait."""
    constants = "huggingface_hub.constants"
    for name, value in {
        "ENDPOINT": site.address, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_DISABLE_TELEMETRY": True,
        "HUGGINGFACE_CO_URL_TEMPLATE": site.address + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():  # fmt: skip
        monkeypatch.setattr(f"{constants}.{name}", value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    no_wait: Callable[..., None] = lambda line, seconds: line.check_stop()  # noqa: E731
    monkeypatch.setattr("luthier.publish.patience._wait", no_wait)


def copied(run: tuple[Recipe, RunDir], folder: Path) -> tuple[Recipe, RunDir]:
    """The run again, for a test that changes it."""
    shutil.copytree(run[1].path, folder / run[1].name)
    return run[0], RunDir(folder / run[1].name)


def add_merge(run: RunDir, base: Path, **figures: Any) -> MergeReport:
    """A merged model, the base's own files for it, with the report of its proof."""
    folder = run.stage("merge") / "model"
    shutil.copytree(base, folder)
    proof = MergeReport(
        inputs_hash="0",
        seconds=1.0,
        provenance=gather_provenance(),
        folder=str(folder),
        base="seen",
        dtype="fp32",
        tied_embeddings=True,
        rows_checked=4,
        tokens_checked=48,
        computed_in="fp32",
        max_logit_difference=2.5e-6,
        mean_kl=1.25e-9,
        top1_agreement=0.9375,
        difference_before_rounding=None,
        kl_to_quantized=None,
        metric=None,
        metric_before=None,
        metric_after=None,
    ).model_copy(update=figures)
    return proof.write(run.report("merge"))
