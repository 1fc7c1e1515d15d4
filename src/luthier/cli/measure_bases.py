"""`luthier advise base --measure`: how many bits each candidate needs for a byte of the person's own text."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.floor.errors import UsageError
from luthier.floor.stop import StopFlag, listen_for_stop

if TYPE_CHECKING:
    from luthier.cli.screen import Screen

SAMPLE_BYTES = 64 * 2**10
LEAST_TOKENS = 16


def measure_bases(names: Sequence[str], rows: Path | None) -> dict[str, float]:
    """Bits a byte of the beginning of the rows, of every candidate on this machine.

    Raises UsageError without rows, ModelError for weights that cannot be loaded.
    """
    from luthier.cli.screen import Screen
    from luthier.knowledge.model_folder import find_local_model

    if rows is None:
        fix = "Name a text or rows of your task: --rows FILE"
        raise UsageError("usage", "there is nothing to measure on", where="--measure", fix=fix)
    with rows.open("rb") as file:
        text = file.read(SAMPLE_BYTES).decode("utf-8", "ignore")
    screen, found = Screen(), dict[str, float]()
    with listen_for_stop(StopFlag()) as stop:
        for name in names:
            folder = find_local_model(name)
            if folder is None or not any(folder.glob("*.safetensors")):
                screen.warn(f"{name} has no weights on this machine and was not measured")
                continue
            bits = bits_per_byte(name, folder, text, screen, stop)
            if bits is not None:
                found[name] = bits
    return found


def bits_per_byte(name: str, folder: Path, text: str, screen: "Screen", stop: StopFlag) -> float | None:
    """Nats of all tokens but the first, in bits, over the bytes that they stand for; None for a text of a few tokens."""
    from tokenizers import Tokenizer

    from luthier.modelling.text_loss import nats_of

    path = folder / "tokenizer.json"
    if not path.is_file():
        screen.warn(f"{name} has no tokenizer.json and was not measured")
        return None
    encoded = Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False)
    if len(encoded.ids) < LEAST_TOKENS:
        return None
    nats = nats_of(
        folder,
        encoded.ids,
        stop=stop,
        on_tokens=lambda done, total: screen.progress(f"measuring {name}", done, total),
    )
    return nats / math.log(2) / len(text[encoded.offsets[1][0] :].encode())
