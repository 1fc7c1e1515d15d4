"""A written model holds the weights that were merged in the formats asked for, and knows where its answers end."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from luthier.export import room, save
from luthier.export.room import Place, choose_place, free_memory_bytes
from luthier.export.save import (
    BYTES_BESIDE_WEIGHTS,
    DTYPES,
    check_room,
    hash_weights,
    own_dtypes,
    round_weights,
    write_model,
)
from luthier.floor.errors import EnvironmentFault
from luthier.knowledge.model_folder import check_model_folder
from tests.tiny import make_tiny, make_tiny_model, make_tiny_tokenizer

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
MILLION = 1_000_000


def write(model: PreTrainedModel, base: Path, folder: Path, *, stop_ids: tuple[int, ...] = ()) -> None:
    folder.mkdir()
    write_model(model, make_tiny_tokenizer(), folder, base_folder=base, stop_ids=stop_ids)


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_the_written_weights_are_those_in_memory_rounded_once(
    tiny_llama: Path, tmp_path: Path, name: str
) -> None:
    model = make_tiny("llama", tie_embeddings=False)
    exact = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    round_weights(model, default=DTYPES[name], own={})
    hashes = hash_weights(model)
    write(model, tiny_llama, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {DTYPES[name]}
    assert all(torch.equal(written[key], exact[key].to(DTYPES[name])) for key in written)
    assert written.keys() == dict(model.named_parameters()).keys()
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert hash_weights(again) == hashes
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == 300


def test_a_weight_with_a_format_of_its_own_keeps_it(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", dtype=torch.bfloat16)
    own = own_dtypes(check_model_folder(base))
    assert set(own.values()) == {torch.bfloat16}
    name = "model.norm.weight"
    model = make_tiny()
    round_weights(model, default=torch.float32, own={name: own[name]})
    formats = {key: parameter.dtype for key, parameter in model.named_parameters()}
    assert {key for key, dtype in formats.items() if dtype == torch.bfloat16} == {name}


def test_one_changed_number_changes_the_hash_of_its_weight_alone() -> None:
    model = make_tiny()
    before = hash_weights(model)
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6
    after = hash_weights(model)
    assert {name for name in before if before[name] != after[name]} == {"model.norm.weight"}


@pytest.mark.parametrize(
    "known, stops, ends",
    [(7, (), 7), (7, (7,), 7), (7, (7, 9), [7, 9]), ([7, 8], (9,), [7, 8, 9]), (None, (9,), 9)],
)
def test_the_model_ends_at_the_base_s_tokens_and_at_those_it_was_trained_to(
    tmp_path: Path, known: Any, stops: tuple[int, ...], ends: Any
) -> None:
    base = make_tiny_model(tmp_path / "base")
    config = {"eos_token_id": known, "temperature": 0.6, "do_sample": False}
    (base / "generation_config.json").write_text(json.dumps(config))
    write(make_tiny(), base, tmp_path / "out", stop_ids=stops)
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written["eos_token_id"] == ends
    assert written["temperature"] == 0.6
    assert written["pad_token_id"] == make_tiny_tokenizer().pad_token_id


@pytest.mark.parametrize("use_cache", [True, False])
def test_the_cache_is_as_the_base_has_it_and_not_as_training_left_it(tmp_path: Path, use_cache: bool) -> None:
    base = make_tiny_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | {"use_cache": use_cache}
    (base / "config.json").write_text(json.dumps(config))
    model = make_tiny()
    model.config.use_cache = not use_cache
    write(model, base, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["use_cache"] is use_cache


@pytest.mark.parametrize(
    "fault",
    [
        SafetensorError("I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_full_disk_is_told_in_its_own_words(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise fault

    model = make_tiny()
    monkeypatch.setattr(type(model), "save_pretrained", refuse)
    with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
        write(model, tiny_base, tmp_path / "out")
    assert caught.value.code == "env-disk"


def test_room_for_the_weights_and_what_lies_beside_them_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save, "free_bytes", lambda _: MILLION + BYTES_BESIDE_WEIGHTS)
    check_room(tmp_path, weight_bytes=MILLION)
    with pytest.raises(EnvironmentFault) as caught:
        check_room(tmp_path, weight_bytes=MILLION + 1)
    assert (caught.value.code, caught.value.where) == ("env-disk", str(tmp_path))
    assert "33.0 MiB" in caught.value.what


@pytest.mark.parametrize(
    "gpu, cpu, exact, place",
    [
        (9, 9, False, Place(GPU, "fp32")),
        (3, 9, False, Place(GPU, "bf16")),
        (3, 9, True, Place(CPU, "fp32")),
        (1, 9, False, Place(CPU, "fp32")),
        (1, 3, False, Place(CPU, "bf16")),
        (1, 3, True, None),
        (1, 1, False, None),
    ],
)
def test_the_most_exact_place_with_room_is_taken_the_device_first(
    monkeypatch: pytest.MonkeyPatch, gpu: int, cpu: int, exact: bool, place: Place | None
) -> None:
    free = {"cuda": gpu * MILLION, "cpu": cpu * MILLION}
    monkeypatch.setattr(room, "free_memory_bytes", lambda device: free[device.type])
    if place is not None:
        assert choose_place(MILLION, device=GPU, stored="bf16", must_be_exact=exact) == place
        return
    with pytest.raises(EnvironmentFault) as caught:
        choose_place(MILLION, device=GPU, stored="bf16", must_be_exact=exact)
    assert caught.value.code == "env-memory"


def test_free_memory_is_no_more_than_the_machine_has() -> None:
    assert 0 < free_memory_bytes(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
