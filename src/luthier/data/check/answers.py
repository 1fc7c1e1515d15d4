"""Judge what an answer would teach: to refuse, to speak as an AI model, to loop; and what a text gives away of people.

By patterns of the commonest wordings, in English: what is told is worth a look, and what is not may still be there.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from luthier.data.check.kinds import PERSONAL_NOTE, Fault
from luthier.data.check.places import Text, spell
from luthier.data.check.view import View
from luthier.data.clean.gopher import duplicate_ngram_share
from luthier.screen.personal import find_personal

# The openings that refusal lists of open datasets share (ShareGPT's and WizardLM's "unfiltered" scripts among them).
_SORRY = r"(?:i['’]?m (?:very |really |so )?sorry|i am sorry|sorry|(?:i |my )?(?:apologi[sz]e|apologies)|unfortunately)"
_CANNOT = r"(?:can(?:no|['’])t|can not|cannot|could not|couldn['’]t|won['’]t|will not|do not|don['’]t|(?:am|['’]m) (?:not able|unable|not (?:allowed|permitted|programmed|comfortable)))"
_HELP = r"(?:be able to |feel comfortable )?(?:assist|help|provid|fulfil|comply|answer|creat|generat|writ|engag|support|discuss|complet|continu|participat|shar|offer|giv|do (?:that|this)|respond|recommend)"
REFUSAL = re.compile(
    rf"\W*(?:{_SORRY}\b[^\n.!?]{{0,60}}\bi {_CANNOT}\b|i {_CANNOT} {_HELP}|i must (?:decline|refuse)\b)",
    re.IGNORECASE,
)
BOILERPLATE = re.compile(
    r"\bas an? (?:large )?(?:ai\b|artificial intelligence|language model|(?:ai|virtual|digital) assistant)"
    r"|\bi(?:['’]m| am) (?:just |only )?an? (?:large )?(?:ai\b|artificial intelligence|language model)[\w ]{0,20}(?:model|assistant|and|,|\.)"
    r"|\b(?:my|of my last) knowledge (?:cut-?off|update)|\bi was (?:trained|created|developed) by openai\b|\bmy training data\b",
    re.IGNORECASE,
)
# One of these stands in whatever that finds: a look for each takes a tenth of the time.
_BOILERPLATE_HINTS = (
    " ai",
    "artificial",
    "language model",
    "assistant",
    "knowledge",
    "openai",
    "training data",
)
OPENING_CHARACTERS = 200
# Looser than Gopher's 0.15 for pages of the web: rows hold tables, lists and code as well.
LEAST_WORDS, RUN_WORDS, MOST_REPEATED = 50, 5, 0.4
SAME_WORDS, SAME_LINES, SAME_LINES_SHARE = 10, 6, 0.2
MOST_WORDS = 20_000
SAME_CHARACTER = re.compile(r"([^\s\d=\-_.*#~+/\\])\1{59,}")


def check_answers(view: View) -> Iterator[Fault]:
    """What the answers of a row would teach; of plain text only whether it loops."""
    told: set[str] = set()
    for text in view.answers:
        for fault in _look(text, is_said=view.shape != "text"):
            if fault.kind not in told:
                told.add(fault.kind)
                yield fault


def check_personal(view: View) -> Iterator[Fault]:
    """Kinds of personal data and secrets that the texts hold; never what they are."""
    found: Counter[str] = Counter()
    first = ""
    for text in view.texts:
        kinds = (
            Counter(span.kind for span in find_personal(text.text)) if _may_be_personal(text.text) else None
        )
        if kinds:
            first = first or spell(text.path)
            found += kinds
    if found:
        held = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in sorted(found.items()))
        yield Fault("personal", f"{first} holds {held}", PERSONAL_NOTE)


_PERSONAL_HINT = re.compile(
    r"@|\d{3}|[A-Z]{2}\d\d|:[0-9A-Fa-f]{0,4}:|\d\.\d|hf_|sk-|AKIA|ASIA|AIza|gh[opsur]_|github_pat|glpat|xox|npm_|pypi-|SG\.|eyJ|_(?:live|test)_|-----BEGIN"
)


def _may_be_personal(text: str) -> bool:
    """One look instead of six; nothing that the six find passes it."""
    return _PERSONAL_HINT.search(text) is not None


def _look(text: Text, *, is_said: bool) -> Iterator[Fault]:
    said = text.text
    if is_said:
        if found := REFUSAL.match(said, 0, OPENING_CHARACTERS):
            yield Fault("refusal", f"{spell(text.path)} begins {_cut(found[0])}")
        lowered = said.lower()
        if any(hint in lowered for hint in _BOILERPLATE_HINTS) and (found := BOILERPLATE.search(said)):
            yield Fault("boilerplate", f"{spell(text.path)} says {_cut(found[0])}")
    if looped := _repetition(said):
        yield Fault("repetition", f"{spell(text.path)} {looped}")


def _repetition(text: str) -> str:
    """How a text repeats itself, or nothing."""
    if len(text) < 2 * SAME_WORDS:
        return ""
    if found := SAME_CHARACTER.search(text):
        return f"repeats {found[1]!r} {len(found[0])} times"
    words = text[: MOST_WORDS * 10].split()[:MOST_WORDS]
    if len(set(words)) <= len(words) - SAME_WORDS + 1:
        word, times = _longest_run(words)
        if times >= SAME_WORDS:
            return f"repeats {_cut(word)} {times} times in a row"
    if len(words) < LEAST_WORDS:
        return ""
    lines = Counter(line.strip() for line in text.split("\n") if len(line.strip()) > 20)
    line, times = max(lines.items(), key=lambda item: item[1], default=("", 0))
    if times >= SAME_LINES and times * len(line) > SAME_LINES_SHARE * len(text):
        return f"has the line {_cut(line)} {times} times"
    # Where most words differ no runs of five can repeat that often.
    if len(set(words)) > (1 - MOST_REPEATED / 2) * len(words):
        return ""
    share = duplicate_ngram_share(words, RUN_WORDS, len("".join(words)))
    return (
        f"repeats runs of {RUN_WORDS} words: {share:.0%} of it stood there before"
        if share > MOST_REPEATED
        else ""
    )


def _longest_run(words: Sequence[str]) -> tuple[str, int]:
    """The word that stands most often in a row, and how often; a row of signs, as of a table, is none."""
    runs = ((word, len(list(run))) for word, run in groupby(words))
    return max((run for run in runs if run[0][0].isalpha()), key=lambda run: run[1], default=("", 0))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
