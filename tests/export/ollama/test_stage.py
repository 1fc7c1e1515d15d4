"""The export on a tiny run: what lies beside the GGUF file, what is refused, and that a wrong template leaves nothing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from luthier.cli.export_ollama import commands, made_text, warnings
from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.export import stage as merge_stage
from luthier.export.gguf.stage import export_gguf
from luthier.export.ollama import stage
from luthier.export.ollama.dialect import Dialect, dialect_of
from luthier.export.ollama.modelfile import read
from luthier.export.ollama.stage import choose_file, export_ollama
from luthier.export.stage import merge
from luthier.floor.errors import GateError, UsageError
from luthier.floor.rundir import RunDir
from luthier.reports.ollama import OllamaReport
from tests.export.finished_run import make_finished_run, measure_in_this_process

# A merge and an export: out of the quick suite.
pytestmark = [pytest.mark.whole, pytest.mark.slow]

TALKS = (
    [
        ("system", "Be kind."),
        ("user", "Größe?"),
        ("assistant", "7 µm"),
        ("user", "Und {{ x }}?"),
        ("assistant", "8 µm"),
    ],
    [("user", "What is the capital of France?"), ("assistant", "Paris.")],
    [("user", "One."), ("user", "Two."), ("assistant", "Three.")],
)


@dataclass(frozen=True)
class Workshop:
    """A finished run with a GGUF file, and its recipe."""

    recipe: Recipe
    run: RunDir

    @property
    def modelfile(self) -> Path:
        return self.run.path / "export" / "gguf" / "Modelfile"

    @property
    def report(self) -> Path:
        return self.run.path / "export" / "ollama" / "report.json"


@pytest.fixture(scope="module")
def exported(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Workshop:
    """Shared: `workshop` copies it."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    recipe, run = make_finished_run(folder, tiny_base, LoraMethod(rank=8, alpha=16))
    rows = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in TALKS]
    Path(recipe.evaluate.path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    gguf = recipe.export.gguf.model_copy(update={"types": ("F16",), "answers": 1})
    recipe = recipe.model_copy(update={"export": recipe.export.model_copy(update={"gguf": gguf})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_stage, "measure_in_fresh_process", measure_in_this_process)
        merge(recipe, run)
    export_gguf(recipe, run)
    return Workshop(recipe, run)


@pytest.fixture
def workshop(exported: Workshop, tmp_path: Path) -> Workshop:
    return Workshop(exported.recipe, RunDir(Path(shutil.copytree(exported.run.path, tmp_path / "run"))))


def test_a_modelfile_lies_beside_the_file_with_its_proof_unless_the_run_is_dry(workshop: Workshop) -> None:
    dry = export_ollama(workshop.recipe, workshop.run, dry_run=True)
    assert dry.report.ids_checked > 40
    assert not workshop.modelfile.exists()
    assert not workshop.report.exists()
    made = export_ollama(workshop.recipe, workshop.run, system="Be brief.")
    assert made.text == workshop.modelfile.read_text(encoding="utf-8")
    assert made.report == OllamaReport.read(workshop.report)
    found = dict(read(made.text))
    assert (workshop.modelfile.parent / found["FROM"]).read_bytes()[:4] == b"GGUF"
    assert found["TEMPLATE"].endswith("{{ end }}{{ end }}<|im_start|>assistant\n")
    assert [value for name, value in read(made.text) if name == "PARAMETER stop"] == [
        "<|endoftext|>",
        "<|im_end|>",
    ]
    assert (found["SYSTEM"], found["PARAMETER temperature"]) == ("Be brief.", "0")
    report = made.report
    assert (report.rows_checked, report.prompts_checked, report.prompts_left_out) == (2, 3, {"neighbours": 1})
    assert report.ids_checked == report.prompts_checked + report.conversations_checked > 40
    said = made_text(workshop.run, made)
    assert f"ollama create {report.name} -f " in said
    assert set(commands(made)) == {
        "Ollama",
        "Open WebUI",
        "llama.cpp",
        "LM Studio",
        "Jan",
        "text-generation-webui",
    }
    assert any("joins neighbours" in line for line in warnings(made))


def test_a_modelfile_that_was_changed_by_hand_is_not_replaced_unasked(workshop: Workshop) -> None:
    first = export_ollama(workshop.recipe, workshop.run)
    workshop.modelfile.write_text(first.text + "PARAMETER seed 1\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        export_ollama(workshop.recipe, workshop.run)
    assert "--overwrite" in caught.value.fix
    assert workshop.modelfile.read_text(encoding="utf-8").endswith("seed 1\n")
    export_ollama(workshop.recipe, workshop.run, overwrite=True)
    assert workshop.modelfile.read_text(encoding="utf-8") == first.text


def other_text(found: Dialect) -> Dialect:
    return replace(found, go=found.go.replace("assistant\n{{ .Content }}", "assistant\n{{ .Content }} "))


def two_begins(found: Dialect) -> Dialect:
    """Both sides write a token first that llama.cpp reads, and the run does not."""
    return replace(
        found,
        go="<|endoftext|>" + found.go,
        wanted=lambda asked: [f"<|endoftext|>{text}" for text in found.wanted(asked)],
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(other_text, "from character "), (two_begins, "token 0 is '<|endoftext|>' in llama.cpp and '<|im_start|>' in the run")],
)  # fmt: skip
def test_a_template_that_asks_otherwise_leaves_no_modelfile(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Dialect], Dialect], says: str
) -> None:
    export_ollama(workshop.recipe, workshop.run)
    monkeypatch.setattr(stage, "dialect_of", lambda *given, **named: spoil(dialect_of(*given, **named)))
    with pytest.raises(GateError) as caught:
        export_ollama(workshop.recipe, workshop.run)
    assert caught.value.code == "gate-template"
    assert says in caught.value.what
    assert not workshop.modelfile.exists()
    assert not workshop.report.exists()


def test_a_file_that_is_not_there_is_named_with_the_command_that_makes_it(workshop: Workshop) -> None:
    gguf = workshop.recipe.export.gguf.model_copy(update={"types": ("Q8_0",)})
    recipe = workshop.recipe.model_copy(
        update={"export": workshop.recipe.export.model_copy(update={"gguf": gguf})}
    )
    with pytest.raises(UsageError) as caught:
        export_ollama(recipe, workshop.run)
    assert caught.value.fix.endswith("--quant Q8_0")
    assert choose_file(recipe, workshop.run) == ("F16", False)
    assert choose_file(recipe, RunDir(workshop.run.path / "none")) == ("Q8_0", False)
