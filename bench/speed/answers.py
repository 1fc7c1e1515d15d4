"""The peers that answer: Transformers' `generate`, one prompt at a time or padded on the left, and its continuous batching."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed.material import IGNORED, read_rows
from speed.outcome import Refusal
from speed.trainers import PAD_ID, load_model

WARM_PROMPTS = 8


def generate(task: dict[str, Any]) -> dict[str, Any]:
    """New tokens a second of all prompts, every answer of the full length, greedy."""
    import torch

    workload, settings = task["workload"], task["settings"]
    if workload["threads"]:
        torch.set_num_threads(workload["threads"])
    model = load_model(task).eval()
    prompts = [
        [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED]
        for row in read_rows(Path(task["rows"]))
    ][: settings.get("most_prompts")]
    new_tokens = workload["new_tokens"]
    answer = WAYS[settings["way"]](model, new_tokens)
    answer(prompts[:WARM_PROMPTS])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    made = answer(prompts)
    seconds = time.perf_counter() - started
    if made != len(prompts) * new_tokens:
        raise Refusal("failed", f"{made} new tokens instead of {len(prompts)} x {new_tokens}")
    return {
        "tokens_per_second": made / seconds,
        "tokens": made,
        "seconds": seconds,
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


Answer = Callable[[list[list[int]]], int]


def padded_batch(model: Any, new_tokens: int) -> Answer:
    """All prompts at once, padded on the left."""
    import torch

    def answer(prompts: list[list[int]]) -> int:
        width = max(map(len, prompts))
        ids = torch.tensor([[PAD_ID] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=PAD_ID,
        )
        # Read it: what a GPU has not done yet is not an answer.
        return int(out[:, width:].cpu().numel())

    return answer


def one_by_one(model: Any, new_tokens: int) -> Answer:
    """One prompt at a time, as the guide's evaluator asks."""
    single = padded_batch(model, new_tokens)
    return lambda prompts: sum(single([prompt]) for prompt in prompts)


def continuous(model: Any, new_tokens: int) -> Answer:
    """Transformers' continuous batching over paged memory."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=PAD_ID
    )
    model.set_attn_implementation("paged|sdpa")

    def answer(prompts: list[list[int]]) -> int:
        done = model.generate_batch(inputs=prompts, generation_config=settings)
        return sum(len(one.generated_tokens) for one in done.values())

    return answer


WAYS: dict[str, Callable[[Any, int], Answer]] = {
    "one": one_by_one,
    "padded": padded_batch,
    "continuous": continuous,
}
