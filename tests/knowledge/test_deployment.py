"""Memory and rates of served models against figures that are known, and the ranking's reasons."""

import pytest

from luthier.knowledge.deployment import SCENARIOS, WAYS
from luthier.knowledge.deployment_advice import (
    gpus_that_do,
    machine_of_gpu,
    rank,
    situation_of,
)
from luthier.knowledge.hardware import find_gpu
from luthier.knowledge.serving_memory import FOLDER, Machine, ServedModel, Traffic, load_of

GIB = 2**30
# config.json of meta-llama/Llama-3.1-8B, whose card says 8.03 billion weights.
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
CPU = Machine("a CPU", 16 * GIB, 50e9, None, is_gpu=False)


def model(**changed: object) -> ServedModel:
    found = ServedModel.of({**LLAMA_8B, **changed}, name="m")
    assert found is not None
    return found


def machine(name: str, *, count: int = 1) -> Machine:
    facts = find_gpu(name)
    assert facts is not None
    return machine_of_gpu(facts, count=count)


def test_the_matrix_is_the_guides() -> None:
    """Section 16: what it recommends for each scenario; TGI, which it names beside vLLM, is archived."""
    firsts = {situation: WAYS[scenario.picks[0]].name for situation, scenario in SCENARIOS.items()}
    assert firsts == {
        "local": "Ollama",
        "team": "Ollama + Open WebUI",
        "production": "vLLM",
        "edge": "llama.cpp (llama-server)",
        "serverless": "Modal, Replicate, RunPod or Baseten",
    }
    assert all(key in WAYS for scenario in SCENARIOS.values() for key in scenario.picks)


def test_weights_and_cache_are_those_of_the_published_model() -> None:
    llama = model()
    assert llama.parameters == pytest.approx(8.03e9, rel=1e-3)
    # 2 x 32 layers x 1,024 numbers x 2 bytes: the 128 KiB a token that is said of every Llama 3 8B.
    assert llama.cache_bytes_per_token == 128 * 1024
    assert llama.weight_bytes(FOLDER) == 2 * llama.parameters
    assert llama.weight_bytes("Q4_K_M") / GIB == pytest.approx(
        4.58, abs=0.05
    )  # published files have 4.58 GiB
    assert model(num_key_value_heads=32).cache_bytes_per_token == 4 * llama.cache_bytes_per_token
    assert ServedModel.of({"model_type": "mamba"}, name="m") is None


def test_a_file_that_is_there_counts_with_its_own_size() -> None:
    found = ServedModel.of(LLAMA_8B, name="m", file_bytes={"Q5_K_M": 123})
    assert found is not None
    assert (found.weight_bytes("Q5_K_M"), found.weight_bytes("Q8_0")) == (
        123,
        int(found.parameters * 8.5 / 8),
    )


def test_the_bound_of_one_answer_is_the_time_to_read_the_weights() -> None:
    traffic = Traffic(1.0, 512, 256, 1)
    load = load_of(model(), machine("A10G"), traffic, type=FOLDER, most_at_once=256)
    assert load.tokens_per_second_each == pytest.approx(600e9 / (16.06e9 + 768 * 128 * 1024 / 2), rel=1e-2)
    assert load.most_at_once == (machine("A10G").usable_bytes - load.weight_bytes) // (768 * 128 * 1024)
    assert load.tokens_per_second > 40 * load.tokens_per_second_each
    tiny = model(hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=300)
    assert load_of(tiny, CPU, traffic, type=FOLDER, most_at_once=1).tokens_per_second_each == 1000


def names(ranked: object) -> list[tuple[str, bool]]:
    return [(each.way.key, each.does) for each in ranked]  # type: ignore[attr-defined]


def test_what_fits_and_carries_the_load_comes_first_with_reasons() -> None:
    busy = Traffic(3.0, 512, 256, 77)
    ranked = rank(model(), machine("A10G"), busy, situation_of(busy, machine("A10G")))
    assert names(ranked) == [("vllm", True), ("luthier", False), ("llama.cpp", False), ("webui", False)]
    assert ranked[0].is_guides_pick
    assert "the others wait" in ranked[0].reasons[-1]
    assert "too slow: 768 tokens/s" in ranked[1].objections[0]


def test_a_model_too_large_in_16_bits_goes_into_a_smaller_type() -> None:
    few = Traffic(0.04, 512, 256, 2)
    assert situation_of(few, machine("T4")) == "team"
    ranked = rank(model(), machine("T4"), few, "team")
    assert [(each.way.key, each.does, each.load.type) for each in ranked] == [
        ("webui", True, "Q5_K_M"),
        ("llama.cpp", True, "Q5_K_M"),
        ("luthier", False, FOLDER),
        ("vllm", False, FOLDER),
    ]
    assert ranked[-1].objections == ("it does not fit",)
    assert situation_of(Traffic(0.02, 512, 256, 1, people=3), machine("T4")) == "team"
    board = Machine("a board", 6 * GIB, 20e9, None, is_gpu=False)
    alone = Traffic(0.01, 512, 256, 1)
    assert situation_of(alone, board) == "edge"
    assert rank(model(), board, alone, "edge")[0].load.type == "Q4_K_M"


def test_a_family_without_gguf_and_a_machine_without_a_gpu_are_told() -> None:
    alone = Traffic(0.01, 512, 256, 1)
    ranked = rank(
        model(model_type="nemotron"), Machine("a CPU", 64 * GIB, 50e9, None, is_gpu=False), alone, "local"
    )
    assert names(ranked) == [("luthier", True), ("ollama", False), ("llama.cpp", False), ("vllm", False)]
    assert ranked[1].objections == ("Luthier writes no GGUF file of nemotron",)
    assert ranked[-1].objections == ("it is of no use without a GPU",)


def test_gpus_that_would_do_are_named_slowest_first() -> None:
    busy = Traffic(8.0, 512, 256, 205)
    assert not any(each.does for each in rank(model(), machine("A10G"), busy, "production"))
    found = gpus_that_do(model(), busy, "production")
    assert len(found) == 3
    assert "A10G" not in found
    assert rank(model(), machine(found[0]), busy, "production")[0].does
    assert gpus_that_do(model(), Traffic(1e6, 512, 256, 10**7), "production") == []
