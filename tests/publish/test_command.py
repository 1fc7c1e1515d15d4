"""`luthier publish` and `make publish-hf` as a person types them, against a hub on loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.app import run_command
from luthier.config.recipe import Recipe
from luthier.config.used import write_recipe
from luthier.floor.rundir import RunDir
from tests.law.source import ROOT
from tests.publish.hub import TOKEN, Site, hub_site
from tests.publish.published_run import PUBLISH, REPO, add_merge, copied, with_publish

pytestmark = pytest.mark.slow
Run = tuple[Recipe, RunDir]
PROGRAMS = Path(sys.executable).parent
ON_THE_LINE = [f"publish.{name}={value}".replace("'", "") for name, value in PUBLISH.items()]


def command(capsys: pytest.CaptureFixture[str], run: Run, *words: str) -> tuple[int, str, str]:
    code = run_command(["publish", "--run", str(run[1].path), *ON_THE_LINE, *words])
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err
    return code, told.out, told.err


def test_a_dry_run_sends_nothing_and_leaves_the_card_for_reading(
    run: Run, tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    own = copied(run, tmp_path)
    code, out, _ = command(capsys, own, "--dry-run")
    assert code == 0
    assert site.calls == []
    assert f"to      {REPO}, private: adapter" in out
    assert "adapter_model.safetensors" in out
    assert "Nothing was sent, and the hub was not asked." in out
    assert (own[1].stage("publish") / "README.md").read_text().startswith("---\n")
    assert not own[1].report("publish").exists()


def test_a_dry_run_in_json_is_one_object_with_what_stands_against_it(
    run: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(capsys, run, "publish.data_licences=[cc-by-nd-4.0]", "--dry-run", "--json")
    plan: dict[str, Any] = json.loads(out)
    assert code == 1
    assert [each["word"] for each in plan["objections"]] == ["publish-licence"]
    assert plan["bytes"] == sum(file["bytes"] for file in plan["files"])
    assert site.calls == []


def test_without_a_terminal_a_yes_is_asked_for(
    run: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = command(capsys, run)
    assert code == 2
    assert "luthier publish --yes" in err
    assert (out, site.calls) == ("", [])


def test_json_tells_where_it_is_and_what_was_seen_there(
    run: Run, tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(capsys, copied(run, tmp_path), "--yes", "--json")
    report: dict[str, Any] = json.loads(out)
    assert code == 0
    assert (report["repo"], report["revision"]) == (REPO, site.repos[REPO].head)
    assert report["bytes"] == sum(file["bytes"] for file in report["files"])
    assert {file["path"] for file in report["files"]} <= set(site.repos[REPO].files)


def test_a_merged_model_goes_up_whole(
    run: Run, tiny_base: Path, tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    own = copied(run, tmp_path)
    add_merge(own[1], tiny_base)
    code, out, err = command(capsys, own, "--what", "merged", "--yes")
    assert code == 0, err
    assert "in one commit" in out
    files = site.repos[REPO].files
    folder = own[1].stage("merge") / "model"
    for path in folder.iterdir():
        assert path.name in files
        if path.name not in ("config.json", "tokenizer_config.json", "generation_config.json"):
            assert files[path.name] == path.read_bytes(), path.name
    assert json.loads(files["config.json"])["model_type"] == "qwen2"
    assert "Proof of the merge" in files["README.md"].decode()


def test_a_repository_without_its_owner_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, run, "--repo", "colours", "--dry-run")
    assert code == 2
    assert "OWNER/NAME" in err


def test_make_publish_hf_reads_token_and_repository_from_the_environment(run: Run, tmp_path: Path) -> None:
    """As a clone's user types it: HF_TOKEN=... HF_REPO_ID=you/name make publish-hf."""
    own = copied(run, tmp_path / "runs")
    tree = with_publish(own[0], repo=None)
    write_recipe(tree, own[1].config_used)
    shutil.copy(ROOT / "Makefile", tmp_path)
    with hub_site() as site:
        environment = {
            **os.environ, "HF_ENDPOINT": site.address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_REPO_ID": "me/by-make",
            "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        done = subprocess.run(
            ["make", "--no-print-directory", "-o", "install", f"BIN={PROGRAMS}", "publish-hf", f"RUN={own[1].path}"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"published  {site.address}/me/by-make (private)" in done.stdout
        assert "adapter_model.safetensors" in site.repos["me/by-make"].files
        assert TOKEN not in done.stdout + done.stderr
