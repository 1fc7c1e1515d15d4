"""Memory that runs out on a card, and the trace of a training there. Elsewhere every test skips."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.floor.errors import EnvironmentFault
from luthier.modelling.step_costs import break_down
from luthier.train.memory_faults import SAVED, explained
from tests.train.runs import make_recipe
from tests.train.test_profile import take_steps_on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.fixture
def little_memory() -> Iterator[int]:
    """This process may use 1 GiB of the card."""
    allowed = 2**30
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    yield allowed
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def recipe_on_gpu(base: Path, **train: Any) -> Any:
    return make_recipe(
        base, model={"device": "cuda"}, data={"max_length": 512}, train={"batch_size": 64, **train}
    )


def test_memory_that_runs_out_on_the_card_is_told_with_three_ways(
    tiny_base: Path, little_memory: int
) -> None:
    with (
        pytest.raises(EnvironmentFault) as caught,
        explained(recipe_on_gpu(tiny_base), "in step 3 of 5", saved=SAVED),
    ):
        torch.empty(2 * little_memory, dtype=torch.uint8, device="cuda")
    fault = caught.value
    assert (fault.code, fault.exit_code) == ("env-memory", 5)
    assert fault.what == "memory ran out in step 3 of 5: 2.0 GiB more were asked for"
    assert torch.cuda.get_device_name() in fault.where
    assert fault.problems[0].startswith("there was: ")
    assert "in tensors of this run" in fault.problems[0]
    assert len(fault.problems) == 4
    assert fault.problems[1].startswith("train.pack_tokens=16384: saves about ")
    assert "Traceback" not in fault.render()


def test_kernels_of_a_traced_step_are_cut_into_costs(tmp_path: Path) -> None:
    costs = break_down(take_steps_on(torch.device("cuda"), tmp_path))
    assert costs.on_device
    assert sum(costs.seconds.values()) == pytest.approx(costs.wall_seconds)
    assert costs.steps == 3
    assert costs.seconds["matmul"] > 0
    assert costs.seconds["logits"] > 0
    assert costs.seconds["optimizer"] > 0
    assert costs.seconds["attention"] > 0
