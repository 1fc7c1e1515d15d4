"""Every YAML recipe in the repository composes and validates, and the guide's recipe is the guide's."""

from pathlib import Path

import pytest
import yaml

from luthier.config.compose import load_recipe
from luthier.config.find import PACKAGED

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").rglob("*.yaml")) + sorted(PACKAGED.rglob("*.yaml"))
# Recipes that are laid over a run's own: they name no model.
OVER_A_RUN = {"eval", "eval_baseline"}
GUIDE = {
    "model_name": "meta-llama/Llama-3.1-8B", "dataset_path": "./data", "dataset_pattern": "*.jsonl", "data_format": "prompt_completion",
    "epochs": 5, "batch_size": 4, "lr": 2e-4, "gradient_accumulation_steps": 2, "max_length": 512,
    "warmup_ratio": 0.03, "weight_decay": 0, "lr_scheduler_type": "cosine", "bf16": False, "fp16": True,
    "lora_r": 64, "lora_alpha": 128, "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gradient_checkpointing": False, "logging_steps": 20, "save_steps": 100,
}  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_composes_and_validates(path: Path) -> None:
    under = {"model": {"name": "embedded"}} if path.stem in OVER_A_RUN else None
    resolved = load_recipe(path, under=under)
    given = [origin for origin in resolved.origins.values() if origin.startswith(resolved.source)]
    assert given, "a recipe says something"


def test_all_shipped_recipes_were_found() -> None:
    assert {"train", "eval", "eval_baseline", "demo", "pretrain"} <= {path.stem for path in RECIPES}
    assert len(RECIPES) >= 5


def test_the_training_recipe_holds_the_guides_keys_values_and_order() -> None:
    text = (ROOT / "configs" / "train.yaml").read_text(encoding="utf-8")
    read = yaml.safe_load(text.replace("2e-4", "2.0e-4"))  # PyYAML follows YAML 1.1, where 2e-4 is text
    assert list(read.items()) == list(GUIDE.items())
    assert "lr: 2e-4\n" in text


def test_the_training_recipe_means_what_the_guide_says() -> None:
    recipe = load_recipe(ROOT / "configs" / "train.yaml").recipe
    assert (recipe.train.precision, recipe.rows_per_step(), recipe.method.kind) == ("fp16", 8, "lora")
    assert (recipe.data.path, recipe.data.pattern, recipe.data.max_length) == ("./data", "*.jsonl", 512)
