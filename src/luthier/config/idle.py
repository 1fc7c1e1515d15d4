"""Settings that differ from their default and that change nothing in this recipe, because another setting decides.

They are no fault, since a recipe that others start from may well hold them; but nobody should wonder why they do nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.config.fields import settings
from luthier.config.method import QloraMethod, ScratchMethod
from luthier.config.recipe import Recipe


@dataclass(frozen=True)
class Rule:
    """A setting, when it is idle, and because of what."""

    setting: str
    is_idle: Callable[[Recipe], bool]
    because: str


def _has_8_bits(recipe: Recipe) -> bool:
    return isinstance(recipe.method, QloraMethod) and recipe.method.bits == 8


def _has_ready_tokenizer(recipe: Recipe) -> bool:
    return isinstance(recipe.method, ScratchMethod) and recipe.method.tokenizer is not None


def _looks_for_nothing_personal(recipe: Recipe) -> bool:
    clean = recipe.data.clean
    return (clean.personal.action or ("report" if clean.preset == "standard" else "off")) == "off"


def _splits_nothing(recipe: Recipe) -> bool:
    return recipe.data.validation_path is not None or recipe.data.validation_fraction == 0


def _has_sources(recipe: Recipe) -> bool:
    return bool(recipe.data.sources)


def _judges_no_page(recipe: Recipe) -> bool:
    quality = recipe.data.clean.quality
    return not (quality.gopher_repetition or quality.gopher_quality or quality.c4)


def _keeps_every_language(recipe: Recipe) -> bool:
    return not recipe.data.clean.language.keep


def _has_no_word_list(recipe: Recipe) -> bool:
    return recipe.data.clean.words.path is None


def _scores_nothing(recipe: Recipe) -> bool:
    return recipe.data.clean.scorer.kind == "off"


def _rounds_nothing_small(recipe: Recipe) -> bool:
    return set(recipe.export.gguf.types) <= {"F32", "F16", "BF16", "Q8_0"}


RULES = (
    Rule("train.schedule.decay_fraction", lambda recipe: recipe.train.schedule.kind != "wsd", "only train.schedule.kind wsd decays at the end"),
    Rule("train.schedule.lr_floor_fraction", lambda recipe: recipe.train.schedule.kind == "constant", "a constant rate never falls"),
    Rule("data.validation_fraction", lambda recipe: recipe.data.validation_path is not None, "data.validation_path names the validation rows"),
    Rule("data.group_by", _splits_nothing, "no rows are set apart: data.validation_path names them, or data.validation_fraction is 0"),
    Rule("data.stratify_by", _splits_nothing, "no rows are set apart: data.validation_path names them, or data.validation_fraction is 0"),
    Rule("data.path", _has_sources, "data.sources names the rows"),
    Rule("data.revision", _has_sources, "each of data.sources has a revision of its own"),
    Rule("data.hub_split", _has_sources, "each of data.sources has a hub_split of its own"),
    Rule("data.clean.personal.kinds", _looks_for_nothing_personal, "data.clean.personal.action is off"),
    Rule("data.clean.quality.skip_rules", _judges_no_page, "none of the published rules is on"),
    Rule("data.clean.language.among", _keeps_every_language, "data.clean.language.keep names no language"),
    Rule("data.clean.language.accuracy", _keeps_every_language, "data.clean.language.keep names no language"),
    Rule("data.clean.language.least_confidence", _keeps_every_language, "data.clean.language.keep names no language"),
    Rule("data.clean.language.least_letters", _keeps_every_language, "data.clean.language.keep names no language"),
    Rule("data.clean.words.most_fraction", _has_no_word_list, "data.clean.words.path names no list"),
    Rule("data.clean.words.action", _has_no_word_list, "data.clean.words.path names no list"),
    *(Rule(f"data.clean.scorer.{name}", _scores_nothing, "data.clean.scorer.kind is off") for name in ("most_score", "action", "rows_at_once", "timeout_s")),
    Rule("data.clean.scorer.device", lambda recipe: recipe.data.clean.scorer.kind != "classifier", "only a classifier computes where it says"),
    Rule("data.dedup.similarity", lambda recipe: recipe.data.dedup.kind != "semantic", "only data.dedup.kind semantic compares meanings"),
    Rule("train.validation.sample_new_tokens", lambda recipe: recipe.train.validation.sample_prompts == 0, "train.validation.sample_prompts is 0"),
    Rule("method.double_quantization", _has_8_bits, "only 4 bits have quantization constants"),
    Rule("method.vocabulary_size", _has_ready_tokenizer, "method.tokenizer brings its own vocabulary"),
    Rule("merge.base", lambda recipe: not isinstance(recipe.method, QloraMethod), "only a quantized training saw another base"),
    Rule("export.gguf.imatrix", _rounds_nothing_small, "export.gguf.types names none of fewer than 8 bits"),
    *(Rule(f"export.gguf.calibration_{name}", lambda recipe: not recipe.export.gguf.imatrix, "export.gguf.imatrix is off") for name in ("rows", "seed")),
    Rule("model.revision", lambda recipe: recipe.model.name == "embedded", "the embedded model has one version"),
)  # fmt: skip


def idle_settings(recipe: Recipe, places: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each idle setting whose value is not the default; `places` says where each came from.

    A value that is the default deceives nobody, and a run's config_used.yaml holds every one.
    """
    return tuple(
        f"{rule.setting} ({places[rule.setting]}) changes nothing: {rule.because}"
        for rule in RULES
        if rule.setting in places
        and rule.is_idle(recipe)
        and _value_at(recipe, rule.setting) != settings()[rule.setting].default()
    )


def _value_at(recipe: Recipe, name: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return value
