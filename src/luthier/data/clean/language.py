"""Leave out rows in other languages, by lingua; the one file that knows it.

Judged is what a row teaches, its letters only up to a bound: a language shows in the first thousand.
"""

import importlib
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from typing import Any

from luthier.config.clean import LanguageConfig
from luthier.data.clean.filter import Dropped, Kept, taught_text
from luthier.floor.errors import EnvironmentFault, RecipeError
from luthier.text.rows import Row

MOST_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class LanguageFilter:
    """Keeps the rows that are probably in one of the languages."""

    languages: frozenset[Any]
    least_confidence: float
    least_letters: int
    detector: Any
    name: str = "language"

    def apply(self, row: Row) -> Kept | Dropped:
        """Keep the row if it is in a language to keep, or too short to tell."""
        text = taught_text(row)[:MOST_CHARACTERS]
        letters = sum(1 for _ in islice(filter(str.isalpha, text), self.least_letters))
        if letters < max(1, self.least_letters):
            return Kept(row)
        values = self.detector.compute_language_confidence_values(text)
        if sum(value.value for value in values if value.language in self.languages) >= self.least_confidence:
            return Kept(row)
        best = values[0]
        code = best.language.iso_code_639_1.name.lower()
        return Dropped(f"{code}, which is not to be kept", f"{best.value:.2f}")


def language_filter(config: LanguageConfig) -> LanguageFilter:
    """The filter `language`. Raises RecipeError on a language that lingua does not know, EnvironmentFault without lingua."""
    lingua = _import_lingua()
    known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
    unknown = [code for code in (*config.keep, *config.among) if code not in known]
    if unknown:
        raise RecipeError(
            "cfg-range",
            f"lingua knows no language {unknown[0]!r}",
            where="data.clean.language",
            fix=f"Choose among: {', '.join(sorted(known))}",
        )
    among = [known[code] for code in config.among] or list(known.values())
    builder = lingua.LanguageDetectorBuilder.from_languages(*among)
    builder = builder.with_low_accuracy_mode() if config.accuracy == "low" else builder
    kept = frozenset(known[code] for code in config.keep)
    return LanguageFilter(kept, config.least_confidence, config.least_letters, builder.build())


def lingua_version() -> str:
    """The version that judges, for the key of the prepared tokens."""
    _import_lingua()
    return version("lingua-language-detector")


def _import_lingua() -> Any:
    try:
        return importlib.import_module("lingua")
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "telling languages apart needs the library lingua",
            where="data.clean.language.keep",
            fix='Install it: pip install "luthier[language]", or leave data.clean.language.keep empty',
        ) from fault
