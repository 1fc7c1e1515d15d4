"""What is mended in the rows, masked in them, or left out, before they are split and rendered.

Nothing is changed unless the recipe asks: `preset` chooses a set of edits, each of which can be set apart; the bounds and
judgements that leave rows out are off until they are given.
"""

from typing import Annotated, Literal, Self

from pydantic import Strict, model_validator

from luthier.config.base import Count, CountOrZero, Fraction, NotNegative, PathOrId, Positive, Section, Texts

Preset = Literal["none", "standard", "guide"]
Normalize = Literal["off", "nfc", "nfkc"]
WhiteSpace = Literal["off", "trim", "collapse"]
Action = Literal["off", "report", "mask", "drop"]
PersonalKind = Literal["email", "phone", "card", "iban", "ip", "secret"]
QualityRule = Literal[
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "top_2_gram",
    "top_3_gram",
    "top_4_gram",
    "duplicate_5_grams",
    "duplicate_6_grams",
    "duplicate_7_grams",
    "duplicate_8_grams",
    "duplicate_9_grams",
    "duplicate_10_grams",
    "words",
    "word_length",
    "hashes",
    "ellipses",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
    "c4_terminal_punctuation",
    "c4_line_words",
    "c4_long_word",
    "c4_javascript",
    "c4_policy",
    "c4_citations",
    "c4_lorem_ipsum",
    "c4_curly_bracket",
    "c4_sentences",
]


class LengthConfig(Section):
    """Rows shorter or longer than these bounds are left out; 0 means no bound. All texts of a row count."""

    least_characters: CountOrZero = 0
    """The fewest characters of a row."""
    most_characters: CountOrZero = 0
    """The most characters of a row."""
    least_words: CountOrZero = 0
    """The fewest words of a row; a word is what stands between white space."""
    most_words: CountOrZero = 0
    """The most words of a row."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if 0 < self.most_characters < self.least_characters:
            raise ValueError("least_characters is more than most_characters: no row could be kept")
        if 0 < self.most_words < self.least_words:
            raise ValueError("least_words is more than most_words: no row could be kept")
        return self


class QualityConfig(Section):
    """Published rules for pages of the web. They judge what a row teaches: its text, its completion or its answers."""

    gopher_repetition: bool = False
    """Leave out rows that repeat themselves: lines, paragraphs and word sequences by Gopher's table (Rae et al. 2021, A1)."""
    gopher_quality: bool = False
    """Leave out rows that do not look like prose: words, symbols, bullets and stop words by Gopher's rules (Rae et al. 2021, A.1)."""
    c4: bool = False
    """C4's rules (Raffel et al. 2020, 2.2): take lines that are no sentence out of text rows, leave out rows with too few sentences. Not for code."""
    skip_rules: Annotated[tuple[QualityRule, ...], Strict(False)] = ()
    """Rules of the three sets that are not applied, such as `words` for short answers."""


class LanguageConfig(Section):
    """Leave out rows in other languages (lingua; needs `luthier[language]`)."""

    keep: Texts = ()
    """The languages to keep, as ISO 639-1 codes such as `en`; an empty list judges none."""
    among: Texts = ()
    """The languages to tell apart; an empty list means the 75 that lingua knows. Naming the few that occur is faster and surer."""
    accuracy: Literal["low", "high"] = "low"
    """`low` looks at three letters at a time; `high`, for short texts, takes ten times the memory, about 1 GB with all languages."""
    least_confidence: Fraction = 0.5
    """The probability that a row is in one of the languages of `keep` must be at least this."""
    least_letters: CountOrZero = 20
    """Rows with fewer letters are kept unjudged: too little to tell a language by."""

    @model_validator(mode="after")
    def _codes_are_codes(self) -> Self:
        for code in (*self.keep, *self.among):
            if not (len(code) == 2 and code.isascii() and code.isalpha() and code.islower()):
                raise ValueError(f"keep and among hold ISO 639-1 codes of two small letters, not {code!r}")
        if self.among and not set(self.keep) <= set(self.among):
            raise ValueError("among must hold every language of keep")
        if len(set(self.among)) == 1:
            raise ValueError("among must hold two languages or more: one cannot be told from itself")
        return self


