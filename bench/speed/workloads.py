"""The rows of the table: what is trained or answered, by whom, with which settings, and what is to be reached.

A contender's settings are the best that were found for it on one H200 (batch, packing, checkpointing); they are recorded with its result.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

GIB = 2**30
LONGEST_TOKENS = 1024
GUIDE_TOKENS = 512
"""What the guide cuts rows at, and pads them to."""

Kind = Literal["train", "first_step", "generate"]


@dataclass(frozen=True)
class Contender:
    """One way to do a row's work."""

    name: str
    library: str
    """Which of PEERS in contend.py runs it."""
    settings: dict[str, Any] = field(default_factory=dict)
    missing: str = ""
    """Why it cannot run yet, whatever is installed."""


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    title: str
    shape: str
    """A name of luthier.knowledge.shapes, or `embedded`."""
    contenders: tuple[Contender, ...]
    kind: Kind = "train"
    method: str = "lora"
    rank: int = 64
    alpha: int = 128
    longest: int = LONGEST_TOKENS
    row_tokens: int = 0
    """Every row has so many tokens; 0 draws lengths."""
    data: str = "drawn"
    lr: float = 1e-4
    steps: int = 20
    warmup: int = 5
    reach: str = ""
    aim: str = ""
    reach_rate: float | None = None
    """Tokens a second that the first column of the aims asks for."""
    reach_ratio: float | None = None
    """Times the best peer."""
    most_gib: float | None = None
    least_gpu_gib: float = 0.0
    """Memory of the smallest GPU on which it is worth trying; 0 runs on a CPU."""
    prompts: int = 0
    new_tokens: int = 0
    threads: int = 0

    def contender(self, name: str) -> Contender:
        """Raises KeyError with what there is."""
        found = {each.name: each for each in self.contenders}
        if name not in found:
            raise KeyError(f"{self.name} has no contender {name}: {', '.join(found)}")
        return found[name]

    def facts(self) -> dict[str, Any]:
        """For a process of its own."""
        return {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name != "contenders"
        }


def luthier(missing: str = "", **settings: Any) -> Contender:
    """Settings are those of a recipe, with dots."""
    return Contender("luthier", "luthier", settings, missing)


def packs(tokens: int) -> dict[str, Any]:
    """One pack a step, its layers compiled: a training is long enough to earn that back, the timed piece of one is not."""
    return {"train.tokens_per_step": tokens, "train.pack_tokens": tokens, "train.compile": "on"}


CHECKPOINTS = {"train.gradient_checkpointing": True}


def peer(name: str, library: str, batch: int, accumulate: int = 1, **settings: Any) -> Contender:
    """`pack` is the length of a pack; without it rows are padded, to `pad_to` or the longest of a batch."""
    return Contender(name, library, {"batch": batch, "accumulate": accumulate, **settings})


def guide() -> Contender:
    """The guide's recipe: 4 rows a batch, 2 batches a step, every row padded to 512."""
    return peer("hf_guide", "hf_trainer", 4, 2, pad_to=GUIDE_TOKENS)


WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload(
            "qwen0.5b-lora-32k", "Qwen2.5-0.5B, LoRA r=64, packs of up to 32k", "qwen2.5-0.5b",
            (
                luthier(**packs(32768)),
                guide(),
                peer("hf_trainer", "hf_trainer", 16, 2),
                peer("trl_packed", "trl", 8, pack=2048),
                peer("trl_liger", "trl", 8, pack=2048, liger=True),
                peer("unsloth", "unsloth", 32),
                peer("unsloth_packed", "unsloth", 16, pack=2048),
            ),
            reach="180k", aim="220k", reach_rate=180e3, least_gpu_gib=60,
        ),
        Workload(
            "qwen0.5b-lora-guide-step", "the same at the guide's own step (8 rows)", "qwen2.5-0.5b",
            (
                luthier(**{"train.batch_size": 4, "train.gradient_accumulation_steps": 2, "train.compile": "on"}),
                guide(),
                peer("hf_trainer", "hf_trainer", 4, 2),
                peer("trl_liger", "trl", 1, pack=2048, liger=True),
                peer("unsloth_packed", "unsloth", 1, pack=2048),
            ),
            longest=GUIDE_TOKENS, steps=60, warmup=10,
            reach="45k", aim="90k", reach_rate=45e3, least_gpu_gib=16,
        ),
        Workload(
            "llama1b-lora", "Llama-3.2-1B, LoRA r=64", "llama-3.2-1b",
            (
                luthier(**packs(16384)),
                guide(),
                peer("trl_liger", "trl", 8, pack=2048, liger=True),
                peer("unsloth_packed", "unsloth", 16, pack=2048),
            ),
            reach="3 times the best", aim="60 % of the limit", reach_ratio=3.0, least_gpu_gib=60,
        ),
        Workload(
            "llama8b-lora", "Llama-3.1-8B, LoRA r=64, no checkpointing", "llama-3.1-8b",
            (
                luthier(**packs(8192)),
                guide(),
                peer("trl_liger", "trl", 4, pack=2048, liger=True),
                peer("unsloth_packed", "unsloth", 4, pack=2048),
            ),
            reach="17k in 49 GiB", aim="19k", reach_rate=17e3, most_gib=49, least_gpu_gib=75,
        ),
        Workload(
            "llama8b-lora-20gib", "the same within 20 GiB", "llama-3.1-8b",
            (
                luthier(**packs(8192), **CHECKPOINTS),
                peer("trl_liger_checkpointing", "trl", 4, pack=2048, liger=True, checkpointing=True),
                peer("unsloth_checkpointing", "unsloth", 4, pack=2048, checkpointing=True),
            ),
            reach="9k", aim="11k", reach_rate=9e3, most_gib=20, least_gpu_gib=24,
        ),
        Workload(
            "llama8b-lora-fp8", "the same, FP8 products of the base", "llama-3.1-8b",
            (luthier("there is no setting for FP8 products of a frozen base yet", **packs(8192)),),
            reach="22k", aim="27k", reach_rate=22e3, least_gpu_gib=75,
        ),
        Workload(
            "llama8b-qlora-10gib", "Llama-3.1-8B, QLoRA NF4, within 10 GiB", "llama-3.1-8b",
            (
                luthier(**packs(8192), **CHECKPOINTS),
                peer("unsloth_qlora", "unsloth", 4, pack=2048, checkpointing=True),
            ),
            method="qlora", reach="9k", aim="12k", reach_rate=9e3, most_gib=10, least_gpu_gib=16,
        ),
        Workload(
            "qwen0.5b-full", "Qwen2.5-0.5B, full fine-tuning", "qwen2.5-0.5b",
            (
                luthier(**packs(32768)),
                peer("hf_trainer", "hf_trainer", 16, 2),
                peer("trl_liger", "trl", 8, pack=2048, liger=True),
                peer("unsloth_packed", "unsloth", 16, pack=2048),
            ),
            method="full", lr=1e-5, reach="2.5 times the best", aim="55 % of the limit", reach_ratio=2.5, least_gpu_gib=60,
        ),
        Workload(
            "llama8b-32k-context", "sequences of 32k tokens, 8B LoRA", "llama-3.1-8b",
            (
                luthier(**packs(32768), **CHECKPOINTS),
                peer("trl_liger_checkpointing", "trl", 1, pack=32768, liger=True, checkpointing=True),
                peer("unsloth_checkpointing", "unsloth", 1, pack=32768, checkpointing=True),
            ),
            longest=32768, row_tokens=32768, steps=6, warmup=2,
            reach="fits in 80 GiB", aim="128k fit", most_gib=80, least_gpu_gib=75,
        ),
        Workload(
            "llama8b-128k-context", "sequences of 128k tokens, 8B LoRA", "llama-3.1-8b",
            (
                luthier(**packs(131072), **CHECKPOINTS),
                peer("unsloth_checkpointing", "unsloth", 1, pack=131072, checkpointing=True),
            ),
            longest=131072, row_tokens=131072, steps=3, warmup=1,
            reach="", aim="fits in 80 GiB", most_gib=80, least_gpu_gib=75,
        ),
        Workload(
            "qwen0.5b-generate", "generation, Qwen2.5-0.5B, 128 prompts, 64 new tokens each", "qwen2.5-0.5b",
            (
                luthier(),
                Contender("generate_one_by_one", "generate", {"way": "one", "most_prompts": 4}),
                Contender("generate_128", "generate", {"way": "padded"}),
                Contender("continuous_batching", "generate", {"way": "continuous"}),
            ),
            kind="generate", prompts=128, new_tokens=64, reach="12k", aim="25k", reach_rate=12e3, least_gpu_gib=16,
        ),
        Workload(
            "qwen0.5b-first-step", "first optimizer step after the start, Qwen2.5-0.5B", "qwen2.5-0.5b",
            (
                luthier(**packs(32768)),
                peer("hf_trainer", "hf_trainer", 16, 2),
                peer("trl_liger", "trl", 8, pack=2048, liger=True),
                peer("unsloth_packed", "unsloth", 16, pack=2048),
            ),
            kind="first_step", steps=2, warmup=1, reach="12 s warm, 45 s cold", aim="6 s, 25 s", least_gpu_gib=60,
        ),
        Workload(
            "demo-cpu", "the demo on two threads of a CPU, fp32, LoRA r=32, 8 rows a step", "embedded",
            (
                luthier(**{"train.batch_size": 8, "train.gradient_accumulation_steps": 1}),
                peer("hf_trainer", "hf_trainer", 8),
                peer("trl", "trl", 8),
                peer("trl_padding_free", "trl", 8, padding_free=True),
            ),
            rank=32, alpha=64, longest=256, data="demo", lr=3e-3, steps=40, warmup=10, threads=2,
            reach="1.5 times the best", reach_ratio=1.5,
        ),
        Workload(
            "tiny", "a model of a few million parameters: whether the bench itself works", "tiny",
            (
                luthier(**{"train.batch_size": 4, "train.gradient_accumulation_steps": 1}),
                peer("hf_trainer", "hf_trainer", 4),
                peer("hf_padded", "hf_trainer", 2, 2, pad_to=256),
                peer("trl_packed", "trl", 1, pack=512),
                peer("trl_liger", "trl", 1, pack=512, liger=True),
                peer("unsloth_packed", "unsloth", 1, pack=512),
            ),
            rank=8, alpha=16, longest=256, steps=6, warmup=2, threads=1,
        ),
        Workload(
            "tiny-generate", "the same of generation", "tiny",
            (
                luthier(),
                Contender("generate_one_by_one", "generate", {"way": "one", "most_prompts": 2}),
                Contender("generate_padded", "generate", {"way": "padded"}),
                Contender("continuous_batching", "generate", {"way": "continuous"}),
            ),
            kind="generate", prompts=4, new_tokens=4, threads=1,
        ),
    )
}  # fmt: skip
# Rows that show that the bench works and say nothing about a machine.
NOT_SHOWN = ("tiny", "tiny-generate")
