"""The whole export on a tiny run: what is written and said, what is refused, and that no half-made file ever has the final name."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.export import stage as merge_stage
from luthier.export.gguf import plan, stage
from luthier.export.gguf.plan import needs_merge
from luthier.export.gguf.stage import export_gguf
from luthier.export.stage import merge
from luthier.floor.errors import (
    EnvironmentFault,
    GateError,
    Interrupted,
    LuthierError,
    ModelError,
    UsageError,
)
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.reports.gguf import GgufReport
from tests.export.finished_run import make_finished_run, measure_in_this_process

# Every export loads models and starts llama.cpp: out of the quick suite.
pytestmark = [pytest.mark.whole, pytest.mark.slow]

Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Workshop:
    """A finished and merged run, and its recipe."""

    recipe: Recipe
    run: RunDir

    @property
    def model(self) -> Path:
        return self.run.stage("merge") / "model"

    @property
    def folder(self) -> Path:
        return self.run.path / "export" / "gguf"

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    def asked(self, *types: str, **settings: object) -> Recipe:
        """The recipe with other types, and other settings of `export.gguf`."""
        gguf = self.recipe.export.gguf.model_copy(update={"types": types, **settings})
        return self.recipe.model_copy(update={"export": self.recipe.export.model_copy(update={"gguf": gguf})})


@pytest.fixture(scope="module")
def merged(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Workshop:
    """Shared: `workshop` copies it."""
    folder = tmp_path_factory.mktemp("merged") / "run"
    recipe, run = make_finished_run(folder, tiny_base, LoraMethod(rank=8, alpha=16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_stage, "measure_in_fresh_process", measure_in_this_process)
        merge(recipe, run)
    return Workshop(recipe, run)


@pytest.fixture
def workshop(merged: Workshop, tmp_path: Path) -> Workshop:
    return Workshop(merged.recipe, RunDir(Path(shutil.copytree(merged.run.path, tmp_path / "run"))))


def name_of(type: str) -> str:
    return f"tiny-qwen2-run-{type}.gguf"


def test_a_whole_export_leaves_files_and_a_report_with_their_figures(workshop: Workshop) -> None:
    report = export_gguf(workshop.asked("F32", "Q8_0", "Q5_K_M"), workshop.run)
    assert report == GgufReport.read(workshop.folder / "report.json")
    assert workshop.files == ["report.json", *sorted(map(name_of, ("F32", "Q8_0", "Q5_K_M")))]
    exact, eight, five = report.files
    assert [file.made_by for file in report.files] == ["gguf", "gguf", "llama.cpp 0.5.0"]
    assert exact.mean_kl < 1e-6 < eight.mean_kl < five.mean_kl
    assert (exact.top1_agreement, exact.same_answer_share) == (1.0, 1.0)
    assert report.rows_checked == 4
    for file in report.files:
        path = Path(file.path)
        assert path.read_bytes()[:4] == b"GGUF"
        assert path.stat().st_size == file.file_bytes
        assert file.mean_kl <= file.allowed_kl
        assert file.perplexity_after == pytest.approx(file.perplexity_before, rel=0.2)
    assert exact.texts_checked > 40
    assert exact.answers_checked == 4


def test_files_of_the_same_inputs_are_made_once_unless_asked_again(workshop: Workshop) -> None:
    first = export_gguf(workshop.asked("F32"), workshop.run)
    path = workshop.folder / name_of("F32")
    written = path.stat().st_mtime_ns
    assert export_gguf(workshop.asked("F32"), workshop.run) == first
    both = export_gguf(workshop.asked("Q8_0"), workshop.run)
    assert [file.type for file in both.files] == ["F32", "Q8_0"]
    assert path.stat().st_mtime_ns == written
    again = export_gguf(workshop.asked("F32"), workshop.run, again=True)
    assert sorted(file.type for file in again.files) == ["F32", "Q8_0"]
    assert path.stat().st_mtime_ns > written
    assert again.inputs_hash == first.inputs_hash


def spoil_written(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """Let `spoil` change each file after it was written and before llama.cpp loads it."""
    right = stage.write_gguf

    def write(source: object, type: object, path: Path, **rest: object) -> None:
        right(source, type, path, **rest)  # type: ignore[arg-type]
        spoil(path)

    monkeypatch.setattr(stage, "write_gguf", write)


def enlarge_a_tensor(path: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(path, "r+")
    (tensor,) = [each for each in reader.tensors if each.name == "blk.0.ffn_down.weight"]
    tensor.data[:] = tensor.data * 1.5
    reader.data.flush()  # type: ignore[attr-defined]


def change_the_rope_base(path: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(path, "r+")
    field = reader.fields["qwen2.rope.freq_base"]
    field.parts[field.data[0]][0] = 500.0
    reader.data.flush()  # type: ignore[attr-defined]


@pytest.mark.parametrize("spoil", [enlarge_a_tensor, change_the_rope_base])
def test_a_file_that_answers_otherwise_is_deleted_and_row_and_token_are_named(
    spoil: Spoil, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_written(monkeypatch, spoil)
    with pytest.raises(GateError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    fault = caught.value
    assert (fault.code, fault.exit_code) == ("gate-parity", 1)
    assert "mean KL" in fault.what
    assert "allowed is 0.0001" in fault.what
    assert "test.jsonl:" in fault.where
    assert "after token" in fault.where
    assert workshop.files == []


def test_a_file_that_fails_leaves_those_that_passed_before_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_written(monkeypatch, lambda path: enlarge_a_tensor(path) if "F16" in path.name else None)
    with pytest.raises(GateError, match="the F16 file"):
        export_gguf(workshop.asked("F32", "F16"), workshop.run)
    assert workshop.files == ["report.json", name_of("F32")]
    assert [file.type for file in GgufReport.read(workshop.folder / "report.json").files] == ["F32"]


def test_a_type_is_held_against_the_recipes_bound(workshop: Workshop) -> None:
    export_gguf(workshop.asked("Q8_0"), workshop.run)
    with pytest.raises(GateError) as caught:
        export_gguf(workshop.asked("Q8_0", most_kl=1e-9), workshop.run)
    assert "allowed is 1e-09" in caught.value.what
    assert workshop.files == ["report.json", name_of("Q8_0")], "the file that kept its own bound stays"
    both = export_gguf(workshop.asked("F16", most_kl=1e-3), workshop.run)
    assert [(file.type, file.allowed_kl) for file in both.files] == [("Q8_0", 0.01), ("F16", 1e-3)]


def swap_two_tokens(path: Path) -> None:
    """`a` and `b` change ids in the file."""
    content = path.read_bytes()
    one, other = ((1).to_bytes(8, "little") + letter for letter in (b"a", b"b"))
    assert content.count(one + other) == 1, "the two tokens do not lie side by side"
    path.write_bytes(content.replace(one + other, other + one))


def test_a_file_whose_ids_differ_is_deleted_and_the_token_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_written(monkeypatch, swap_two_tokens)
    with pytest.raises(GateError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    fault = caught.value
    assert (fault.code, fault.exit_code) == ("gate-tokens", 1)
    assert "'b' there and 'a' here" in fault.what
    assert "test.jsonl:2" in fault.where
    assert workshop.files == []


def change(name: str, new: Callable[[torch.Tensor], torch.Tensor | None]) -> Spoil:
    """Put another tensor, or none, in the place of `name`."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        changed = new(tensors.pop(name))
        if changed is not None:
            tensors[name] = changed.contiguous()
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor[3, 3] = float("nan")
    return tensor


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.norm.weight"


