"""The process in which llama.cpp answers from a GGUF file, by the same orders and lines as `own_worker.py`."""

import sys
from typing import TYPE_CHECKING, Any

from luthier.serve.engines import own_worker

if TYPE_CHECKING:
    from luthier.serve.engines.own_loop import House


def load_gguf(specification: dict[str, Any]) -> "House":
    """A GGUF file, by llama.cpp."""
    from luthier.serve.engines.gguf_house import GgufHouse

    return GgufHouse(specification)


if __name__ == "__main__":
    sys.exit(own_worker.main(load_gguf))
