"""Which languages the trained text is in, by lingua where it is installed, over a bounded number of rows."""

from collections import Counter
from collections.abc import Iterable

from luthier.config.clean import LanguageConfig
from luthier.data.clean.language import MOST_CHARACTERS, language_filter
from luthier.floor.errors import EnvironmentFault
from luthier.reports.survey import LanguageShare

MOST_ROWS = 300
LEAST_LETTERS = 20
UNSURE = "too short or unsure"
LEAST_CONFIDENCE = 0.5


def count_languages(texts: Iterable[str]) -> tuple[list[LanguageShare], str]:
    """Rows by language, most first, and what must be said of the count."""
    try:
        # English is there to make a filter of; only its detector is used, which knows all languages.
        detector = language_filter(LanguageConfig(keep=("en",))).detector
    except EnvironmentFault as fault:
        return [], f"Languages were not told apart: {fault.what}. {fault.fix.partition(',')[0]}."
    found: Counter[str] = Counter()
    for text in texts:
        if sum(found.values()) >= MOST_ROWS:
            break
        found[_language(detector, text[:MOST_CHARACTERS])] += 1
    shares = [LanguageShare(language=name, rows=rows) for name, rows in found.most_common()]
    return shares, f"By lingua, of the trained text of {sum(found.values()):,} rows drawn by the seed."


def _language(detector: object, text: str) -> str:
    if sum(map(str.isalpha, text)) < LEAST_LETTERS:
        return UNSURE
    values = detector.compute_language_confidence_values(text)  # type: ignore[attr-defined]  # lingua's, without types
    if not values or values[0].value < LEAST_CONFIDENCE:
        return UNSURE
    return str(values[0].language.name).capitalize()
