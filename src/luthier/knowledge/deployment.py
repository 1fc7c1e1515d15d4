"""Where a model may run, for whom, and by which program: the guide's decision matrix (section 16) as data, and what changed since.

Facts and choices, no arithmetic; deployment_advice.py puts a person's own model, traffic and machine beside them.
"""

from dataclasses import dataclass
from typing import Literal

Situation = Literal["local", "team", "production", "edge", "serverless"]
Form = Literal["gguf", "folder"]


@dataclass(frozen=True)
class Way:
    """A program, or a pair of them, that answers with a model."""

    key: str
    name: str
    form: Form
    """What it reads: a GGUF file, or a folder of safetensors in 16 bits."""
    most_at_once: int
    """Answers that it makes side by side where memory allows."""
    why: str
    needs_gpu: bool = False
    """It is of use with a GPU alone."""
    runs_here: bool = True
    """False where another's machine is rented."""


# Answers at once: Ollama's OLLAMA_NUM_PARALLEL is for a few (docs/faq.mdx); llama-server's slots are set by -np, and share one batch of 8
# by custom; vLLM's max_num_seqs is 256 by default (docs.vllm.ai, engine arguments); Luthier's own loop joins rows as they come.
WAYS: dict[str, Way] = {
    way.key: way
    for way in (
        Way("ollama", "Ollama", "gguf", 4, "one command to install, runs on a laptop, answers one to four at once"),
        Way("webui", "Ollama + Open WebUI", "gguf", 4, "accounts and histories in the browser, nothing leaves the house"),
        Way("llama.cpp", "llama.cpp (llama-server)", "gguf", 8, "one small program without Python, made for CPUs, phones and small GPUs"),
        Way("luthier", "luthier serve", "folder", 32, "API keys with limits, content filter and audit log are built in; adapters over one base by name"),
        Way("vllm", "vLLM", "folder", 256, "continuous batching and a paged cache: the most tokens a second of a GPU", needs_gpu=True),
        Way("serverless", "Modal, Replicate, RunPod or Baseten", "folder", 32, "paid by use, and nothing while nobody asks; the first answer after a pause waits for the model to load", runs_here=False),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """A row of the matrix: the situation, and the ways in the order in which they suit it."""

    name: str
    picks: tuple[str, ...]
    """The guide's recommendation first; the others are this project's order."""
    why: str


SCENARIOS: dict[Situation, Scenario] = {
    "local": Scenario("one person, to try and to test", ("ollama", "llama.cpp", "luthier", "vllm"), "easy to set up, and a laptop does"),
    "team": Scenario("a team's or a company's chat", ("webui", "luthier", "vllm", "llama.cpp"), "hosted in the house, for several people, private"),
    "production": Scenario("production under load", ("vllm", "luthier", "llama.cpp", "webui"), "throughput, by batching"),
    "edge": Scenario("a small machine, a phone, a device", ("llama.cpp", "ollama"), "few dependencies, and a CPU does"),
    "serverless": Scenario("seldom asked, nothing to pay in between", ("serverless", "llama.cpp", "ollama"), "paid by use"),
}  # fmt: skip

# From how much traffic on a situation is another: choices, not measurements.
PRODUCTION_FROM_AT_ONCE = 16
TEAM_FROM_AT_ONCE = 2
EDGE_BELOW_BYTES = 8 * 2**30
SECONDS_BETWEEN_QUESTIONS = 120.0
"""Of one of `--users` people who are at it at the same time."""
READING_TOKENS_PER_SECOND = 10.0
"""Nobody reads faster: about 400 English words a minute."""


@dataclass(frozen=True)
class Change:
    """What the guide says and is no longer so."""

    what: str
    then: str
    source: str


CHANGES = (
    Change(
        "Text Generation Inference (TGI), which the guide names beside vLLM, is no longer developed: in maintenance mode since "
        "2025-12-11, its repository archived since 2026-03-21",
        "vLLM takes its place here; SGLang is the other choice",
        "github.com/huggingface/text-generation-inference",
    ),
    Change(
        "Ollama's context is no longer 2,048 tokens for everybody: 4,096 below 24 GiB of GPU memory, more above",
        "the Modelfile of `luthier export ollama` says num_ctx itself",
        "github.com/ollama/ollama, docs/context-length.mdx",
    ),
)
