"""Model folders from elsewhere: a sound one gives its facts, each hostile or broken one its own fault, and nothing is loaded for it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.floor.errors import ModelError
from luthier.knowledge.model_folder import check_model_folder, find_model

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, to damage."""
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


def set_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def shard(folder: Path, place: Any = "a.safetensors") -> None:
    """Rename the weights to a shard and let the index place one tensor at `place`, the others in the shard."""
    names = [tensor.name for tensor in check_model_folder(folder).tensors]
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    weight_map = dict.fromkeys(names, "a.safetensors") | {names[0]: place}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def refused(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        check_model_folder(folder)
    assert len(caught.value.render()) < 4000, "a message is for reading"
    return caught.value


def test_a_sound_folder_tells_its_facts(tiny_base: Path, tiny_llama: Path) -> None:
    facts = check_model_folder(tiny_base)
    assert (facts.model_type, facts.dtype, facts.is_tied) == ("qwen2", "float32", True)
    assert facts.parameters == sum(tensor.numbers for tensor in facts.tensors) == 93_504
    assert not any("lm_head" in tensor.name for tensor in facts.tensors)
    llama = check_model_folder(tiny_llama)
    assert (llama.model_type, llama.is_tied) == ("llama", False)
    assert llama.fingerprint != facts.fingerprint


def test_shards_are_judged_as_one_model(folder: Path) -> None:
    whole = check_model_folder(folder)
    shard(folder)
    assert check_model_folder(folder).tensors == whole.tensors


def test_a_copy_has_the_fingerprint_of_its_original_until_a_number_or_setting_changes(
    tiny_base: Path, folder: Path
) -> None:
    original = check_model_folder(tiny_base).fingerprint
    set_config(folder, transformers_version="0", _name_or_path="elsewhere", use_cache=False)
    assert check_model_folder(folder).fingerprint == original
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    changed = check_model_folder(folder).fingerprint
    assert changed != original
    set_config(folder, rms_norm_eps=1e-3)
    assert check_model_folder(folder).fingerprint not in (original, changed)


BAD_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("mdl-code", {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}),
    ("mdl-code", {"text_config": {"auto_map": {"AutoConfig": "evil.Evil"}}}),
    ("mdl-code", {"attn_implementation": "evil/kernel"}),
    ("mdl-code", {"_attn_implementation": "evil/kernel"}),
    ("mdl-code", {"_attn_implementation_internal": "evil/kernel"}),
    ("mdl-code", {"attn_implementation": {"": "evil/kernel"}}),
    ("mdl-code", {"attn_implementation": ["sdpa"]}),
    ("mdl-code", {"experts_implementation": "evil/kernel"}),
    ("mdl-path", {"transformers_weights": "../outside.safetensors"}),
    ("mdl-path", {"transformers_weights": "other.safetensors"}),
    ("mdl-size", {"num_hidden_layers": 10**9}),
    ("mdl-size", {"num_hidden_layers": 100}),
    ("mdl-size", {"n_layer": 10**9}),
    ("mdl-size", {"vocab_size": 10**9}),
    ("mdl-size", {"vocab_size": 100_000}),
    ("mdl-size", {"num_labels": 10**9}),
    ("mdl-size", {"max_position_embeddings": 10**12}),
    ("mdl-config", {"hidden_size": 0}),
    ("mdl-config", {"hidden_size": -32}),
    ("mdl-config", {"hidden_size": "32"}),
    ("mdl-config", {"hidden_size": 63}),
    ("mdl-config", {"num_attention_heads": 0}),
    ("mdl-config", {"num_attention_heads": True}),
    ("mdl-config", {"num_key_value_heads": 3}),
    ("mdl-config", {"max_position_embeddings": 0}),
    ("mdl-config", {"rope_theta": float("nan")}),
    ("mdl-config", {"rope_theta": -1}),
    ("mdl-config", {"rope_theta": 10**400}),
    ("mdl-config", {"rope_parameters": {"factor": float("inf")}}),
    ("mdl-config", {"dtype": "float31"}),
    ("mdl-config", {"dtype": {"a": 1}}),
    ("mdl-config", {"quantization_config": {"quant_method": "nosuch"}}),
    ("mdl-config", {"model_type": ""}),
    ("mdl-config", {"model_type": ["qwen2"]}),
]


@pytest.mark.parametrize(("code", "values"), BAD_CONFIGS, ids=[f"{c} {v}"[:60] for c, v in BAD_CONFIGS])
def test_a_hostile_or_impossible_setting_is_refused_with_its_key(
    folder: Path, code: str, values: dict[str, Any]
) -> None:
    set_config(folder, **values)
    fault = refused(folder)
    assert fault.code == code
    key = next(iter(next(iter(values.values())) if "text_config" in values else values))
    assert key.removesuffix("_parameters").removesuffix("ization_config") in fault.render()


def test_a_configuration_nested_without_end_is_refused(folder: Path) -> None:
    nested: dict[str, Any] = {}
    for _ in range(60):
        nested = {"a": nested}
    set_config(folder, extra=nested)
    assert refused(folder).code == "mdl-config"


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:50])


