"""LoRA adapters for llama.cpp: two programs, one adapter over one base; and what an adapter file cannot hold."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from luthier.config.method import LoraMethod, QloraMethod
from luthier.config.recipe import Recipe
from luthier.export.gguf import adapter as stage
from luthier.export.gguf.adapter import export_adapter
from luthier.export.gguf.adapter_plan import AdapterPlan, plan_adapter_export
from luthier.export.gguf.adapter_tensors import plan_adapter
from luthier.export.gguf.architecture import open_architecture
from luthier.floor.errors import GateError, ModelError, UsageError
from luthier.floor.rundir import RunDir
from luthier.knowledge.adapter_folder import check_adapter_folder
from luthier.knowledge.model_folder import check_model_folder
from luthier.llamacpp.library import open_model
from luthier.measure.parity import LogitDifference, compare_logits
from luthier.modelling.adapters import save_trained
from luthier.modelling.load import load_base
from luthier.reports.gguf_adapter import GgufAdapterReport
from luthier.text.tokenizer import load_tokenizer
from tests.export.finished_run import make_finished_run
from tests.export.gguf.families import make_family
from tests.export.gguf.writing import library, write

pytestmark = [pytest.mark.whole, pytest.mark.slow]

IDS = [random.Random(7).randrange(300) for _ in range(48)]
Q, UP, EMBED = "q_proj", "up_proj", "embed_tokens"
ALL = (Q, "k_proj", "v_proj", "o_proj", "gate_proj", UP, "down_proj")
# Family, and the adapter's configuration.
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "llama, permuted": ("llama", {"target_modules": [*ALL, "lm_head"]}),
    "llama, input embedding": ("llama", {"target_modules": [EMBED, Q]}),
    "qwen2, rsLoRA": ("qwen2", {"target_modules": list(ALL), "use_rslora": True}),
    "granite, ranks and alphas of their own": (
        "granite",
        {
            "target_modules": list(ALL),
            "rank_pattern": {Q: 3},
            "alpha_pattern": {UP: 5, "layers.1.self_attn.k_proj": 20},
        },
    ),
    "phi3, joined": ("phi3", {"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}),
    "gemma3, tied": ("gemma3", {"target_modules": list(ALL)}),
}


def adapt(base: Path, settings: dict[str, object], folder: Path) -> torch.nn.Module:
    """An adapter with random weights over `base`, saved as training saves it; the model that it makes."""
    model = load_base(base, dtype=torch.float32, device=torch.device("cpu"), attention="eager")
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings))  # type: ignore[arg-type]
    assert isinstance(adapted, PeftModel)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    save_trained(adapted, load_tokenizer(base), folder)
    return adapted.eval()


def write_adapter(base: Path, adapter: Path, path: Path) -> Path:
    from luthier.export.gguf.container import Key, write_container

    architecture = open_architecture(base, check_model_folder(base))
    form = plan_adapter(check_adapter_folder(adapter), architecture)
    keys = [
        Key("general.type", "adapter"),
        Key("adapter.type", "lora"),
        Key("adapter.lora.alpha", form.alpha),
    ]
    write_container(path, architecture.family.architecture, keys, form.tensors)
    return path


def compare(library_path: Path, file: Path, adapter: Path | None, model: torch.nn.Module) -> LogitDifference:
    with open_model(library(library_path), file) as loaded:
        loaded.start(context_tokens=len(IDS), threads=1)
        if adapter is not None:
            loaded.use_adapter(adapter)
        logits_TV = np.stack(list(loaded.logits(IDS, range(len(IDS)))))
    with torch.inference_mode():
        truth_TV = model(torch.tensor([IDS])).logits[0].numpy()
    return compare_logits(truth_TV, logits_TV)


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_with_base_and_adapter_computes_what_peft_computes(
    case: str, llama_cpp: Path, tmp_path: Path
) -> None:
    family, settings = CASES[case]
    base = make_family(family, tmp_path / "base")
    model = adapt(base, settings, tmp_path / "adapter")
    file = write(base, "F32", tmp_path / "base.gguf")
    adapter = write_adapter(base, tmp_path / "adapter", tmp_path / "adapter.gguf")
    alone = compare(llama_cpp, file, None, model)
    difference = compare(llama_cpp, file, adapter, model)
    assert alone.mean_kl > 0.01, "the adapter changes next to nothing"
    assert difference.max_absolute < 3e-3, difference
    assert difference.mean_kl < 1e-6, difference


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunDir]:
    folder = tmp_path_factory.mktemp("adapter") / "run"
    return make_finished_run(folder, tiny_base, LoraMethod(rank=8, alpha=16, rslora=True))


def files_of(run: RunDir) -> list[str]:
    folder = run.path / "export" / "gguf-adapter"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_runs_adapter_is_proven_over_its_base_and_made_once(
    finished: tuple[Recipe, RunDir], llama_cpp: Path
) -> None:
    recipe, run = finished
    report = export_adapter(recipe, run)
    assert report == GgufAdapterReport.read(run.path / "export" / "gguf-adapter" / "report.json")
    assert files_of(run) == ["report.json", "tiny-qwen2-F16.gguf", "tiny-qwen2-run-F32-LoRA.gguf"]
    assert report.mean_kl < 1e-5 < 1e-3 == report.allowed_kl < report.kl_of_base_alone
    assert (report.base_type, report.base_is_named, report.modules) == ("F16", False, 14)
    assert report.alpha == pytest.approx(16 * 8**0.5)
    assert (report.rows_checked, report.same_answer_share) == (4, 1.0)
    written = Path(report.adapter).stat().st_mtime_ns
    assert export_adapter(recipe, run) == report
    assert Path(report.adapter).stat().st_mtime_ns == written


def test_a_base_that_the_user_names_is_read_only_and_judged_by_its_own_type(
    finished: tuple[Recipe, RunDir], tiny_base: Path, tmp_path: Path
) -> None:
    recipe, _ = finished
    run = fresh(finished, tmp_path)
    base = write(tiny_base, "Q8_0", tmp_path / "named.gguf")
    before = base.read_bytes()
    report = export_adapter(recipe, run, base=base)
    assert files_of(run) == ["report.json", "tiny-qwen2-run-F32-LoRA.gguf"]
    assert (report.base_type, report.base_is_named, report.base) == ("Q8_0", True, str(base))
    assert 1e-5 < report.mean_kl < report.allowed_kl == 0.01
    assert export_adapter(recipe, run, base=base) == report
    assert base.read_bytes() == before


def fresh(finished: tuple[Recipe, RunDir], folder: Path) -> RunDir:
    """A copy of the run without what was exported."""
    whole = Path(shutil.copytree(finished[1].path, folder / "run"))
    shutil.rmtree(whole / "export", ignore_errors=True)
    return RunDir(whole)


def leave_rslora_out(path: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(path, "r+")
    field = reader.fields["adapter.lora.alpha"]
    field.parts[field.data[0]][0] = 16.0
    reader.data.flush()  # type: ignore[attr-defined]


def test_an_adapter_that_answers_otherwise_is_deleted_with_its_base(
    finished: tuple[Recipe, RunDir],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    llama_cpp: Path,
) -> None:
    right = stage._write_adapter

    def write_spoiled(plan: AdapterPlan, path: Path) -> None:
        right(plan, path)
        leave_rslora_out(path)

    monkeypatch.setattr(stage, "_write_adapter", write_spoiled)
    run = fresh(finished, tmp_path)
    with pytest.raises(GateError) as caught:
        export_adapter(finished[0], run)
    shown = caught.value.render()
    assert (caught.value.code, caught.value.exit_code) == ("gate-parity", 1)
    assert [
        part for part in ("allowed is 0.001", "test.jsonl:", "the base's file alone") if part not in shown
    ] == []
    assert files_of(run) == []


def test_another_base_cut_short_or_absent_is_refused_and_left_alone(
    finished: tuple[Recipe, RunDir], tiny_base: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    recipe, _ = finished
    run = fresh(finished, tmp_path)
    other = write(tiny_llama, "F16", tmp_path / "other.gguf")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(other.read_bytes()[:-1000])
    nonsense = tmp_path / "nonsense.gguf"
    nonsense.write_bytes(b"GGUF" + bytes(60))
    cases = (
        (other, "gguf-load", "arch"),
        (cut, "gguf-load", "cut.gguf"),
        (nonsense, "gguf-load", "nonsense.gguf"),
    )
    for base, code, part in cases:
        with pytest.raises(ModelError) as caught:
            export_adapter(recipe, run, base=base)
        assert caught.value.code == code
        assert part in caught.value.render()
        assert base.is_file()
        assert files_of(run) == []
    with pytest.raises(UsageError, match="there is no file"):
        export_adapter(recipe, run, base=tmp_path / "none.gguf")


REFUSED: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "DoRA": (
        {"target_modules": [Q], "use_dora": True},
        ("model.layers.0.self_attn.q_proj: DoRA trains magnitudes",),
    ),
    "trained whole": (
        {"target_modules": [Q], "modules_to_save": ["norm"]},
        ("model.norm: it was trained whole",),
    ),
    "tied head": ({"target_modules": [Q, "lm_head"]}, ("lm_head: the head is the input embedding",)),
    "tied embedding": (
        {"target_modules": [Q, EMBED]},
        ("model.embed_tokens: the input embedding is the head",),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_llama_cpp_cannot_hold_is_refused_by_name(case: str, tiny_base: Path, tmp_path: Path) -> None:
    settings, parts = REFUSED[case]
    adapt(tiny_base, settings, tmp_path / "adapter")
    architecture = open_architecture(tiny_base, check_model_folder(tiny_base))
    with pytest.raises(ModelError) as caught:
        plan_adapter(check_adapter_folder(tmp_path / "adapter"), architecture)
    shown = caught.value.render()
    assert (caught.value.code, caught.value.exit_code) == ("gguf-adapter", 4)
    assert [part for part in parts if part not in shown] == [], shown
    assert "luthier export gguf" in caught.value.fix


def test_an_adapter_over_four_bits_needs_the_users_word_for_the_original_weights(
    tiny_base: Path, tmp_path: Path, llama_cpp: Path
) -> None:
    recipe, run = make_finished_run(
        tmp_path / "run", tiny_base, QloraMethod(rank=8, alpha=16), precision="bf16"
    )
    with pytest.raises(UsageError) as caught:
        plan_adapter_export(recipe, run)
    assert "4 bits" in caught.value.what
    assert "merge.base=original" in caught.value.fix
    merge = recipe.merge.model_copy(update={"base": "original"})
    report = export_adapter(recipe.model_copy(update={"merge": merge}), run)
    assert report.mean_kl < report.allowed_kl < report.kl_to_trained
