"""Where and in which number format two models of a size can be compared.

fp32 is wanted: it alone tells a rounding from a mistake. A model too large for that is compared in the format it is stored in.
"""

import os
from dataclasses import dataclass

import torch

from luthier.export.save import DTYPES
from luthier.floor.errors import EnvironmentFault
from luthier.floor.memory import available_memory_bytes
from luthier.floor.units import format_bytes

# An allowance beside the weights: one matrix's merged copy, the activations and logits of one row, the libraries.
ROOM_FOR_WEIGHTS = 1.25


@dataclass(frozen=True)
class Place:
    """A device and the number format to compute in there."""

    device: torch.device
    dtype: str

    @property
    def is_exact(self) -> bool:
        return self.dtype == "fp32"


def choose_place(parameters: int, *, device: torch.device, stored: str, must_be_exact: bool) -> Place:
    """The first of: fp32 on the device, the stored format on the device, fp32 on the CPU, the stored format there.

    Raises EnvironmentFault env-memory if none has room.
    """
    cpu = torch.device("cpu")
    formats = ["fp32"] if must_be_exact or stored == "fp32" else ["fp32", stored]
    places = [Place(where, name) for where in dict.fromkeys((device, cpu)) for name in formats]
    for place in places:
        if _bytes_needed(parameters, place) <= free_memory_bytes(place.device):
            return place
    raise EnvironmentFault(
        "env-memory",
        f"checking the merged model takes {format_bytes(_bytes_needed(parameters, places[-1]))} of memory, "
        f"and {format_bytes(free_memory_bytes(cpu))} are free",
        why="A merge is not kept without its check.",
        fix="Free memory, or keep fewer digits: luthier merge merge.dtype=bf16",
    )


def free_memory_bytes(device: torch.device) -> int:
    """Memory that a model may take on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = available_memory_bytes()
    return free if free is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bytes_needed(parameters: int, place: Place) -> int:
    return int(parameters * DTYPES[place.dtype].itemsize * ROOM_FOR_WEIGHTS)
