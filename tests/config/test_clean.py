"""Bad settings of the cleaning are refused at the door, with the setting and the reason."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.config.clean import CleanConfig
from luthier.config.compose import load_recipe
from luthier.floor.errors import RecipeError
from tests.config.recipes import BASE, write_recipe


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"preset": "guide", "normalize": "nfc"}, "normalize cannot be added"),
        ({"preset": "guide", "repair": True}, "repair cannot be added"),
        ({"length": {"least_words": 5, "most_words": 4}}, "no row could be kept"),
        ({"length": {"least_characters": 5, "most_characters": 4}}, "no row could be kept"),
        ({"language": {"keep": ["eng"]}}, "two small letters"),
        ({"language": {"keep": ["EN"]}}, "two small letters"),
        ({"language": {"keep": ["en"], "among": ["de", "fr"]}}, "every language of keep"),
        ({"language": {"keep": ["en"], "among": ["en"]}}, "two languages or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CleanConfig.model_validate(settings)


def test_the_guide_may_be_joined_by_what_edits_nothing() -> None:
    settings = {"preset": "guide", "repair": False, "normalize": "off", "length": {"least_words": 2}}
    assert CleanConfig.model_validate(settings).preset == "guide"


@pytest.mark.parametrize(
    "override, words",
    [
        ("data.clean.preset=gide", "did you mean guide?"),
        ("data.clean=guide", "must be a section with settings of its own"),
        ("data.clean.white_spaces=trim", "did you mean data.clean.white_space?"),
        ("data.clean.personal.kinds=[mail]", "must be one of: email, phone, card, iban, ip, secret"),
        ("data.clean.quality.skip_rules=[stopwords]", "did you mean stop_words?"),
        ("data.clean.language.least_confidence=2", "must be at most 1"),
        ("data.clean.words.path=https://example.org/list", "nothing is fetched from elsewhere"),
    ],
)
def test_a_bad_setting_is_refused_with_what_was_meant(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(tmp_path, BASE), [override])
    assert words in caught.value.render()