class PersonalConfig(Section):
    """Personal data and secrets inside the texts."""

    action: Action | None = None
    """`report` counts them, `mask` puts `[EMAIL]` and the like in their place, `drop` leaves the row out; null takes what `preset` says: `standard` reports, the others are off."""
    kinds: Annotated[tuple[PersonalKind, ...], Strict(False)] = (
        "email",
        "phone",
        "card",
        "iban",
        "ip",
        "secret",
    )
    """What is looked for. A card number has to pass Luhn's check, an IBAN its checksum; `secret` is keys and tokens of known services."""


class WordListConfig(Section):
    """Score rows by a word list of your own, against profanity or for any other reason. None is shipped."""

    path: PathOrId | None = None
    """A text file with one word or phrase a line; `#` starts a comment. Letter case makes no difference."""
    most_fraction: Fraction = 0.0
    """The largest share of a row's words that may be on the list."""
    action: Literal["report", "drop"] = "drop"
    """Whether rows with more of them are counted, or left out."""


class ScorerConfig(Section):
    """Score rows by a model or a program of your own, against toxicity or for any other reason. None is shipped."""

    kind: Literal["off", "classifier", "command"] = "off"
    """`classifier` is a sequence-classification model of Transformers; `command` is any program that reads lines of JSON and answers with scores."""
    path: PathOrId | None = None
    """The folder of the classifier, with its tokenizer and safetensors; code of its own is never run."""
    labels: Texts = ()
    """The classifier's labels that are unwanted. Their probabilities are added up; of a multi-label classifier the highest counts."""
    command: Texts = ()
    """The program and its arguments, a list; no shell is between. It gets `{"id", "text"}` a line and answers `{"id", "score"}` a line, in any order."""
    most_score: NotNegative = 0.5
    """The highest score that a row may have."""
    action: Literal["report", "drop"] = "drop"
    """Whether rows above it are counted, or left out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the classifier computes; `auto` takes a GPU if there is one."""
    rows_at_once: Count = 2048
    """Rows that the model or program gets in one start."""
    timeout_s: Positive = 600.0
    """The longest that one start may take, in seconds."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        needed: dict[str, tuple[str, ...]] = {"classifier": ("path", "labels"), "command": ("command",)}
        for name in ("path", "labels", "command"):
            is_needed = name in needed.get(self.kind, ())
            if bool(getattr(self, name)) != is_needed:
                what = f"kind {self.kind} needs {name}" if is_needed else f"kind {self.kind} takes no {name}"
                raise ValueError(what)
        return self


class CleanConfig(Section):
    """Cleaning the rows. Every edit and every row left out is counted by filter in the report."""

    preset: Preset = "none"
    """`none` edits nothing; `standard` mends encodings, takes out invisible characters, composes (NFC) and trims white space outside code; `guide` is the guide's clean_text on every text: all white space to single spaces, U+200B out, NFKC."""
    repair: bool | None = None
    """Mend text that was decoded with the wrong encoding (ftfy; needs `luthier[clean]`); null takes what `preset` says."""
    characters: bool | None = None
    """Take out control, zero-width, bidirectional-override and other invisible characters that say nothing; null takes what `preset` says."""
    normalize: Normalize | None = None
    """The Unicode form: `nfc` composes accents, `nfkc` also replaces ligatures, full-width letters and the like by plain ones; null takes what `preset` says."""
    white_space: WhiteSpace | None = None
    """`trim` takes white space from line ends and around a text, and leaves two empty lines at most; `collapse` also makes runs of spaces one. Code, fenced or indented, is never touched. Null takes what `preset` says."""
    length: LengthConfig = LengthConfig()
    """Bounds on the length of a row."""
    quality: QualityConfig = QualityConfig()
    """Published rules on repetition and symbols."""
    language: LanguageConfig = LanguageConfig()
    """The languages to keep."""
    personal: PersonalConfig = PersonalConfig()
    """Personal data and secrets."""
    words: WordListConfig = WordListConfig()
    """A word list of your own."""
    scorer: ScorerConfig = ScorerConfig()
    """A model or a program of your own that scores rows."""

    @model_validator(mode="after")
    def _guide_stays_the_guide(self) -> Self:
        given = [
            name
            for name in ("repair", "characters", "normalize", "white_space")
            if getattr(self, name) not in (None, False, "off")
        ]
        if self.preset == "guide" and given:
            raise ValueError(
                f"preset guide is the guide's clean_text to the byte, so {given[0]} cannot be added:"
                f" remove {given[0]}, or choose preset standard"
            )
        return self
