"""A run's state to a checkpoint and back: trained weights, optimizer, counters, loss scale.

Randomness and row order are functions of (seed, step), so there is nothing else to keep.
"""

from typing import TYPE_CHECKING

import torch

from luthier.floor.files import free_bytes
from luthier.floor.units import format_bytes
from luthier.modelling.device import describe_device
from luthier.reports.provenance import package_versions
from luthier.train.checkpoint import (
    Loaded,
    has_checkpoints,
    list_checkpoints,
    load_newest,
    load_step,
    rotate,
    save_checkpoint,
    step_of,
)
from luthier.train.optimizer import optimizer_tensors, restore_optimizer
from luthier.train.progress import Progress

if TYPE_CHECKING:
    from luthier.train.loop import Job


def save_progress(job: "Job", progress: Progress) -> None:
    """Write a checkpoint of this step and remove those no longer wanted. Raises EnvironmentFault if the disk refuses."""
    moments, numbers = optimizer_tensors(job.optimizer, job.parameters)
    save_checkpoint(
        job.run.checkpoints,
        step=progress.step,
        tensors={
            "weights": {name: parameter.detach() for name, parameter in job.parameters.items()},
            "optimizer": moments,
        },
        facts={
            "identity": job.identity,
            "progress": progress.to_facts(),
            "optimizer_numbers": numbers,
            "loss_scale": job.scaler.state_dict(),
            "made_with": made_with(job),
        },
    )
    keep = job.recipe.train.checkpoint
    newest = sorted({step_of(folder) for folder in list_checkpoints(job.run.checkpoints)})[-keep.keep_last :]
    best = [step for _, step in progress.best_validations[: keep.keep_best]]
    rotate(job.run.checkpoints, keep={*newest, *best})


def made_with(job: "Job") -> dict[str, str]:
    """What the last digits of a step depend on besides the recipe: packages, device, threads."""
    threads = str(torch.get_num_threads())
    return {**package_versions(), "device": describe_device(job.device), "CPU threads": threads}


def warn_of_little_room(job: "Job") -> None:
    """Say before the first step that the disk will not hold two checkpoints, the one kept and the one being written."""
    moment_bytes = 1 if job.recipe.train.optimizer.name == "adamw_8bit" else 4
    numbers = sum(parameter.numel() for parameter in job.parameters.values())
    weight_bytes = sum(parameter.nbytes for parameter in job.parameters.values())
    needed_bytes = 2 * (weight_bytes + 2 * moment_bytes * numbers)
    room_bytes = free_bytes(job.run.path)
    if room_bytes < needed_bytes:
        job.listener.warn(
            f"two checkpoints take about {format_bytes(needed_bytes)}, and {format_bytes(room_bytes)} are free: "
            f"the run may end at a save. Make room: df -h {job.run.path}"
        )


def resume(job: "Job") -> Progress:
    """Put the newest valid checkpoint back into model and optimizer; a run without one starts at step 0.

    Raises CheckpointError if every checkpoint is damaged or belongs to another recipe.
    """
    if not has_checkpoints(job.run.checkpoints):
        return Progress()
    loaded = load_newest(job.run.checkpoints, identity=job.identity)
    for note in loaded.notes:
        job.listener.warn(note)
    warn_of_other_ground(job, loaded)
    restore_weights(job, loaded)
    restore_optimizer(
        job.optimizer, job.parameters, loaded.tensors["optimizer"], loaded.facts["optimizer_numbers"]
    )
    if job.scaler.is_enabled():
        job.scaler.load_state_dict(loaded.facts["loss_scale"])
    progress = Progress.from_facts(loaded.facts["progress"])
    progress.resumed_from.append(progress.step)
    job.listener.say(f"resuming at step {progress.step} of {job.order.total_steps}")
    return progress


def warn_of_other_ground(job: "Job", loaded: Loaded) -> None:
    """Say what changed below the run since the checkpoint: it goes on, and may no longer be the same run bit for bit."""
    before, now = loaded.facts.get("made_with", {}), made_with(job)
    changed = [
        f"{name} {before.get(name, 'nothing')}, now {now.get(name, 'nothing')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        job.listener.warn(
            f"the checkpoint was saved with {'; '.join(changed)}: the last digits of the losses may differ"
        )


def restore_weights(job: "Job", loaded: Loaded) -> None:
    """Copy saved weights into the trained parameters; names and shapes were compared by the identity."""
    with torch.no_grad():
        for name, parameter in job.parameters.items():
            parameter.copy_(loaded.tensors["weights"][name])


def take_best(job: "Job", progress: Progress) -> None:
    """End with the weights of the best validation, if the recipe says so and it is not the last step."""
    if not job.recipe.train.checkpoint.load_best or not progress.best_validations:
        return
    loss, step = progress.best_validations[0]
    if step != progress.step:
        restore_weights(job, load_step(job.run.checkpoints, step, identity=job.identity))
        job.listener.say(f"taking the weights of step {step}, whose validation loss was {loss:.4f}")
