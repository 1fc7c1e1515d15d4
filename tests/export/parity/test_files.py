"""Files held against a run: those that are the run's model pass, each real fault is found, named and left where it lies."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from luthier.cli.verify import chain_text, verified_text
from luthier.export.gguf.stage import export_gguf
from luthier.export.parity.chain import read_chain
from luthier.export.parity.stage import refusal, report_path, verify
from luthier.floor.errors import Interrupted, LuthierError, ModelError, SavedAndStopped, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.floor.units import format_bytes
from luthier.reports.verify import VerifyReport
from tests.export.gguf.test_stage import cut_short, enlarge_a_tensor
from tests.export.gguf.writing import write
from tests.export.parity.conftest import SHAPES, WITH_TOOLS, Workshop
from tests.tiny import CHATML, make_tiny_model

# Models are loaded, llama.cpp is started: out of the quick suite.
pytestmark = [pytest.mark.whole, pytest.mark.slow]


@pytest.fixture(scope="module")
def right_file(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Path:
    """The merged model in F16. Shared: tests that change it copy it."""
    return write(workshop.merged, "F16", tmp_path_factory.mktemp("right") / "right.gguf")


def test_a_file_of_the_run_passes_on_every_shape_of_conversation(
    workshop: Workshop, right_file: Path
) -> None:
    before = sha256_of(right_file)
    report = verify(workshop.recipe, workshop.run, str(right_file))
    assert report.passed, report.problems
    assert report == VerifyReport.read(report_path(workshop.run, report.subject))
    assert (report.kind, report.type, report.reference, report.sha256) == ("gguf", "F16", "merged", before)
    assert (report.tokens.told, report.tokens.prompts, report.tokens.differ) == ("ids", 8, 0)
    assert report.tokens.shapes == SHAPES, "three rows, and one of every further shape"
    assert report.candidates is None
    assert report.mean_kl <= report.allowed_kl == 1e-3
    assert (report.top1_agreement, report.same_answer_share) == (1.0, 1.0)
    assert report.perplexity_after == pytest.approx(report.perplexity_before, rel=1e-3)
    assert report.metrics["exact_match"].before == report.metrics["exact_match"].after
    assert any("read as the token" in note for note in report.notes), report.notes
    said = verified_text(workshop.run, report)
    assert f"kind        F16, {format_bytes(report.subject_bytes or 0)}" in said
    assert "the same ids for" in said
    assert "prompts     plain 3, " in said
    assert sha256_of(right_file) == before


def with_template(workshop: Workshop, folder: Path, template: str) -> Path:
    """The merged model with another chat template."""
    shutil.copytree(workshop.merged, folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def test_a_file_with_another_template_is_named_by_row_and_token_and_left_there(
    workshop: Workshop, tmp_path: Path, llama_cpp: Path
) -> None:
    other = WITH_TOOLS.replace("<|im_end|>\n{% endfor %}", "<|im_end|>{% endfor %}")
    file = write(with_template(workshop, tmp_path / "other", other), "F16", tmp_path / "other.gguf")
    report = verify(workshop.recipe, workshop.run, str(file))
    assert not report.passed
    assert report.tokens.differ == 8
    fault = refusal(workshop.run, report)
    assert (fault.code, fault.exit_code) == ("gate-tokens", 1)
    assert "it was left as it is" in fault.what
    assert "test.jsonl:1: token" in fault.problems[0], fault.problems
    assert report.mean_kl < 1e-3, "what else there is to know is told as well"
    assert file.is_file()


def test_a_template_that_drops_tools_fails_only_there(
    workshop: Workshop, tmp_path: Path, llama_cpp: Path
) -> None:
    file = write(with_template(workshop, tmp_path / "other", CHATML), "F16", tmp_path / "other.gguf")
    report = verify(workshop.recipe, workshop.run, str(file))
    assert report.tokens.differ == 1
    assert "test.jsonl:6" in report.problems[0]


@pytest.mark.parametrize("template", ["{% for %}", "{% for i in range(10**9) %}{% endfor %}"])
def test_a_hostile_template_is_a_fault_and_no_crash(
    template: str, workshop: Workshop, tmp_path: Path, llama_cpp: Path
) -> None:
    file = write(with_template(workshop, tmp_path / "other", WITH_TOOLS), "F16", tmp_path / "other.gguf")
    content = file.read_bytes()
    old = WITH_TOOLS.encode()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, template.encode().ljust(len(old))))
    report = verify(workshop.asked(answers=0, rows=1), workshop.run, str(file))
    assert not report.passed
    assert "template" in report.problems[0], report.problems


def test_a_broken_weight_is_told_with_its_place_and_bounds_are_the_users(
    workshop: Workshop, right_file: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(right_file, tmp_path / "broken.gguf"))
    enlarge_a_tensor(file)
    before = sha256_of(file)
    report = verify(workshop.asked(least_same_first=1.0), workshop.run, str(file))
    fault = refusal(workshop.run, report)
    assert (report.passed, fault.code, fault.exit_code) == (False, "gate-parity", 1)
    distance, first = fault.problems
    assert "mean KL divergence" in distance
    assert "allowed is 0.001" in distance
    assert "after token" in distance
    assert "likeliest next token" in first
    assert sha256_of(file) == before
    assert verify(workshop.asked(most_kl=50.0, answers=0), workshop.run, str(file)).passed


def test_a_file_that_was_cut_ends_with_4_and_stays(
    workshop: Workshop, right_file: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(right_file, tmp_path / "cut.gguf"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError) as caught:
        verify(workshop.asked(answers=0, rows=1), workshop.run, str(file))
    assert (caught.value.code, caught.value.exit_code) == ("gguf-load", 4)
    assert file.is_file()
    assert not list(workshop.run.stage("verify").glob(".tmp-*"))


def test_the_merged_folder_is_held_against_the_adapter_and_another_model_is_found(
    workshop: Workshop, tmp_path: Path
) -> None:
    merged = verify(workshop.recipe, workshop.run, str(workshop.merged))
    assert (merged.passed, merged.kind, merged.reference) == (True, "model", "tuned"), merged.problems
    adapter = verify(workshop.recipe, workshop.run, str(workshop.run.model))
    assert (adapter.passed, adapter.kind, adapter.reference) == (True, "adapter", "merged"), adapter.problems
    other = make_tiny_model(tmp_path / "other", seed=5, chat_template=WITH_TOOLS)
    report = verify(workshop.recipe, workshop.run, str(other))
    assert (report.passed, report.tokens.differ) == (False, 0)
    assert refusal(workshop.run, report).code == "gate-parity"


def test_folders_that_cannot_be_loaded_and_words_that_name_nothing_are_refused(
    workshop: Workshop, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(workshop.merged, tmp_path / "cut"))
    cut_short(cut)
    narrow = make_tiny_model(tmp_path / "narrow", hidden_size=32)
    adapter = Path(shutil.copytree(workshop.run.model, tmp_path / "adapter"))
    few = workshop.asked(rows=1, answers=0)
    recipe = few.model_copy(update={"model": few.model.model_copy(update={"name": str(narrow)})})
    cases: list[tuple[object, Path, type[LuthierError]]] = [
        (few, cut, ModelError),
        (recipe, adapter, ModelError),
        (few, tmp_path / "nothing", UsageError),
    ]
    for asked, place, kind in cases:
        with pytest.raises(kind):
            verify(asked, workshop.run, str(place))  # type: ignore[arg-type]
    assert (cut / "config.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verification_that_is_stopped_leaves_nothing(number: int, workshop: Workshop) -> None:
    stop = StopFlag()
    stop.set(number)
    before = sorted(workshop.run.stage("verify").glob("*"))
    with pytest.raises((Interrupted, SavedAndStopped)):
        verify(workshop.recipe, workshop.run, str(workshop.merged), stop=stop)
    assert sorted(workshop.run.stage("verify").glob("*")) == before


def test_the_chain_shows_every_link_and_tells_a_changed_file(
    workshop: Workshop, tmp_path: Path, llama_cpp: Path
) -> None:
    gguf = workshop.recipe.export.gguf.model_copy(update={"types": ("Q8_0",), "answers": 2})
    recipe = workshop.recipe.model_copy(
        update={"export": workshop.recipe.export.model_copy(update={"gguf": gguf})}
    )
    (file,) = export_gguf(recipe, workshop.run).files
    verify(recipe, workshop.run, file.path)
    links = read_chain(recipe, workshop.run)
    assert [(link.source, link.target) for link in links[:2]] == [("adapter", "merged"), ("merged", "Q8_0")]
    assert links[-1].name == file.path
    assert {link.state for link in (*links[:2], links[-1])} == {"stands"}
    assert links[1].metrics.keys() >= {"exact_match", "bleu"}
    assert re.search(r"merged -> Q8_0, verified +stands", chain_text(workshop.run, links))
    content = bytearray(Path(file.path).read_bytes())
    content[-1] ^= 1
    Path(file.path).write_bytes(content)
    (workshop.run.stage("verify") / "older.json").write_text("{}", encoding="utf-8")
    heard = Recorder()
    changed = read_chain(recipe, workshop.run, listener=heard)
    (workshop.run.stage("verify") / "older.json").unlink()
    assert ["older.json" in warning for warning in heard.warnings] == [True]
    assert [changed[1].state, changed[-1].state] == ["changed", "changed"]
    assert changed[1].is_broken
