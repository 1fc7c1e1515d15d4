"""What load_base puts on the machine is what lies in the folder, every tensor of it; all else is refused by its own fault."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from luthier.config.method import QloraMethod, ScratchMethod
from luthier.floor.errors import EnvironmentFault, LuthierError, ModelError
from luthier.modelling import load
from luthier.modelling.dequantize import is_quantized
from luthier.modelling.load import build_scratch, load_base, load_trained
from tests.tiny import make_tiny_tokenizer

CPU = torch.device("cpu")
IDS = torch.arange(40)[None] * 7 % 290


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, to damage."""
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


def loaded(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
    return load_base(folder, dtype=dtype, device=CPU, attention="sdpa", **settings)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=IDS).logits
    return answer


def refused(folder: Path, **settings: Any) -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        loaded(folder, **settings)
    assert len(caught.value.render()) < 4000, "a message is for reading"
    return caught.value


def set_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("base", ["tiny_base", "tiny_llama"])
def test_a_base_answers_exactly_as_transformers_own_loading(
    base: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(base)
    model = loaded(folder)
    truth = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(logits(model), logits(truth), rtol=0, atol=0)
    assert not model.training
    assert model.config.use_cache is False
    assert model.loaded_from.folder == folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_frozen_weights_live_in_the_format_of_the_computation(tiny_base: Path, dtype: torch.dtype) -> None:
    assert {parameter.dtype for parameter in loaded(tiny_base, dtype).parameters()} == {dtype}


def test_shards_load_as_the_whole_file_does(tiny_base: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    torch.testing.assert_close(logits(loaded(tmp_path)), logits(loaded(tiny_base)), rtol=0, atol=0)


def lose(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.side_proj.weight"] = torch.zeros(2, 2)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(128, 32)


def untie(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight"] = torch.ones(300, 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose, "missing: model.layers.1.mlp.up_proj.weight"),
        (add, "not of this model: model.layers.1.mlp.side_proj.weight"),
        (reshape, "the file has [128, 32], the configuration [128, 64]"),
        (untie, "tie_word_embeddings = true"),
    ],
)
def test_tensors_that_are_not_the_configuration_s_end_the_load_by_name(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], said: str
) -> None:
    change_tensors(folder, change)
    fault = refused(folder)
    assert fault.code == "mdl-weights"
    assert said in fault.render()


def test_a_head_that_the_file_lacks_is_not_made_up(folder: Path) -> None:
    set_config(folder, tie_word_embeddings=False)
    fault = refused(folder)
    assert fault.code == "mdl-weights"
    assert fault.problems == ("missing: lm_head.weight",)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_a_weight_that_is_not_finite_ends_the_load_by_name_quantized_or_not(
    folder: Path, value: float, bits: Any
) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    change_tensors(folder, lambda tensors: tensors[name][3, 5].fill_(value))
    quantization = bits and QloraMethod(bits=bits)
    fault = refused(folder, quantization=quantization)
    assert fault.code == "mdl-nan"
    assert fault.problems == (name,)


def test_a_weight_too_large_for_fp16_says_that_the_format_is_too_narrow(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors["model.norm.weight"][0].fill_(1e6))
    loaded(folder)
    fault = refused(folder, dtype=torch.float16)
    assert fault.code == "mdl-nan"
    assert "float16 may be too narrow" in fault.what


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("mdl-config", {"model_type": "qwen17"}),
        ("mdl-config", {"model_type": "t5"}),
        ("mdl-config", {"hidden_act": "nosuch"}),
        ("mdl-config", {"pad_token_id": 10**6}),
        ("mdl-config", {"rope_parameters": {"rope_type": "nosuch", "rope_theta": 1e4}}),
        ("mdl-config", {"layer_types": ["full_attention"]}),
        ("mdl-config", {"text_config": 5}),
        ("mdl-config", {"vocab_size": None}),
        ("mdl-config", {"attention_dropout": "x"}),
        ("mdl-config", {"id2label": 5}),
        ("mdl-size", {"num_attention_heads": 4096, "head_dim": 16384}),
        ("mdl-size", {"intermediate_size": 2**20}),
    ],
    ids=str,
)
def test_a_configuration_that_makes_no_such_model_ends_the_load_before_memory_is_taken(
    folder: Path, code: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(folder, **values)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("loading"))
    fault = refused(folder)
    assert fault.code == code
    assert "config.json" in fault.where


