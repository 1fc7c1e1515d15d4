"""Settings that change nothing are told of, if somebody gave them."""

from pathlib import Path

import pytest

from luthier.config.compose import load_recipe, resolved_tree
from luthier.config.fields import settings
from luthier.config.idle import RULES
from luthier.config.recipe import Recipe
from tests.config.recipes import BASE, write_recipe

pytestmark = pytest.mark.slow

IDLE = {
    "train.schedule.decay_fraction": ["train.schedule.decay_fraction=0.1"],
    "train.schedule.lr_floor_fraction": [
        "train.schedule.lr_floor_fraction=0.1",
        "lr_scheduler_type=constant",
    ],
    "data.validation_fraction": ["data.validation_fraction=0.1", "data.validation_path=x.jsonl"],
    "data.group_by": ["data.group_by=author", "data.validation_path=x.jsonl"],
    "data.stratify_by": ["data.stratify_by=label", "data.validation_path=x.jsonl"],
    "data.path": ["data.path=x.jsonl", "data.sources=[{path: y.jsonl}]"],
    "data.revision": ["data.revision=abc", "data.sources=[{path: y.jsonl}]"],
    "data.hub_split": ["data.hub_split=test", "data.sources=[{path: y.jsonl}]"],
    "data.clean.personal.kinds": ["data.clean.personal.kinds=[email]"],
    "data.clean.quality.skip_rules": ["data.clean.quality.skip_rules=[words]"],
    "data.clean.language.accuracy": ["data.clean.language.accuracy=high"],
    "data.clean.language.least_confidence": ["data.clean.language.least_confidence=0.9"],
    "data.clean.language.least_letters": ["data.clean.language.least_letters=5"],
    "data.clean.language.among": ["data.clean.language.among=[en,de]"],
    "data.clean.words.most_fraction": ["data.clean.words.most_fraction=0.1"],
    "data.clean.words.action": ["data.clean.words.action=report"],
    "data.clean.scorer.most_score": ["data.clean.scorer.most_score=0.9"],
    "data.clean.scorer.action": ["data.clean.scorer.action=report"],
    "data.clean.scorer.rows_at_once": ["data.clean.scorer.rows_at_once=10"],
    "data.clean.scorer.timeout_s": ["data.clean.scorer.timeout_s=5"],
    "data.clean.scorer.device": ["data.clean.scorer.device=cpu"],
    "data.dedup.similarity": ["data.dedup.similarity=0.9"],
    "train.validation.sample_new_tokens": ["train.validation={sample_new_tokens: 3, sample_prompts: 0}"],
    "method.double_quantization": ["method={kind: qlora, bits: 8, double_quantization: false}"],
    "method.vocabulary_size": ["method={kind: scratch, tokenizer: x, vocabulary_size: 300}", "~model_name"],
    "merge.base": ["merge.base=original"],
    "export.gguf.imatrix": ["export.gguf.imatrix=true", "export.gguf.types=[Q8_0,F16]"],
    "export.gguf.calibration_rows": ["export.gguf.calibration_rows=9"],
    "export.gguf.calibration_seed": ["export.gguf.calibration_seed=9"],
    "model.revision": ["model.revision=abc"],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.setting)
def test_a_setting_that_changes_nothing_is_told_of(rule: object, tmp_path: Path) -> None:
    setting = rule.setting  # type: ignore[attr-defined]
    assert setting in settings()
    (warning,) = load_recipe(write_recipe(tmp_path, BASE), IDLE[setting]).warnings
    assert warning.startswith(f"{setting} (command line) changes nothing: ")


def test_what_nobody_gave_is_not_told_of(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE)
    resolved = load_recipe(path)
    assert resolved.warnings == ()
    assert load_recipe(path, under=resolved_tree(resolved.recipe)).warnings == ()


def test_the_shipped_recipes_hold_nothing_idle() -> None:
    configs = Path(__file__).parents[2] / "configs"
    run = resolved_tree(Recipe.model_validate({"model": {"name": "m"}}))
    found = {
        path.stem: load_recipe(path, under=run if path.stem.startswith("eval") else None).warnings
        for path in configs.glob("*.yaml")
    }
    assert len(found) >= 5
    assert {name: warnings for name, warnings in found.items() if warnings} == {}
