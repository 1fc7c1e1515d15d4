"""Every topic's formula against a computation of its own: libraries where one computes the same, plain arithmetic elsewhere."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, get_cosine_schedule_with_warmup
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from luthier.config.compose import load_overrides
from luthier.plan.topics.case import Case
from luthier.plan.topics.find import TOPICS, case_of, example_case, find_topic
from luthier.plan.topics.topic import explain
from luthier.reports.train import TrainReport
from tests.cli.workshop import luthier, make_workshop

# What people look for.
ASKED_FOR = """memory lora qlora nf4 int8 flops mfu attention mha mqa gqa rope rmsnorm swiglu flash-attention packing mask lr-schedule
warmup batch accumulation weight-decay clipping adam dropout checkpointing mixed-precision scaling-laws kaplan chinchilla perplexity
bits-per-byte bleu rouge overfitting ddp fsdp kv-cache gguf"""
LAYERS, WIDTH, KEYS, WIDE, VOCABULARY = 32, 4096, 1024, 14336, 128256
LINEAR = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * WIDE)
EMBEDDINGS = 2 * VOCABULARY * WIDTH
PARAMETERS = 8_030_261_248
# As PEFT counts adapters of rank 64 on all seven projections of Llama-3.1-8B.
TRAINED = 167_772_160


@pytest.fixture(scope="module")
def case() -> Case:
    settings = ["data.path=nowhere.jsonl", "train.most_steps=1000", "train.optimizer.weight_decay=0.01"]
    return example_case(load_overrides(settings, under={"model": {"name": "embedded"}}).recipe)


def lr_in_the_middle() -> float:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=2e-4)
    schedule = get_cosine_schedule_with_warmup(optimizer, 30, 1000)
    for _ in range(500):
        optimizer.step()
        schedule.step()
    return float(schedule.get_last_lr()[0])


def slowest_angle() -> float:
    config = LlamaConfig(hidden_size=WIDTH, num_attention_heads=32, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})  # fmt: skip
    return float(LlamaRotaryEmbedding(config).inv_freq[-1]) * 512


def first_adam_step() -> float:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=2e-4, weight_decay=0)
    weight.grad = torch.full((1,), 0.01, dtype=torch.float64)
    optimizer.step()
    return -float(weight.detach())


def clipped() -> float:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 1.25)  # of length 2.5
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    return float(weight.grad.norm()) / 2.5


def decayed() -> float:
    left = 1.0
    for _ in range(1000):
        left -= left * 2e-4 * 0.01
    return left


def normed() -> float:
    norm = LlamaRMSNorm(4, eps=1e-6).double()
    vector = torch.tensor([3.0, 1.0, math.sqrt(6.0), 0.0], dtype=torch.float64)  # its mean square is 4
    return float(norm(vector)[0])


def scale_of_dropout() -> float:
    torch.manual_seed(0)
    return float(torch.nn.functional.dropout(torch.ones(64, dtype=torch.float64), 0.05).max())


def largest_rounding_error() -> float:
    # The largest error is half a step between two numbers, relative to the smaller; to fp16 from above 1.
    return float(torch.finfo(torch.bfloat16).eps) / 2


EXPECTED: dict[str, Callable[[], float]] = {
    "lora": lambda: TRAINED,
    "qlora": lambda: LINEAR * 4.127 / 8 + EMBEDDINGS * 2,
    "nf4": lambda: 4 + 8 / 64 + 32 / 16384,
    "int8": lambda: LINEAR + EMBEDDINGS * 2,
    "checkpointing": lambda: 2048 * LAYERS * WIDTH * 2,
    "kv-cache": lambda: sum(2 * 8 * 128 * 512 * 2 for _ in range(LAYERS)),
    "flash-attention": lambda: 32 * 512**2 * 2,
    "mixed-precision": largest_rounding_error,
    "ddp": lambda: 2 * 3 / 4 * TRAINED * 4,
    "fsdp": lambda: (PARAMETERS * 2 + TRAINED * 12) / 4,
    "gguf": lambda: PARAMETERS / 32 * 34,
    "flops": lambda: 4 * (LINEAR + VOCABULARY * WIDTH) + 6 * TRAINED + 7 * WIDTH * LAYERS * 256,
    "mfu": lambda: 0.35,
    "attention": lambda: 32 / 8,
    "rope": slowest_angle,
    "rmsnorm": normed,
    "swiglu": lambda: 3 * WIDTH * WIDE,
    "packing": lambda: 0.5,
    "mask": lambda: 0.65,
    "lr-schedule": lr_in_the_middle,
    "warmup": lambda: 2e-4 * 10 / 30,
    "batch": lambda: 8,
    "accumulation": lambda: 1,
    "weight-decay": decayed,
    "clipping": clipped,
    "adam": first_adam_step,
    "dropout": scale_of_dropout,
    "scaling-laws": lambda: 3 * 1e6 / PARAMETERS,
    "perplexity": lambda: float(torch.exp(torch.tensor(1.2, dtype=torch.float64))),
    "bits-per-byte": lambda: math.log2(math.e) * 1.2 / 4,
    "bleu": lambda: (0.8 * 0.6 * 0.45 * 0.35) ** 0.25,
    "rouge": lambda: 1 / ((1 / 0.6 + 1 / 0.75) / 2),
    "overfitting": lambda: 0.2,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_formula_gives_what_another_computation_gives(name: str, case: Case) -> None:
    found = explain(TOPICS[name], case)
    assert found.value == pytest.approx(EXPECTED[name](), rel=1e-5)
    assert all(found.meanings.values())


def test_memory_adds_up_to_the_plans_peak(case: Case) -> None:
    from luthier.plan.memory import memory_of

    peak = memory_of(case.model, case.recipe, case.device)["train"].peak_bytes
    assert explain(TOPICS["memory"], case).value == pytest.approx(peak, abs=20)
    assert set(EXPECTED) | {"memory"} == set(TOPICS)


def test_every_topic_that_people_ask_for_is_there() -> None:
    assert [word for word in ASKED_FOR.split() if find_topic(word) is None] == []
    assert find_topic("KV_cache") is find_topic("kv cache") is TOPICS["kv-cache"]
    names = [name for topic in TOPICS.values() for name in (topic.name, *topic.also)]
    assert len(names) == len(set(names))


def test_a_runs_own_numbers_are_put_in(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    assert luthier(folder, "prepare", "train", "--json").code == 0
    done = luthier(folder, "explain", "mask", "latest", "--json")
    assert done.code == 0, done.err
    report = json.loads((folder / "outputs/runs/latest/data/report.json").read_text())
    assert done.json["value"] == report["train"]["trained_tokens"] / report["train"]["tokens"]
    assert done.json["of"] == "latest"
    monkeypatch.chdir(folder)
    recipe = load_overrides([], under={"model": {"name": str(tiny_base)}}).recipe
    measured = case_of(recipe, "mine", None)
    fields = dict.fromkeys(TrainReport.model_fields, 1)
    trained = TrainReport.model_construct(**{**fields, "validation_loss": 2.0, "final_loss": 1.5})
    with_run = Case(**{**vars(measured), "trained": trained})
    assert explain(TOPICS["perplexity"], with_run).value == pytest.approx(math.exp(2))
    assert explain(TOPICS["overfitting"], with_run).value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lora",), 0, "167,772,160"),
        (("lora", "train"), 0, "of       train"),
        (("topics",), 0, "kv-cache"),
        (("dropout",), 0, "method.dropout"),
        (("lorra",), 2, "did you mean lora?"),
        (("data-json", "train"), 2, "is no topic"),
        (("lora", "nowhere"), 2, "nowhere"),
    ],
)
def test_the_command_explains_or_says_why_not(
    tiny_base: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = luthier(make_workshop(tmp_path / "workshop", tiny_base), "explain", *words)
    assert (done.code, said in done.said) == (code, True), done.said
