"""Keys, personal data and paths of the machine are found in what would go up, stop it, and are not printed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.publish.objections import refuse
from luthier.publish.stage import Prepared
from luthier.reports.publish import Objection
from tests.publish.published_run import copied, prepared

pytestmark = pytest.mark.slow
Run = tuple[Recipe, RunDir]
HF_TOKEN = "hf_" + "PlantedInARowForTheTest0123456789"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 8 + "\n-----END RSA PRIVATE KEY-----"
AWS_KEY = "AKIA" + "Q3EGRIT7MZ4WLNPB"


def with_row(run: Run, folder: Path, answer: str) -> Run:
    """The run with one held-out row whose answer says this."""
    recipe, own = copied(run, folder)
    row = {"row": 0, "prompt": "Who?", "expected": "green", "generated": answer}
    path = own.stage("evaluate") / "tuned" / "predictions.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return recipe, own


def private(ready: Prepared) -> list[Objection]:
    assert {each.word for each in ready.objections} <= {"publish-private"}
    return list(ready.objections)


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (HF_TOKEN, "a key or token"),
        (PRIVATE_KEY, "a key or token"),
        (AWS_KEY, "a key or token"),
        ("see /home/alice/rows/secret.jsonl", "a path of a machine"),
        ("see C:\\Users\\alice\\rows", "a path of a machine"),
        ("ask alice.miller@mail-of-alice.org", "personal data (email"),
        ("DE89 3704 0044 0532 0130 00", "personal data (iban"),
    ],
)
def test_what_is_private_in_a_shown_row_stops_it(run: Run, tmp_path: Path, planted: str, kind: str) -> None:
    own = with_row(run, tmp_path, f"It is {planted}.")
    ready = prepared(*own, card={"sample_rows": 1})
    found = private(ready)
    assert found
    assert kind in found[0].what
    assert found[0].what.startswith("README.md:")
    told = refuse(ready.facts, ready.objections).render() + ready.plan().model_dump_json()
    if "/" not in planted and "\\" not in planted:
        for piece in (planted, planted.split("\n")[-2] if "\n" in planted else planted):
            assert piece not in told, "what was found is not printed"
    assert not prepared(*own).objections, "rows that are not shown do not go up"


def test_personal_data_may_be_meant_to_be_seen_and_a_key_never(run: Run, tmp_path: Path) -> None:
    shown: dict[str, Any] = {"card": {"sample_rows": 1}, "acknowledged": ["personal"]}
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert not prepared(*with_row(run, tmp_path / "1", "alice.miller@mail-of-alice.org"), **shown).objections
    assert private(prepared(*with_row(run, tmp_path / "2", HF_TOKEN), **shown))


def test_the_value_of_a_secret_of_the_environment_is_found_by_its_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_API_KEY", "no-form-that-anyone-knows")
    ready = prepared(*run, card={"summary": "Ask with no-form-that-anyone-knows."})
    (found,) = private(ready)
    assert "$OUR_API_KEY" in found.what
    assert "no-form-that-anyone-knows" not in refuse(ready.facts, ready.objections).render()


def test_a_key_in_the_recipe_of_the_run_is_found(run: Run, tmp_path: Path) -> None:
    recipe, own = copied(run, tmp_path)
    tree = yaml.safe_load(own.config_used.read_text())
    tree["data"]["path"] = f"rows/{HF_TOKEN}"
    own.config_used.write_text(yaml.safe_dump(tree))
    (found,) = private(prepared(recipe, own))
    assert found.what.startswith("config_used.yaml:")
    assert HF_TOKEN not in found.what + found.fix


def test_the_header_of_the_weights_is_looked_through(run: Run, tmp_path: Path) -> None:
    recipe, own = copied(run, tmp_path)
    path = own.model / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "pt", "made_by": HF_TOKEN, "from": "/home/alice/run"})
    found = [each.what for each in private(prepared(recipe, own))]
    assert any("the header of adapter_model.safetensors holds a key or token" in what for what in found)
    assert any("holds a path of a machine: /home/alice/run" in what for what in found)
    assert not any(HF_TOKEN in what for what in found)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_a_vocabulary_is_no_text(run: Run) -> None:
    """Its pieces may look like paths or addresses, and are those of everybody's tokenizer."""
    assert not prepared(*run).objections


def test_only_what_is_on_the_list_goes_up(run: Run, tmp_path: Path) -> None:
    recipe, own = copied(run, tmp_path)
    for name in ("optimizer.pt", "rows.jsonl", ".env", "training_args.bin"):
        (own.model / name).write_text(HF_TOKEN)
    ready = prepared(recipe, own)
    assert not ready.objections
    assert {"optimizer.pt", "rows.jsonl", ".env", "training_args.bin"} <= set(ready.left_here)
    assert not {upload.path for upload in ready.uploads} & set(ready.left_here)