@pytest.mark.parametrize(
    ("spoil", "code", "parts"),
    [
        (change(UP, with_nan), "mdl-nan", (UP, "NaN or infinity")),
        (change(NORM, lambda tensor: None), "gguf-weights", (NORM, "1 of 26 tensors are missing")),
        (change(UP, lambda tensor: tensor[:-1]), "gguf-weights", (UP, "[127, 64]", "[128, 64]")),
        (cut_short, "mdl-weights", ("model.safetensors",)),
    ],
    ids=["NaN", "missing", "shape", "cut"],
)
def test_weights_that_are_no_model_end_with_4_and_are_named(
    spoil: Spoil, code: str, parts: tuple[str, ...], workshop: Workshop
) -> None:
    spoil(workshop.model)
    with pytest.raises(ModelError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    shown = caught.value.render()
    assert caught.value.exit_code == 4
    assert caught.value.code == code
    assert [part for part in (*parts, str(workshop.model)) if part not in shown] == [], shown
    assert workshop.files == []


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, LuthierError, 75)]
)
@pytest.mark.parametrize("moment", ["writing", "checking"])
def test_a_stopped_export_says_so_and_leaves_nothing(
    number: int,
    kind: type[LuthierError],
    code: int,
    moment: str,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = StopFlag()
    if moment == "checking":
        spoil_written(monkeypatch, lambda path: stop.set(number))
    else:
        begin = stage.write_gguf

        def write(*given: object, **named: object) -> None:
            stop.set(number)
            begin(*given, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(stage, "write_gguf", write)
    with pytest.raises(kind) as caught:
        export_gguf(workshop.asked("F32"), workshop.run, stop=stop)
    assert caught.value.exit_code == code
    assert "left nothing behind" in caught.value.what
    assert workshop.files == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(
    ("type", "disk"),
    [("F32", "300k"), ("Q5_K_M", "620k"), ("Q5_K_M", "700k")],
    ids=["write", "quantize", "check"],
)
def test_a_disk_that_fills_up_ends_with_5_and_leaves_nothing(
    type: str, disk: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "free_bytes", lambda path: 2**40)  # as if another program filled it meanwhile
    with small_disk(workshop.folder, disk):
        with pytest.raises(EnvironmentFault) as caught:
            export_gguf(workshop.asked(type), workshop.run)
        assert (caught.value.code, caught.value.exit_code) == ("env-disk", 5)
        assert workshop.files == []


def test_too_little_disk_is_refused_before_a_model_is_loaded(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "free_bytes", lambda path: 1000)
    monkeypatch.setattr(stage, "load_merged", lambda *given, **named: pytest.fail("a model was loaded"))
    with pytest.raises(EnvironmentFault, match="the export takes"):
        export_gguf(workshop.asked("Q8_0"), workshop.run)
    assert not workshop.folder.exists()


def test_a_run_that_another_process_holds_is_left_alone(workshop: Workshop) -> None:
    with lock_run(workshop.run), pytest.raises(UsageError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    assert caught.value.code == "run-locked"
    assert workshop.files == []


class Heard:
    """A listener that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def progress(self, label: str, done: int, total: int | None = None) -> None: ...


def test_files_of_other_inputs_go_when_the_first_new_one_is_proven(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_gguf(workshop.asked("F32", "Q8_0"), workshop.run)
    (workshop.folder / "mine.gguf").write_bytes(b"GGUF")
    before = workshop.files
    with monkeypatch.context() as patch, pytest.raises(GateError):
        spoil_written(patch, enlarge_a_tensor)
        export_gguf(workshop.asked("F32", answers=2), workshop.run)
    assert workshop.files == before, "a refused export takes nothing away"
    heard = Heard()
    report = export_gguf(workshop.asked("F16", answers=2), workshop.run, listener=heard)
    assert [file.type for file in report.files] == ["F16"]
    assert workshop.files == ["mine.gguf", "report.json", name_of("F16")]
    removed = [text for text in heard.warnings if text.endswith("made from other inputs and was removed")]
    assert [text.split()[0] for text in removed] == [name_of("F32"), name_of("Q8_0")]


def test_a_file_that_was_cut_is_made_anew_and_a_run_that_was_moved_keeps_its_files(
    workshop: Workshop, tmp_path: Path
) -> None:
    export_gguf(workshop.asked("F16"), workshop.run)
    moved = Workshop(workshop.recipe, RunDir(workshop.run.path.rename(tmp_path / "moved")))
    path = moved.folder / name_of("F16")
    plan = stage.plan_export(moved.asked("F16"), moved.run)
    assert [file.path for file in plan.kept] == [str(path)]
    path.write_bytes(path.read_bytes()[:-1])
    assert [type.name for type in stage.plan_export(moved.asked("F16"), moved.run).missing] == ["F16"]


def test_a_merge_of_other_inputs_is_told_by_its_hash_and_not_by_its_time(workshop: Workshop) -> None:
    assert not needs_merge(workshop.recipe, workshop.run)
    os.utime(workshop.run.report("merge"), (1, 1))
    assert not needs_merge(workshop.recipe, workshop.run)
    adapter = workshop.run.model / "adapter_model.safetensors"
    tensors = load_file(adapter)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, adapter, metadata={"format": "pt"})
    os.utime(workshop.run.report("merge"))
    assert needs_merge(workshop.recipe, workshop.run)
    with pytest.raises(UsageError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    assert caught.value.code == "run-unfinished"


def test_a_file_that_ends_its_answers_elsewhere_is_deleted_and_the_token_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_the_end(path: Path) -> None:
        from gguf import GGUFReader

        reader = GGUFReader(path, "r+")
        field = reader.fields["tokenizer.ggml.eos_token_id"]
        field.parts[field.data[0]][0] = 5
        reader.data.flush()  # type: ignore[attr-defined]

    spoil_written(monkeypatch, change_the_end)
    with pytest.raises(GateError) as caught:
        export_gguf(workshop.asked("F32"), workshop.run)
    assert caught.value.code == "gate-tokens"
    assert "does not end an answer at token 297 ('<|endoftext|>')" in caught.value.what
    assert "end of text is 5" in caught.value.where
    assert workshop.files == []