def link_config(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "config.json")
    (folder / "config.json").symlink_to(folder.parent / "config.json")


def link_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside.safetensors")


def link_shard(folder: Path) -> None:
    shard(folder)
    (folder / "a.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "a.safetensors").symlink_to(folder.parent / "outside.safetensors")


def link_index(folder: Path) -> None:
    shard(folder)
    (folder / INDEX).rename(folder.parent / INDEX)
    (folder / INDEX).symlink_to(folder.parent / INDEX)


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 988097824\n")


def adapter_inside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')


def two_shards_with_one_tensor(folder: Path) -> None:
    first = check_model_folder(folder).tensors[0].name
    shard(folder)
    shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][first] = "b.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def nothing_in_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lose_config, "mdl-config"),
        (cut_config, "mdl-config"),
        (link_config, "mdl-path"),
        (link_weights, "mdl-path"),
        (link_shard, "mdl-path"),
        (link_index, "mdl-path"),
        (pickle_only, "mdl-pickle"),
        (lose_weights, "mdl-weights"),
        (cut_weights, "mdl-weights"),
        (pointer, "mdl-lfs"),
        (adapter_inside, "mdl-config"),
        (two_shards_with_one_tensor, "mdl-weights"),
        (nothing_in_the_weights, "mdl-weights"),
        (shutil.rmtree, "mdl-missing"),
    ],
)
def test_a_damaged_folder_has_its_own_fault_and_says_what_to_do(
    folder: Path, damage: Callable[[Path], None], code: str
) -> None:
    damage(folder)
    fault = refused(folder)
    assert fault.code == code
    assert fault.fix
    assert str(folder) in fault.render()


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("../outside.safetensors", "mdl-path"),
        ("/etc/outside.safetensors", "mdl-path"),
        ("sub/a.safetensors", "mdl-path"),
        ("..\\a.safetensors", "mdl-path"),
        ("pytorch_model.bin", "mdl-path"),
        ("x" * 5000 + ".safetensors", "mdl-path"),
        ("a\0.safetensors", "mdl-path"),
        (["a.safetensors"], "mdl-path"),
        (None, "mdl-path"),
        ("b.safetensors", "mdl-weights"),
    ],
)
def test_an_index_names_only_files_that_lie_beside_it(folder: Path, place: Any, code: str) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    shard(folder, place)
    assert refused(folder).code == code


def test_an_index_that_places_a_tensor_in_a_file_without_it_is_refused(folder: Path) -> None:
    shard(folder)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.more.weight"] = "a.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    fault = refused(folder)
    assert fault.code == "mdl-weights"
    assert fault.problems == ("model.more.weight is not in a.safetensors",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_an_index_without_a_map_is_refused(folder: Path, text: str) -> None:
    shard(folder)
    (folder / INDEX).write_text(text)
    assert refused(folder).code == "mdl-weights"


def test_a_refused_pickle_says_why(folder: Path) -> None:
    pickle_only(folder)
    fault = refused(folder)
    assert "pytorch_model.bin" in fault.what
    assert "runs whatever code is in it" in fault.why


def test_safetensors_beside_a_pickle_are_taken_and_the_pickle_is_left_alone(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert [path.name for path in check_model_folder(folder).weight_files] == ["model.safetensors"]


def test_a_folder_of_another_kind_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "GGUF" in refused(tmp_path).why
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "adapter" in refused(tmp_path).why


@pytest.mark.parametrize(
    "name",
    [
        "../nowhere",
        "no such model",
        "http://elsewhere/model",
        "file:///etc",
        "a/../b",
        "Qwen/Qw\u0435n",
        "a\0b",
        "~nobody-by-this-name/model",
        "x" * 5000,
    ],
)
def test_a_name_that_is_no_folder_and_no_hub_id_is_missing_and_nothing_is_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert caught.value.code == "mdl-missing"
    assert len(caught.value.render()) < 1000


def test_a_misspelt_folder_is_told_its_neighbour(folder: Path) -> None:
    with pytest.raises(ModelError, match="did you mean") as caught:
        find_model(str(folder.parent / "modle"))
    assert str(folder) in caught.value.what


def test_a_file_is_told_to_name_its_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file") as caught:
        find_model(str(folder / "config.json"))
    assert str(folder) in caught.value.fix


@pytest.mark.parametrize("revision", ["../../x", "", "a b", "-x"])
def test_a_revision_that_is_none_is_refused(revision: str) -> None:
    with pytest.raises(ModelError, match="no commit, tag or branch") as caught:
        find_model("somebody/model", revision)
    assert caught.value.code == "mdl-missing"


def test_a_hub_model_without_a_network_says_how_to_fetch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        find_model("somebody/no-such-model")
    assert caught.value.code == "mdl-offline"
    assert "hf download somebody/no-such-model" in caught.value.fix


def test_a_folder_is_judged_without_torch_or_transformers(tiny_base: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from luthier.knowledge.model_folder import check_model_folder;"
        f"check_model_folder(Path({str(tiny_base)!r})); print({{'torch', 'transformers'}} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
