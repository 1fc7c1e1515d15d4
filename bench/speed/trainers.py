"""The peers that train: Hugging Face's Trainer with PEFT, TRL, TRL with Liger, Unsloth; each as its own documentation uses it.

Tokens are counted by a hook before the model's forward pass, padding left out; the GPU is waited for only where the clock is read.
"""

import time
from pathlib import Path
from typing import Any

from speed.material import IGNORED, read_rows

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PAD_ID = 0


class Meter:
    """Real tokens and the clock, read at the end of the first step, of the warm-up and of the last step."""

    def __init__(self, task: dict[str, Any]) -> None:
        workload = task["workload"]
        self.spawned = task["spawned"]
        self.warmup, self.total = workload["warmup"], workload["warmup"] + workload["steps"]
        self.step, self.tokens, self.first_seconds = 0, 0, 0.0
        self.marks: list[tuple[float, int]] = []
        self.losses: list[float] = []

    def watch(self, model: Any) -> None:
        """Count what goes into the model."""

        def before(_: Any, positional: Any, named: dict[str, Any]) -> None:
            ids = named.get("input_ids", positional[0] if positional else None)
            mask = named.get("attention_mask")
            # The sum stays on the GPU: the host does not wait for it.
            is_plain = mask is not None and mask.shape == ids.shape
            self.tokens = self.tokens + (mask.sum() if is_plain else ids.numel())

        model.register_forward_pre_hook(before, with_kwargs=True)

    def end_step(self) -> None:
        """A step of the optimizer is done."""
        self.step += 1
        if self.step == 1:
            self._wait()
            self.first_seconds = time.time() - self.spawned
        if self.step in (self.warmup, self.total):
            self._wait()
            self.marks.append((time.perf_counter(), int(self.tokens)))

    @staticmethod
    def _wait() -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def result(self) -> dict[str, Any]:
        """The figures behind the warm-up, and the peak of the training."""
        import resource

        import torch

        (began, before), (ended, after) = self.marks[0], self.marks[-1]
        is_gpu = torch.cuda.is_available()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "tokens_per_second": (after - before) / (ended - began),
            "tokens": after - before,
            "seconds": ended - began,
            "steps": self.total - self.warmup,
            "first_step_seconds": self.first_seconds,
            "peak_bytes": torch.cuda.max_memory_allocated() if is_gpu else resident,
            "peak_reserved_bytes": torch.cuda.max_memory_reserved() if is_gpu else None,
            "first_loss": self.losses[0] if self.losses else None,
            "last_loss": self.losses[-1] if self.losses else None,
        }


def measure(trainer: Any, meter: Meter) -> dict[str, Any]:
    """Train, and say how fast it was."""
    import torch
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.end_step()

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if logs and "loss" in logs:
                meter.losses.append(float(logs["loss"]))

    trainer.add_callback(Watch())
    meter.watch(trainer.model)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    return meter.result()


def common_arguments(task: dict[str, Any]) -> dict[str, Any]:
    """What every trainer is told alike."""
    import torch

    workload, settings = task["workload"], task["settings"]
    is_gpu = torch.cuda.is_available()
    steps = workload["warmup"] + workload["steps"]
    if workload["threads"]:
        torch.set_num_threads(workload["threads"])
    return {
        "output_dir": str(Path(task["folder"]) / "out"),
        "per_device_train_batch_size": settings["batch"],
        "gradient_accumulation_steps": settings["accumulate"],
        "gradient_checkpointing": settings.get("checkpointing", False),
        "learning_rate": workload["lr"],
        "max_steps": steps,
        "lr_scheduler_type": "cosine",
        "optim": "adamw_torch_fused",
        "bf16": is_gpu,
        "use_cpu": not is_gpu,
        "dataloader_num_workers": 2 if is_gpu else 0,
        # Each line waits for the GPU; a peer logs no more often than is its habit, or little more.
        "logging_steps": min(5, steps),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 1,
    }


