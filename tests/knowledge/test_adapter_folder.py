"""Adapter folders from elsewhere: only what Luthier applies as it was trained passes, judged before PEFT or torch sees it."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import ModelError
from luthier.knowledge.adapter_folder import check_adapter_folder, is_adapter

SOUND = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "lora_dropout": 0.05, "target_modules": ["q_proj"]}


def make_adapter(folder: Path, origin: Any = None, **values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(SOUND | values))
    entry = {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}
    header = json.dumps({"layers.0.q_proj.lora_A.weight": entry}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 32)
    if origin is not None:
        (folder / "luthier.json").write_text(json.dumps(origin))
    return folder


def refused(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        check_adapter_folder(folder)
    assert len(caught.value.render()) < 2000, "a message is for reading"
    return caught.value


def test_a_sound_adapter_tells_its_facts(tmp_path: Path) -> None:
    origin = {"base": {"name": "somewhere", "fingerprint": "0123"}}
    folder = make_adapter(tmp_path / "adapter", origin, base_model_name_or_path="somewhere")
    assert is_adapter(folder)
    facts = check_adapter_folder(folder)
    assert facts.settings == {key: value for key, value in SOUND.items() if key != "peft_type"}
    assert (facts.base_fingerprint, facts.base_name) == ("0123", "somewhere")
    assert [tensor.shape for tensor in facts.tensors] == [(4, 2)]


def test_an_adapter_of_another_tool_has_no_fingerprint(tmp_path: Path) -> None:
    assert check_adapter_folder(make_adapter(tmp_path / "adapter")).base_fingerprint is None


@pytest.mark.parametrize(
    "values",
    [
        {"r": 0},
        {"r": -1},
        {"r": "4"},
        {"r": 10**9},
        {"r": True},
        {"r": None},
        {"r": 4.0},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": 1e308},
        {"lora_alpha": 10**400},
        {"lora_alpha": 0},
        {"lora_alpha": "8"},
        {"lora_alpha": None},
        {"lora_dropout": "x"},
        {"lora_dropout": 5},
        {"lora_dropout": float("nan")},
        {"rank_pattern": {".*": 10**9}},
        {"rank_pattern": {"q_proj": 10**9}},
        {"rank_pattern": [4]},
        {"alpha_pattern": {"q_proj": float("nan")}},
        {"target_modules": "(a+)+$"},
        {"target_modules": ["(a+)+$"]},
        {"target_modules": None},
        {"target_modules": [5]},
        {"modules_to_save": "lm_head"},
        {"modules_to_save": {"lm_head": 1}},
        {"peft_type": "NOPE"},
        {"peft_type": ["LORA"]},
        {"peft_type": None},
        {"bias": "all"},
        {"fan_in_fan_out": True},
        {"use_dora": "yes"},
        {"use_rslora": None},
        {"auto_mapping": {"parent_library": "evilmod"}},
        {"layer_replication": [[0, 2]]},
        {"exclude_modules": ["q_proj"]},
        {"trainable_token_indices": [1]},
        {"a_key_of_the_future": 1},
    ],
    ids=str,
)
def test_a_setting_out_of_bounds_or_unknown_is_refused_with_its_key(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    fault = refused(make_adapter(tmp_path / "adapter", **values))
    assert fault.code == "adp-config"
    assert next(iter(values)) in fault.what


def test_a_module_named_by_the_configuration_is_never_handed_on(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter", megatron_core="evilmod", revision="../../x")
    (folder / "evilmod.py").write_text("raise SystemExit('imported')")
    assert "megatron_core" not in check_adapter_folder(folder).settings
    assert "revision" not in check_adapter_folder(folder).settings


@pytest.mark.parametrize("origin", [{"base": 5}, {"base": None}, {}, {"base": ["fingerprint"]}])
def test_a_broken_note_of_the_base_is_refused(tmp_path: Path, origin: Any) -> None:
    assert refused(make_adapter(tmp_path / "adapter", origin)).code == "adp-config"


def test_a_rank_that_is_not_the_weights_is_refused_before_layers_of_it_are_made(tmp_path: Path) -> None:
    fault = refused(make_adapter(tmp_path / "adapter", r=8192))
    assert fault.code == "adp-weights"
    assert "rank 4" in fault.what
    check_adapter_folder(make_adapter(tmp_path / "patterned", r=8192, rank_pattern={"q_proj": 4}))


def test_missing_pickled_and_linked_weights_have_their_own_faults(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    weights.rename(tmp_path / "outside")
    assert refused(folder).code == "adp-weights"
    weights.symlink_to(tmp_path / "outside")
    assert refused(folder).code == "mdl-path"
    weights.unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x02.")
    fault = refused(folder)
    assert fault.code == "mdl-pickle"
    assert "runs whatever code" in fault.why


def test_a_folder_without_configuration_or_no_folder_at_all_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "adp-config"
    assert refused(tmp_path / "nowhere").code == "adp-missing"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file").code == "adp-missing"
    assert not is_adapter(tmp_path)


def test_a_configuration_of_50_mb_is_refused_unread(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter")
    with open(folder / "adapter_config.json", "ab") as file:
        file.truncate(50 * 2**20)
    assert refused(folder).code == "adp-config"


JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["q_proj", 10**400]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=1000, max_examples=200)
@given(
    values=st.dictionaries(st.sampled_from([*SOUND, "rank_pattern", "use_dora", "bias"]), JUNK, max_size=2),
    origin=JUNK,
)
def test_whatever_an_adapter_says_it_is_judged_and_never_trips_the_judge(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], origin: Any
) -> None:
    folder = make_adapter(tmp_path_factory.getbasetemp() / "fuzzed", {"base": origin}, **values)
    try:
        facts = check_adapter_folder(folder)
    except ModelError:
        return
    assert facts.settings["target_modules"] is not None