def test_an_unknown_model_type_is_told_its_neighbour(folder: Path) -> None:
    set_config(folder, model_type="qwen22")
    assert "did you mean qwen2" in refused(folder).what


@pytest.mark.parametrize("text", ["{", "[]", '{"max_new_tokens": "x", "temperature": -1}'])
def test_broken_settings_for_answering_are_the_folder_s_fault(folder: Path, text: str) -> None:
    (folder / "generation_config.json").write_text(text)
    fault = refused(folder)
    assert fault.code == "mdl-config"
    assert "generation_config.json" in fault.where


def test_code_in_a_model_folder_never_runs(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(
        f"open({str(canary)!r}, 'w')\n"
        "from transformers import Qwen2Config as EvilConfig, Qwen2ForCausalLM as EvilModel\n"
    )
    code = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}
    for model_type in ("qwen2", "evil"):
        set_config(folder, auto_map=code, model_type=model_type)
        assert refused(folder).code == "mdl-code"
    set_config(folder, auto_map={}, model_type="qwen2")
    loaded(folder)
    assert not canary.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_the_hub_is_never_asked_for(folder: Path, key: str) -> None:
    set_config(folder, **{key: "evil/kernel"})
    assert refused(folder).code == "mdl-code"


def test_an_adapter_beside_the_weights_is_not_put_over_them_in_silence(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    assert refused(folder).code == "mdl-config"


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_keeps_its_layers_in_codes_and_answers_nearly_as_the_original(
    tiny_base: Path, bits: Any
) -> None:
    model = loaded(tiny_base, quantization=QloraMethod(bits=bits))
    assert is_quantized(model)
    original = loaded(tiny_base)
    assert not is_quantized(original)
    kinds = {type(parameter).__name__ for parameter in model.model.layers.parameters()}
    assert ("Params4bit" if bits == 4 else "Int8Params") in kinds
    assert not is_quantized(model.get_output_embeddings()), "the head stays in plain numbers"
    agreement = torch.cosine_similarity(logits(model).flatten(), logits(original).flatten(), dim=0)
    assert agreement > (0.9 if bits == 4 else 0.99)


def test_qlora_without_bitsandbytes_says_what_to_install(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    fault = refused(tiny_base, quantization=QloraMethod())
    assert (fault.code, fault.exit_code) == ("env-extra", 5)
    assert 'pip install "luthier[qlora]"' in fault.fix


@pytest.mark.parametrize(
    "fault",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError()],
)
def test_memory_that_runs_out_is_an_environment_fault(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(EnvironmentFault) as caught:
        loaded(tiny_base)
    assert caught.value.code == "env-memory"


def test_another_runtime_error_stays_our_own(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        loaded(tiny_base)


def scratch(method: ScratchMethod, seed: int) -> PreTrainedModel:
    return build_scratch(method, make_tiny_tokenizer(), device=CPU, attention="sdpa", seed=seed)


@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
def test_a_new_model_is_as_its_method_says_and_depends_on_the_seed_alone(model_type: Any) -> None:
    method = ScratchMethod(
        model_type=model_type, hidden_size=32, layers=2, intermediate_size=48, context_tokens=64
    )
    torch.manual_seed(5)
    first = scratch(method, 1)
    state = torch.get_rng_state()
    again = scratch(method, 1)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's random numbers move"
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert tensor.dtype == torch.float32
    assert not torch.equal(first.model.layers[0].mlp.up_proj.weight, scratch(method, 2).model.layers[0].mlp.up_proj.weight)  # fmt: skip
    config = first.config
    assert (config.model_type, config.vocab_size, config.num_hidden_layers) == (model_type, 300, 2)
    assert first.lm_head.weight is first.model.embed_tokens.weight


def test_what_is_neither_adapter_nor_model_is_told_apart(tmp_path: Path, tiny_base: Path) -> None:
    def code_of(folder: Path, base: Path | None) -> str:
        with pytest.raises(ModelError) as caught:
            load_trained(folder, base_folder=base, dtype=torch.float32, device=CPU, attention="sdpa")
        return caught.value.code

    assert code_of(tmp_path, tiny_base) == "adp-missing"
    (tmp_path / "adapter_config.json").write_text("{}")
    assert code_of(tmp_path, None) == "adp-base"
    assert code_of(tmp_path, tiny_base) == "adp-config"


def test_the_size_of_a_model_is_said_in_units(tiny_base: Path) -> None:
    assert load.describe_size(loaded(tiny_base)) == "365.2 KiB"
