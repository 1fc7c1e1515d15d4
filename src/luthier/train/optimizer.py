"""AdamW over the trained parameters, and its state as named tensors for a checkpoint.

State is kept by parameter name, not by position: a reordered model must not swap two moments.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from luthier.config.train import OptimizerConfig
from luthier.floor.errors import CheckpointError, EnvironmentFault


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], config: OptimizerConfig, *, lr: float
) -> Optimizer:
    """AdamW with decay on matrices only, as Hugging Face does; fused where torch has a fused kernel.

    Raises EnvironmentFault if the 8-bit optimizer is asked for and bitsandbytes is not installed.
    """
    decayed = [parameter for name, parameter in parameters.items() if _is_decayed(name, parameter)]
    plain = [parameter for name, parameter in parameters.items() if not _is_decayed(name, parameter)]
    groups = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, config.weight_decay), (plain, 0.0))
        if group
    ]
    settings: dict[str, Any] = {"lr": lr, "betas": (config.beta1, config.beta2), "eps": config.epsilon}
    if config.name == "adamw_8bit":
        return _eight_bit(groups, settings)
    return torch.optim.AdamW(groups, fused=True, **settings)


def _is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Biases and norm weights are vectors; embeddings keep their norm (the guide's and HF's habit for norms and biases)."""
    return parameter.ndim >= 2 and "embed_tokens" not in name


def _eight_bit(groups: list[dict[str, Any]], settings: dict[str, Any]) -> Optimizer:
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "train.optimizer.name = adamw_8bit needs bitsandbytes, which is not installed",
            fix='Install it: pip install "luthier[qlora]"',
        ) from fault
    optimizer: Optimizer = AdamW8bit(groups, **settings)
    return optimizer


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """The rate of every group for the coming step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def skips_on_device(optimizer: Optimizer, scaler: torch.amp.GradScaler) -> bool:
    """Whether the kernel itself leaves a step out when told of a bad gradient: torch's fused AdamW on CUDA does."""
    if scaler.is_enabled() or not isinstance(optimizer, torch.optim.AdamW):
        return False
    return all(parameter.is_cuda for group in optimizer.param_groups for parameter in group["params"])


def make_capturable(optimizer: Optimizer) -> None:
    """Let a CUDA graph hold the step: the rate becomes a number on the device, since a graph keeps plain ones as they were."""
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
    # The first step is taken before the capture, on purpose; torch would warn of it.
    optimizer._warned_capturable_if_run_uncaptured = True


def optimizer_tensors(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as tensors named `parameter:slot`, and the slots that are plain numbers."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}:{slot}"] = value.detach().contiguous()
            else:
                numbers[f"{name}:{slot}"] = value
    return tensors, numbers


def restore_optimizer(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
) -> None:
    """Put a saved state back; raises CheckpointError if it belongs to other parameters."""
    slots: dict[str, dict[str, Any]] = {}
    for key, value in {**tensors, **numbers}.items():
        name, slot = key.rsplit(":", 1)
        slots.setdefault(name, {})[slot] = value
    if slots and set(slots) != set(parameters):
        odd = min(set(slots) ^ set(parameters))
        raise CheckpointError(
            "ckpt-mismatch",
            f"the optimizer state and the model disagree about {odd}",
            why="The checkpoint was written by another method or model.",
            fix="Start a new run: luthier train RECIPE",
        )
    for name, state in slots.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            # A scalar step stays where the optimizer put it (fused AdamW wants it beside the parameter).
            slot: value.to(parameter.device).clone() if isinstance(value, Tensor) else value
            for slot, value in state.items()
        }
