"""`luthier export gguf`, its flags, and `make gguf` on a trained run: what they say, what they leave, and what is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.export import stage
from tests.cli.workshop import ROOT, Done, listing, luthier, make_workshop
from tests.export.finished_run import measure_in_this_process

# A training, a merge and several exports: out of the quick suite.
pytestmark = [pytest.mark.whole, pytest.mark.slow]

PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Path:
    """A workshop with one finished run that is not merged. Shared: tests that change it copy it."""
    folder = make_workshop(tmp_path_factory.mktemp("trained") / "workshop", tiny_base)
    done = luthier(folder, "train", "train", "train.most_steps=1", "evaluate.gate_metric=loss")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A copy in which a file was exported, and what the command said."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("exported") / "workshop", symlinks=True))
    with pytest.MonkeyPatch.context() as patch:
        # tests/export/test_stage.py lets a merge be checked by a fresh process, which takes seconds to start.
        patch.setattr(stage, "measure_in_fresh_process", measure_in_this_process)
        return folder, luthier(folder, "export", "gguf", "--quant", "q8_0")


def gguf_folder(workshop: Path) -> Path:
    (report,) = workshop.glob("outputs/runs/2*/train/report.json")
    return report.parents[1] / "export" / "gguf"


def test_a_run_is_merged_and_exported_and_the_figures_are_said(exported: tuple[Path, Done]) -> None:
    folder, done = exported
    assert done.code == 0, done.err
    assert "The run has no merged model of these inputs yet: merging first" in done.err
    (path,) = gguf_folder(folder).glob("*.gguf")
    head, line = (
        done.out.splitlines()[0],
        next(row for row in done.out.splitlines() if row.startswith("Q8_0")),
    )
    assert head.split()[:4] == ["type", "size", "mean", "KL"]
    assert "0.01" in line.split()
    assert f"file    {path.relative_to(folder)}" in done.out
    assert "proof   llama.cpp 0.5.0: the same ids for" in done.out
    assert "6 held-out rows" in done.out


def test_json_is_one_object_with_the_same_figures(exported: tuple[Path, Done]) -> None:
    folder, _ = exported
    before = listing(folder)
    done = luthier(folder, "export", "gguf", "--quant", "Q8_0", "--json")
    assert done.code == 0, done.err
    (file,) = done.json["files"]
    assert (file["type"], file["allowed_kl"]) == ("Q8_0", 0.01)
    assert 0 <= file["mean_kl"] <= 0.01
    assert (folder / file["path"]).stat().st_size == file["file_bytes"]
    assert listing(folder) == before


def test_a_dry_run_says_sizes_and_writes_nothing(exported: tuple[Path, Done]) -> None:
    folder, _ = exported
    before = listing(folder)
    words = ("export", "gguf", "--quant", "Q8_0", "--quant", "Q5_K_M", "--dry-run")
    done = luthier(folder, *words)
    assert done.code == 0, done.err
    assert "there   Q8_0" in done.out
    assert "write   Q5_K_M  about " in done.out
    facts = luthier(folder, *words, "--json").json
    assert list(facts["to_write"]) == ["Q5_K_M"]
    assert facts["needed_bytes"] > facts["to_write"]["Q5_K_M"] > 0
    assert listing(folder) == before


def test_a_dry_run_over_an_unmerged_run_merges_nothing(trained: Path) -> None:
    before = listing(trained)
    done = luthier(trained, "export", "gguf", "--dry-run", "--json")
    assert done.code == 2, done.said
    assert done.json["error"]["code"] == "run-unfinished"
    assert "luthier merge" in done.json["error"]["fix"]
    assert listing(trained) == before


def test_an_unknown_type_is_refused_with_the_closest(trained: Path) -> None:
    before = listing(trained)
    done = luthier(trained, "export", "gguf", "--quant", "Q5_KM", "--json")
    assert done.code == 2, done.said
    assert "Q5_KM" in done.err
    assert "did you mean Q5_K_M" in done.err
    assert listing(trained) == before


def test_make_gguf_leaves_the_file_of_the_type(exported: tuple[Path, Done], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported[0], tmp_path / "workshop", symlinks=True))
    shutil.rmtree(gguf_folder(folder))
    shutil.copy(ROOT / "Makefile", folder)
    make = ["make", "--no-print-directory", "-o", "install", f"BIN={PROGRAMS}", "gguf", "QUANT=Q8_0"]
    done = subprocess.run(make, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = gguf_folder(folder).glob("*.gguf")
    assert file.name.endswith("-Q8_0.gguf")
    assert f"file    {file.relative_to(folder)}" in done.stdout


def test_an_adapter_is_exported_with_its_base_and_the_figures_are_said(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "workshop", symlinks=True))
    before = listing(folder)
    planned = luthier(folder, "export", "gguf", "--adapter", "--dry-run")
    assert planned.code == 0, planned.err
    assert planned.out.count("write   ") == 2
    assert listing(folder) == before
    done = luthier(folder, "export", "gguf", "--adapter")
    assert done.code == 0, done.err
    left = sorted(path.name for path in (gguf_folder(folder).parent / "gguf-adapter").iterdir())
    assert [name for name in left if name.endswith(("-F16.gguf", "-F32-LoRA.gguf", "report.json"))] == left
    assert len(left) == 3
    assert "base alone" in done.out.splitlines()[0]
    assert "load    llama-server -m " in done.out
    again = luthier(folder, "export", "gguf", "--adapter", "--json").json
    assert again["mean_kl"] <= again["allowed_kl"] == 0.001


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--adapter", "--quant", "Q4_0"), "--quant Q4_0 is for whole models"),
        (("--adapter", "--imatrix"), "--imatrix is for whole models"),
        (("--base", "x.gguf"), "Add --adapter: luthier export gguf --adapter --base x.gguf"),
        (("--adapter", "--base", "x.gguf"), "there is no file x.gguf"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(words: tuple[str, ...], part: str, trained: Path) -> None:
    before = listing(trained)
    done = luthier(trained, "export", "gguf", *words)
    assert done.code == 2, done.said
    assert part in done.err
    assert listing(trained) == before


def test_a_weighed_file_says_by_how_many_rows(exported: tuple[Path, Done], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported[0], tmp_path / "workshop", symlinks=True))
    words = ("export", "gguf", "--imatrix", "--quant", "Q8_0", "--quant", "Q4_0", "export.gguf.most_kl=100")
    planned = luthier(folder, *words, "--dry-run")
    assert "weigh   columns, by at most 128 training rows" in planned.out, planned.said
    done = luthier(folder, *words)
    assert done.code == 0, done.err
    assert "Q4_0 imatrix" in done.out
    assert "Q8_0 imatrix" not in done.out
    assert "weighed " in done.out
    assert len(list(gguf_folder(folder).glob("*-Q4_0-imat.gguf"))) == 1
