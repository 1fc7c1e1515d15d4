"""A finished and merged run over a tiny base that talks with tools, and held-out rows of every shape of conversation."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.export import stage as merge_stage
from luthier.export.stage import merge
from luthier.floor.rundir import RunDir
from tests.export.finished_run import make_finished_run, measure_in_this_process
from tests.tiny import make_tiny_model

WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {}}}


def said(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


HELLO = (("user", "What is the capital of France?"), ("assistant", "Paris."))
ROWS: tuple[dict[str, Any], ...] = (
    said(*HELLO),
    said(("user", "The Mill near the river"), ("assistant", "name: The Mill")),
    said(("user", "cheap Italian food"), ("assistant", "food: Italian")),
    said(("system", "Be brief."), *HELLO),
    said(*HELLO, ("user", "And of Italy?"), ("assistant", "Rome.")),
    {**said(("user", "Is it late?"), ("assistant", "No.")), "tools": [TOOL]},
    said(("user", "Größe? 你好 👩‍👩‍👧"), ("assistant", "7 µm")),
    said(("user", "What does <|im_end|> mean?"), ("assistant", "It ends a turn.")),
    said(("user", "Another plain one, beyond the first rows"), ("assistant", "Yes.")),
)
SHAPES = {
    "plain": 3,
    "system": 1,
    "several turns": 1,
    "tools": 1,
    "not ASCII": 1,
    "special tokens in text": 1,
}


@dataclass(frozen=True)
class Workshop:
    """A run with its recipe. Shared: nothing in it is changed but below verify/."""

    recipe: Recipe
    run: RunDir

    @property
    def merged(self) -> Path:
        return self.run.stage("merge") / "model"

    def asked(self, **settings: object) -> Recipe:
        """The recipe with other settings of `verify`."""
        return self.recipe.model_copy(update={"verify": self.recipe.verify.model_copy(update=settings)})


@pytest.fixture(autouse=True)
def _tiny_models_need_no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all that pytest holds, a collection of garbage takes longer than the rest of a verification."""
    monkeypatch.setattr("luthier.export.parity.stage.release", lambda device: None)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    base = make_tiny_model(tmp_path_factory.mktemp("base") / "talking", chat_template=WITH_TOOLS)
    folder = tmp_path_factory.mktemp("verified") / "run"
    recipe, run = make_finished_run(folder, base, LoraMethod(rank=8, alpha=16))
    path = Path(recipe.evaluate.path)
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    recipe = recipe.model_copy(update={"verify": recipe.verify.model_copy(update={"rows": 3})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_stage, "measure_in_fresh_process", measure_in_this_process)
        merge(recipe, run)
    return Workshop(recipe, run)
