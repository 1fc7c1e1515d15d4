"""Adapters: untrained they change nothing, saved they come back tensor for tensor, and a file that does not fit is never applied."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from luthier.config.method import LoraMethod, QloraMethod
from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.modelling import adapters
from luthier.modelling.adapters import add_adapter, attach_adapter, save_trained, trained_parameters
from luthier.modelling.load import load_base, load_trained
from tests.tiny import make_tiny_model, make_tiny_tokenizer

CPU = torch.device("cpu")
IDS = torch.arange(40)[None] * 7 % 290
METHODS = {
    "lora": LoraMethod(rank=4, alpha=8),
    "rslora": LoraMethod(rank=4, alpha=8, rslora=True),
    "dora": LoraMethod(rank=4, alpha=8, dora=True),
    "all-linear": LoraMethod(rank=4, alpha=8, targets=("all-linear",)),
    "embeddings": LoraMethod(rank=4, alpha=8, targets=("q_proj",), trained_modules=("embed_tokens",)),
    "head": LoraMethod(rank=4, alpha=8, targets=("q_proj",), trained_modules=("lm_head",)),
    "both": LoraMethod(rank=4, alpha=8, targets=("q_proj",), trained_modules=("embed_tokens", "lm_head")),
}


def base(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    return load_base(folder, dtype=dtype, device=CPU, attention="sdpa", **settings)


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=IDS).logits
    return answer


def trained(folder: Path, method: LoraMethod, **settings: Any) -> PeftModel:
    """An adapter whose every trained number moved, as training would move them."""
    model = add_adapter(base(folder, **settings), method, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in trained_parameters(model).values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def saved(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter over the tiny base. Shared: copy it before writing to it."""
    folder = tmp_path_factory.mktemp("adapters") / "sound"
    method = LoraMethod(rank=4, alpha=8, targets=("q_proj", "up_proj"))
    save_trained(trained(tiny_base, method), make_tiny_tokenizer(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """An adapter folder of one's own, to damage."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


@pytest.mark.parametrize("kind", METHODS)
def test_an_untrained_adapter_changes_nothing(tiny_base: Path, kind: str) -> None:
    plain = logits(base(tiny_base))
    adapted = logits(add_adapter(base(tiny_base), METHODS[kind], seed=1))
    tolerance = 1e-5 if kind == "dora" else 0.0
    torch.testing.assert_close(adapted, plain, rtol=tolerance, atol=tolerance)


def test_the_weights_of_an_adapter_depend_on_the_seed_alone(tiny_base: Path) -> None:
    torch.manual_seed(1)
    first = trained_parameters(add_adapter(base(tiny_base), METHODS["lora"], seed=3))
    state = torch.get_rng_state()
    again = trained_parameters(add_adapter(base(tiny_base), METHODS["lora"], seed=3))
    assert torch.equal(torch.get_rng_state(), state), "nobody else's random numbers move"
    other = trained_parameters(add_adapter(base(tiny_base), METHODS["lora"], seed=4))
    assert all(torch.equal(parameter, again[name]) for name, parameter in first.items())
    assert any(not torch.equal(parameter, other[name]) for name, parameter in first.items())


def test_what_is_trained_is_fp32_and_what_is_frozen_keeps_its_format(tiny_base: Path) -> None:
    model = add_adapter(base(tiny_base, torch.bfloat16), METHODS["embeddings"], seed=1)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name
        assert parameter.requires_grad == ("lora_" in name or "modules_to_save" in name), name


def test_all_linear_means_every_linear_module_but_the_head(tiny_llama: Path) -> None:
    model = add_adapter(base(tiny_llama), METHODS["all-linear"], seed=1)
    adapted = {
        name.split(".lora_A")[0].rsplit(".", 1)[-1]
        for name in trained_parameters(model)
        if ".lora_A." in name
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_rslora_scales_by_the_root_of_the_rank(tiny_base: Path) -> None:
    def scaling(kind: str) -> Any:
        return add_adapter(base(tiny_base), METHODS[kind], seed=1).base_model.model.model.layers[0].mlp.up_proj.scaling["default"]  # fmt: skip

    assert scaling("lora") == 8 / 4
    assert scaling("rslora") == 8 / 4**0.5


def test_a_module_that_the_model_has_not_is_refused_with_its_neighbour(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match="q_porj") as caught:
        add_adapter(base(tiny_base), LoraMethod(targets=("q_porj", "up_proj")), seed=1)
    assert caught.value.code == "adp-targets"
    assert "q_porj: did you mean q_proj?" in caught.value.problems
    with pytest.raises(ModelError, match=r"method\.trained_modules"):
        add_adapter(base(tiny_base), LoraMethod(trained_modules=("head",)), seed=1)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("base_name", ["tiny_base", "tiny_llama"])
def test_a_saved_adapter_answers_over_its_base_exactly_as_it_was_trained(
    base_name: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base_folder = request.getfixturevalue(base_name)
    model = trained(base_folder, METHODS[kind])
    save_trained(model, make_tiny_tokenizer(), tmp_path / "adapter", base_name="somewhere/base")
    truth = logits(model)
    again = attach_adapter(base(base_folder), tmp_path / "adapter", dtype=torch.float32)
    torch.testing.assert_close(logits(again), truth, rtol=0, atol=0)
    assert (logits(base(base_folder)) - truth).abs().max() > 1e-3, "the adapter does something"
    assert not trained_parameters(again), "an attached adapter is frozen"
    assert not again.training
    origin = json.loads((tmp_path / "adapter" / "luthier.json").read_text())["base"]
    assert origin == {"name": "somewhere/base", "fingerprint": model.get_base_model().loaded_from.fingerprint}


@pytest.mark.parametrize("bits", [4, 8])
def test_an_adapter_over_a_quantized_base_comes_back_exactly(
    tiny_base: Path, tmp_path: Path, bits: Any
) -> None:
    method = QloraMethod(rank=4, alpha=8, bits=bits)
    model = trained(tiny_base, method, quantization=method)
    save_trained(model, make_tiny_tokenizer(), tmp_path / "adapter")
    again = load_trained(
        tmp_path / "adapter",
        base_folder=tiny_base,
        dtype=torch.float32,
        device=CPU,
        attention="sdpa",
        quantization=method,
    )
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=0)


def test_trained_embeddings_of_a_tied_model_stay_one_matrix_with_the_head(
    tiny_base: Path, tmp_path: Path
) -> None:
    model = trained(tiny_base, METHODS["both"])
    save_trained(model, make_tiny_tokenizer(), tmp_path / "adapter")
    for each in (model, attach_adapter(base(tiny_base), tmp_path / "adapter", dtype=torch.float32)):
        causal: Any = each.get_base_model()
        embedding = causal.model.embed_tokens.modules_to_save["default"].weight
        head = causal.lm_head.modules_to_save["default"].weight
        assert embedding.data_ptr() == head.data_ptr()


def test_a_whole_model_saved_in_bf16_says_so_and_loads_as_a_model(tiny_base: Path, tmp_path: Path) -> None:
    model = base(tiny_base)
    model.generation_config.use_cache = False  # as a model made from its config has it
    save_trained(model, make_tiny_tokenizer(), tmp_path / "model", dtype=torch.bfloat16)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["dtype"], config["use_cache"]) == ("bfloat16", True)
    generation = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert generation.get("use_cache", True) is True
    assert model.config.use_cache is False
    again = load_trained(
        tmp_path / "model", base_folder=None, dtype=torch.float32, device=CPU, attention="sdpa"
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.bfloat16().float()), name


def test_a_save_that_fails_leaves_what_was_there_and_nothing_half_written(
    tiny_base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, "save_file", no_room)
    with pytest.raises(EnvironmentFault) as caught:
        save_trained(trained(tiny_base, METHODS["lora"]), make_tiny_tokenizer(), folder)
    assert caught.value.code == "env-disk"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def set_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder: Path, base_folder: Path, dtype: torch.dtype = torch.float32) -> ModelError:
    with pytest.raises(ModelError) as caught:
        attach_adapter(base(base_folder, dtype), folder, dtype=dtype)
    assert len(caught.value.render()) < 4000, "a message is for reading"
    return caught.value


def lose_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]


def lose_all(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()


def make_all_foreign(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"elsewhere.{name}"] = tensors.pop(name)


def add_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors["more"] = torch.zeros(2)


def cut_one(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name] = tensors[name][:-1].contiguous()


@pytest.mark.parametrize("change", [lose_one, lose_all, make_all_foreign, add_one, cut_one])
def test_weights_that_are_not_the_configuration_s_are_never_applied(
    folder: Path, tiny_base: Path, change: Callable[[dict[str, torch.Tensor]], Any]
) -> None:
    change_tensors(folder, change)
    assert refused(folder, tiny_base).code == "adp-weights"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_never_applied_even_where_outputs_hide_it(
    folder: Path, tiny_base: Path, value: float
) -> None:
    change_tensors(folder, lambda tensors: next(iter(tensors.values()))[0, 0].fill_(value))
    fault = refused(folder, tiny_base)
    assert fault.code == "mdl-nan"
    assert len(fault.problems) == 1


def test_a_weight_that_fp16_cannot_hold_is_refused_there_and_there_alone(
    folder: Path, tiny_base: Path
) -> None:
    change_tensors(folder, lambda tensors: next(iter(tensors.values()))[0, 0].fill_(1e6))
    attach_adapter(base(tiny_base), folder, dtype=torch.float32)
    assert "float16 may be too narrow" in refused(folder, tiny_base, torch.float16).what


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("adp-weights", {"r": 8}),
        ("adp-weights", {"use_dora": True}),
        ("adp-weights", {"target_modules": ["q_proj"]}),
        ("adp-weights", {"modules_to_save": ["lm_head"], "ensure_weight_tying": True}),
        ("adp-targets", {"target_modules": ["nosuch"]}),
        ("adp-targets", {"target_modules": ["norm"]}),
        ("adp-targets", {"target_modules": []}),
        ("adp-config", {"lora_alpha": float("nan")}),
        ("adp-config", {"lora_dropout": "x"}),
    ],
    ids=str,
)
def test_a_configuration_that_is_not_the_adapter_s_is_refused(
    folder: Path, tiny_base: Path, code: str, values: dict[str, Any]
) -> None:
    set_config(folder, **values)
    assert refused(folder, tiny_base).code == code


def test_an_adapter_goes_over_no_other_base_of_the_same_shape(folder: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=9)
    fault = refused(folder, other)
    assert fault.code == "adp-base"
    assert str(other) in fault.what
    (folder / "luthier.json").unlink()
    attach_adapter(base(other), folder, dtype=torch.float32)


def test_the_base_that_an_adapter_names_is_never_opened(folder: Path, tiny_base: Path) -> None:
    set_config(folder, base_model_name_or_path="../../nowhere", revision="../x")
    attach_adapter(base(tiny_base), folder, dtype=torch.float32)


def test_a_pickled_adapter_is_refused_as_a_pickle(folder: Path, tiny_base: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert refused(folder, tiny_base).code == "mdl-pickle"
