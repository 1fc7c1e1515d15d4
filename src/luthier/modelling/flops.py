"""How much arithmetic a token costs, for the share of the hardware's peak.

Kaplan et al. 2020, section 2.1: forward 2 FLOPs a weight a token, backward 2 more for the gradient of the input and 2 more for
the gradient of the weight. A frozen weight therefore costs 4, a trained one 6. Weights that are only looked up (an untied
input embedding) cost nothing; attention's own products (2 x 2 x width x distance) are left out, as in the common figure.
"""

from torch import nn


def training_flops_per_token(model: nn.Module) -> float:
    """FLOPs a token of one training step. Quantized weights are counted unpacked."""
    total = 0.0
    seen: set[int] = set()
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        # PEFT keeps the frozen module beside the copy that is trained, and runs the copy alone.
        is_idle = ".original_module" in name
        if is_idle or not isinstance(module, nn.Linear) or weight is None or id(weight) in seen:
            continue
        seen.add(id(weight))
        total += module.in_features * module.out_features * (6 if weight.requires_grad else 4)
    return total