def load_model(task: dict[str, Any]) -> Any:
    """The base in bf16 on a GPU, in fp32 on a CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    is_gpu = torch.cuda.is_available()
    placed: dict[str, Any] = {"device_map": "cuda"} if is_gpu else {}
    dtype = torch.bfloat16 if is_gpu else torch.float32
    return AutoModelForCausalLM.from_pretrained(task["base"], dtype=dtype, **placed)


def lora_of(task: dict[str, Any]) -> Any:
    """PEFT's settings of the row's adapters; None where every weight is trained."""
    from peft import LoraConfig

    workload = task["workload"]
    if workload["method"] == "full":
        return None
    return LoraConfig(
        r=workload["rank"],
        lora_alpha=workload["alpha"],
        lora_dropout=task["dropout"],
        target_modules=list(MODULES),
        task_type="CAUSAL_LM",
    )


def hf_trainer(task: dict[str, Any]) -> dict[str, Any]:
    """Trainer with PEFT, rows padded to the longest of a batch or to `pad_to`."""
    import torch
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    meter, arguments, pad_to = Meter(task), common_arguments(task), task["settings"].get("pad_to")
    rows = read_rows(Path(task["rows"]))
    if pad_to:
        rows = [{name: values[:pad_to] for name, values in row.items()} for row in rows]

    def collate(picked: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = pad_to or max(len(row["input_ids"]) for row in picked)

        def padded(lists: list[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([values + [filler] * (width - len(values)) for values in lists])

        ids = [row["input_ids"] for row in picked]
        return {
            "input_ids": padded(ids, PAD_ID),
            "labels": padded([row["labels"] for row in picked], IGNORED),
            "attention_mask": padded([[1] * len(values) for values in ids], 0),
        }

    model, lora = load_model(task), lora_of(task)
    if lora is not None:
        model = get_peft_model(model, lora)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(remove_unused_columns=False, **arguments),
        train_dataset=rows,
        data_collator=collate,
    )
    return measure(trainer, meter)


def table_of(task: dict[str, Any]) -> Any:
    """The rows as TRL takes them: ids, and a mask of what carries loss."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": row["input_ids"],
                "completion_mask": [int(label != IGNORED) for label in row["labels"]],
            }
            for row in read_rows(Path(task["rows"]))
        ]
    )


def trl(task: dict[str, Any]) -> dict[str, Any]:
    """SFTTrainer, padded or packed (best fit decreasing, without padding), with Liger's kernels where the settings say so."""
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    meter, arguments, settings = Meter(task), common_arguments(task), task["settings"]
    if "pack" in settings:
        arguments |= {
            "packing": True,
            "packing_strategy": "bfd",
            "padding_free": True,
            "max_length": settings["pack"],
        }
    elif settings.get("padding_free"):
        arguments |= {"padding_free": True, "max_length": None}
    else:
        arguments |= {"max_length": task["workload"]["longest"]}
    trainer = SFTTrainer(
        model=load_model(task),
        args=SFTConfig(completion_only_loss=True, use_liger_kernel=settings.get("liger", False), **arguments),
        peft_config=lora_of(task),
        train_dataset=table_of(task),
        processing_class=AutoTokenizer.from_pretrained(task["base"]),
    )
    return measure(trainer, meter)


def unsloth(task: dict[str, Any]) -> dict[str, Any]:
    """FastLanguageModel with TRL's trainer, which Unsloth replaces by its own."""
    # First of all: it changes transformers and TRL while they are imported.
    from unsloth import FastLanguageModel  # isort: skip
    import torch
    from trl import SFTConfig, SFTTrainer

    meter, arguments = Meter(task), common_arguments(task)
    workload, settings = task["workload"], task["settings"]
    length = settings.get("pack", workload["longest"])
    model, tokenizer = FastLanguageModel.from_pretrained(
        task["base"],
        max_seq_length=length,
        dtype=torch.bfloat16,
        load_in_4bit=workload["method"] == "qlora",
        full_finetuning=workload["method"] == "full",
    )
    if workload["method"] != "full":
        model = FastLanguageModel.get_peft_model(
            model,
            r=workload["rank"],
            lora_alpha=workload["alpha"],
            lora_dropout=task["dropout"],
            target_modules=list(MODULES),
            bias="none",
            use_gradient_checkpointing="unsloth" if settings.get("checkpointing") else False,
            random_state=1,
        )
    if "pack" in settings:
        arguments["packing"] = True
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(max_length=length, **arguments),
        train_dataset=table_of(task),
        processing_class=tokenizer,
    )
    return measure(trainer, meter)
