"""Tasks for the tests of the synthesis: a template, seeds and an endpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.synth.task import Patience, SynthTask

TOPICS = ("rivers", "lenses", "bread", "tides", "sparrows", "glass")
QUICK = Patience(concurrency=3, retries=3, timeout_s=5.0, first_wait_s=0.01)
# Long enough, and different enough, that no two answers are near each other.
ANSWERS = {
    "rivers": "Water gathers in valleys and runs towards the sea, carrying sand all the way along.",
    "lenses": "Curved glass bends light so that distant stars appear close to whoever looks through it.",
    "bread": "Yeast eats sugar out of flour and blows bubbles, which the hot oven then sets firm.",
    "tides": "Twice each day our moon pulls the oceans up against every harbour wall and lets go.",
    "sparrows": "Small brown birds hop about under cafe tables hoping somebody drops half a biscuit.",
    "glass": "Molten silica cools too quickly for crystals, hence window panes stay clear for centuries.",
}


def make_task(folder: Path, address: str, *, seeds: Sequence[Any] = TOPICS, **settings: Any) -> SynthTask:
    """One prompt a topic; `settings` replace fields of the task."""
    template = folder / "template.txt"
    template.write_text("Write one sentence about {{ topic }}.\n")
    rows = [seed if isinstance(seed, dict) else {"topic": seed} for seed in seeds]
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    usual: dict[str, Any] = {"template": template, "seeds": folder / "seeds.jsonl", "endpoint": address}
    usual |= {"model": "tiny", "out": folder / "rows.jsonl", "patience": QUICK}
    return SynthTask(**usual | settings)


def topic_of(prompt: str) -> str:
    """What a prompt of `make_task` is about."""
    return prompt.removeprefix("Write one sentence about ").removesuffix(".")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
