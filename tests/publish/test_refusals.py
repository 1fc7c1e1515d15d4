"""What is refused before the hub is asked: unfinished runs, merges without proof, numbers that are not finite, links."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.rundir import RunDir
from luthier.publish.stage import publish
from tests.publish.hub import Site
from tests.publish.published_run import add_merge, copied, prepared

Run = tuple[Recipe, RunDir]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def own(run: Run, tmp_path: Path) -> Run:
    """A run of the test's own."""
    return copied(run, tmp_path)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_with_the_tensors_name(own: Run, number: float) -> None:
    path = own[1].model / WEIGHTS
    tensors = load_file(path)
    name = sorted(tensors)[1]
    tensors[name].flat[-1] = number
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(LuthierError, match=re.escape(name)) as caught:
        prepared(*own)
    assert caught.value.code == "mdl-nan"


def test_a_run_that_is_not_finished_is_refused(own: Run) -> None:
    own[1].report("train").unlink()
    with pytest.raises(LuthierError, match="not trained to its end") as caught:
        prepared(*own)
    assert caught.value.code == "run-unfinished"
    assert "luthier train --resume" in caught.value.fix


def test_a_model_that_was_not_merged_is_refused(own: Run) -> None:
    with pytest.raises(LuthierError, match="has no merged model") as caught:
        prepared(*own, what="merged")
    assert caught.value.code == "run-unfinished"


def test_a_merged_folder_without_its_proof_is_refused(own: Run, tiny_base: Path) -> None:
    add_merge(own[1], tiny_base)
    own[1].report("merge").unlink()
    with pytest.raises(LuthierError, match="has no merged model") as caught:
        prepared(*own, what="merged")
    assert "luthier merge" in caught.value.fix


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"max_logit_difference": 0.5}, "largest logit difference 0.5"),
        ({"max_logit_difference": float("nan")}, "largest logit difference nan"),
        ({"dtype": "bf16", "mean_kl": 0.7}, "mean KL 0.7"),
        ({"rows_checked": 0}, "0 rows"),
    ],
)
def test_a_merge_whose_proof_fails_is_refused(
    own: Run, tiny_base: Path, figures: dict[str, float], said: str
) -> None:
    path = own[1].report("merge")
    add_merge(own[1], tiny_base)
    report = path.read_text()
    for name, value in figures.items():
        shown = f'"{value}"' if isinstance(value, str) else "NaN" if value != value else str(value)
        report = re.sub(rf'"{name}": [^,]+', f'"{name}": {shown}', report)
    path.write_text(report)
    (found,) = prepared(*own, what="merged").objections
    assert found.word == "gate-parity"
    assert said in found.what
    assert "luthier merge --again" in found.fix


def test_a_merge_older_than_its_adapter_is_refused(own: Run, tiny_base: Path) -> None:
    add_merge(own[1], tiny_base)
    later = own[1].report("merge").stat().st_mtime + 10
    os.utime(own[1].report("train"), (later, later))
    (found,) = prepared(*own, what="merged").objections
    assert found.word == "gate-parity"
    assert "trained anew" in found.what


def test_a_file_that_leads_out_of_its_folder_is_refused(own: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    path = own[1].model / "special_tokens_map.json"
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    with pytest.raises(LuthierError, match="link to") as caught:
        prepared(*own)
    assert caught.value.code == "mdl-path"


def test_an_adapter_of_another_base_is_refused(own: Run) -> None:
    origin = own[1].model / "luthier_base.json"
    found = [path for path in own[1].model.glob("*.json") if "fingerprint" in path.read_text()]
    assert found, origin
    text = re.sub(r'("(?:base_)?fingerprint": ")[0-9a-f]{4}', r"\g<1>ffff", found[0].read_text())
    found[0].write_text(text)
    with pytest.raises(LuthierError, match="another base") as caught:
        prepared(*own)
    assert caught.value.code == "adp-base"


def test_a_model_that_was_not_compared_with_its_base_is_a_question(own: Run) -> None:
    own[1].report("compare").unlink()
    (found,) = prepared(*own).objections
    assert found.fix.startswith("luthier compare")
    assert prepared(*own, acknowledged=["no-comparison"]).objections == ()


def test_an_adapter_over_a_folder_of_this_machine_is_a_question(own: Run) -> None:
    found = prepared(*own, base_model=None, base_licence="mit").objections
    assert any("has no name on the hub" in each.what for each in found)


def test_nothing_is_asked_of_the_hub_while_anything_stands_against_it(run: Run, site: Site) -> None:
    ready = prepared(*run, data_licences=["cc-by-nd-4.0"])
    with pytest.raises(LuthierError) as caught:
        publish(ready)
    assert caught.value.exit_code == 1
    assert site.calls == []
