"""The model card: metadata that the hub takes, figures that the reports hold, and nothing of this machine."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.publish.stage import Prepared
from luthier.reports.evaluate import CompareReport
from luthier.reports.train import TrainReport
from tests.publish.card_rules import faults_of_card, read_metadata
from tests.publish.published_run import PUBLISH, REPO, add_merge, copied, prepared

Run = tuple[Recipe, RunDir]


def card_of(ready: Prepared) -> str:
    return ready.card.read_text(encoding="utf-8")


def cell(card: str, name: str) -> list[str]:
    """The cells of a table's line that begins with this name."""
    (line,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", card, re.MULTILINE)
    return [each.strip("* ") for each in line.split("|")]


def test_the_metadata_is_what_the_hub_takes_and_its_own_library_reads(run: Run) -> None:
    card = card_of(prepared(*run, card={"language": ["en"], "tags": ["colours"]}))
    assert faults_of_card(card) == []
    data = ModelCard(card).data
    assert (data.license, data.library_name, data.base_model) == ("apache-2.0", "peft", PUBLISH["base_model"])
    assert data.base_model_relation == "adapter"
    assert data.pipeline_tag == "text-generation"
    assert data.language == ["en"]
    assert {"luthier", "lora", "colours"} <= set(data.tags)
    assert data.eval_results is not None
    assert {each.metric_name: each.metric_value for each in data.eval_results}["exact_match"] == 0.75


def test_a_licence_of_no_name_on_the_hub_is_given_as_other(run: Run) -> None:
    card = card_of(prepared(*run, licence="my-own-1.0"))
    assert faults_of_card(card) == []
    found = read_metadata(card)
    assert (found["license"], found["license_name"], found["license_link"]) == (
        "other",
        "my-own-1.0",
        "LICENSE",
    )


def test_base_stands_against_tuned_with_the_intervals_of_the_report(run: Run) -> None:
    card = card_of(prepared(*run))
    found = CompareReport.read(run[1].report("compare")).metrics["exact_match"]
    assert cell(card, "`exact_match`") == [
        f"{found.base:.3f}",
        f"{found.tuned:.3f}",
        f"{found.delta:+.3f}",
        f"{found.low:+.3f} to {found.high:+.3f}",
    ]
    assert "95% interval" in card
    assert "2 rows won, 1 lost" in card


def test_the_trainings_figures_are_those_of_its_report(run: Run) -> None:
    card = card_of(prepared(*run))
    train = TrainReport.read(run[1].report("train"))
    assert cell(card, "**first loss**") == [f"{train.first_loss:.4f}"]
    assert cell(card, "**final loss**") == [f"{train.final_loss:.4f}"]
    assert cell(card, "**validation loss**") == ["not measured"]
    assert cell(card, "**energy**") == ["not measured"]
    assert cell(card, "**adapter**") == ["rank 4, alpha 8, dropout 0.05"]


def test_a_model_that_was_not_evaluated_shows_no_figure(run: Run, tmp_path: Path) -> None:
    recipe, own = copied(run, tmp_path)
    own.report("compare").unlink()
    (own.stage("evaluate") / "tuned" / "report.json").unlink()
    ready = prepared(recipe, own, acknowledged=["no-comparison"])
    assert not ready.objections
    card = card_of(ready)
    assert "The model was not evaluated." in card
    assert "model-index" not in read_metadata(card)
    assert "exact_match" not in card


def test_the_merges_proof_stands_in_the_card(run: Run, tiny_base: Path, tmp_path: Path) -> None:
    recipe, own = copied(run, tmp_path)
    proof = add_merge(own, tiny_base)
    ready = prepared(recipe, own, what="merged")
    card = card_of(ready)
    assert not ready.objections
    assert faults_of_card(card) == []
    assert read_metadata(card)["base_model_relation"] == "finetune"
    assert cell(card, "**largest logit difference**") == [f"{proof.max_logit_difference:.2e}"]
    assert cell(card, "**mean KL divergence**") == [f"{proof.mean_kl:.2e} nats a token"]
    assert cell(card, "**same first choice**") == ["93.75% of tokens"]


@pytest.mark.parametrize("what", ["adapter", "merged"])
def test_no_text_that_goes_up_names_a_folder_of_this_machine(
    run: Run, tiny_base: Path, tmp_path: Path, what: str
) -> None:
    recipe, own = copied(run, tmp_path)
    add_merge(own, tiny_base)
    ready = prepared(recipe, own, what=what, card={"sample_rows": 1})
    texts = {
        upload.path: upload.read().decode()
        for upload in ready.uploads
        if not upload.path.endswith(".safetensors")
    }
    assert len(texts) >= 5
    for name, text in texts.items():
        for folder in (str(tmp_path), str(tiny_base.parent), str(run[1].path.parent), str(Path.home())):
            assert folder not in text, name


def test_shown_rows_are_those_of_the_evaluation_and_cannot_break_the_page(run: Run) -> None:
    card = card_of(prepared(*run, card={"sample_rows": 1}))
    assert "Colour 1?" in card
    assert "````text\ngreen ```\n````" in card
    assert "Colour 1?" not in card_of(prepared(*run))


def test_the_authors_own_words_come_first(run: Run) -> None:
    own: dict[str, Any] = {"title": "Colours", "summary": "It names colours.", "limits": "No greys."}
    card = card_of(prepared(*run, card=own))
    _, _, body = card.split("---\n", 2)
    assert body.lstrip().startswith("# Colours\n\nIt names colours.\n")
    assert card.index("No greys.") < card.index("What the run itself shows of its limits")
    assert f'name = "{REPO}"' in card
