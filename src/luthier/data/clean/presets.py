"""From the recipe's settings to the filters that run, in their order, and to what of them changes a token.

First the edits, then what judges rows, cheap before dear; personal data comes between, so that nobody judges or keeps what is masked.
"""

import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

from luthier.config.clean import Action, CleanConfig, Normalize, Preset, WhiteSpace
from luthier.data.clean.c4 import C4Filter
from luthier.data.clean.characters import CHARACTERS
from luthier.data.clean.filter import Filter
from luthier.data.clean.gopher import QUALITY, REPETITION, GopherFilter
from luthier.data.clean.guide import GUIDE
from luthier.data.clean.language import language_filter, lingua_version
from luthier.data.clean.length import LengthFilter
from luthier.data.clean.normalize import normalize_filter
from luthier.data.clean.personal import PersonalFilter
from luthier.data.clean.repair import ftfy_version, repair_filter
from luthier.data.clean.scorer import scorer_filter, scorer_key
from luthier.data.clean.white_space import white_space_filter
from luthier.data.clean.words import hash_word_list, word_list_filter

# Part of the key: raise it when the same settings shall edit or judge otherwise than before.
CLEANING_VERSION = 1


@dataclass(frozen=True)
class Edits:
    """What a preset edits."""

    guide: bool = False
    repair: bool = False
    characters: bool = False
    normalize: Normalize = "off"
    white_space: WhiteSpace = "off"
    personal: Action = "off"


PRESETS: dict[Preset, Edits] = {
    "none": Edits(),
    "guide": Edits(guide=True),
    "standard": Edits(repair=True, characters=True, normalize="nfc", white_space="trim", personal="report"),
}


def chosen_edits(config: CleanConfig) -> Edits:
    """The preset's edits, each as the recipe sets it apart."""
    preset = PRESETS[config.preset]
    return Edits(
        guide=preset.guide,
        repair=preset.repair if config.repair is None else config.repair,
        characters=preset.characters if config.characters is None else config.characters,
        normalize=config.normalize or preset.normalize,
        white_space=config.white_space or preset.white_space,
        personal=config.personal.action or preset.personal,
    )


def make_filters(config: CleanConfig) -> list[Filter]:
    """The filters that the recipe turns on, in the order in which they run; empty if cleaning is off."""
    return [*_editors(config), *_judges(config)]


def _editors(config: CleanConfig) -> list[Filter]:
    edits = chosen_edits(config)
    filters: list[Filter] = []
    if edits.guide:
        filters.append(GUIDE)
    if edits.repair:
        filters.append(repair_filter())
    if edits.characters:
        filters.append(CHARACTERS)
    if edits.normalize != "off":
        filters.append(normalize_filter(edits.normalize))
    if edits.white_space != "off":
        filters.append(white_space_filter(edits.white_space))
    if edits.personal != "off" and config.personal.kinds:
        filters.append(PersonalFilter(edits.personal, config.personal.kinds))
    return filters


def _judges(config: CleanConfig) -> list[Filter]:
    bounds, quality = config.length, config.quality
    filters: list[Filter] = []
    if bounds.least_characters or bounds.most_characters or bounds.least_words or bounds.most_words:
        filters.append(LengthFilter(bounds))
    if config.words.path is not None:
        filters.append(word_list_filter(config.words))
    if quality.gopher_quality:
        filters.append(GopherFilter("gopher_quality", QUALITY, skip=quality.skip_rules))
    if quality.c4:
        filters.append(C4Filter(skip=quality.skip_rules))
    if quality.gopher_repetition:
        filters.append(GopherFilter("gopher_repetition", REPETITION, skip=quality.skip_rules))
    if config.language.keep:
        filters.append(language_filter(config.language))
    if config.scorer.kind != "off":
        filters.append(scorer_filter(config.scorer))
    return filters


def cleaning_key(config: CleanConfig) -> dict[str, Any] | None:
    """Everything of cleaning that changes a row; None if it is off, so that the key is then the same as without cleaning."""
    filters = make_filters(config)
    if not filters:
        return None
    edits = chosen_edits(config)
    return {
        "version": CLEANING_VERSION,
        "settings": config.model_dump(mode="json"),
        "edits": asdict(edits),
        "filters": [each.name for each in filters],
        "unicode": unicodedata.unidata_version,
        "ftfy": ftfy_version() if edits.repair else None,
        "lingua": lingua_version() if config.language.keep else None,
        "words": hash_word_list(config.words.path) if config.words.path is not None else None,
        "scorer": scorer_key(config.scorer),
    }
