"""Public rows whose repeats, conflicts and wrong decodings were counted by other means; bench/check/known.py does the whole sets."""

from collections import Counter
from pathlib import Path

import pytest

from tests.cli.workshop import question_rows
from tests.data.check.planting import find, write
from tests.law.source import ROOT

SAMPLES = Path(__file__).parents[1] / "dedup" / "samples"
REPEATS = ("duplicate", "duplicate-prompt", "duplicate-folded")


def counts(path: Path) -> Counter[str]:
    return Counter(finding.kind for finding in find(path))


def test_the_conflicting_descriptions_of_nl2bash_are_counted_as_written() -> None:
    found = counts(SAMPLES / "nl2bash.jsonl")
    assert found["conflict"] == 4
    assert found["conflict"] + found["duplicate"] + found["duplicate-prompt"] == 5, (
        "as many rows repeat a prompt"
    )


def test_the_folded_repeats_of_banking77_are_counted() -> None:
    found = counts(SAMPLES / "banking77.jsonl")
    assert sum(found[kind] for kind in REPEATS) + found["conflict"] == 10
    assert found["duplicate"] + found["conflict"] + found["duplicate-prompt"] == 2


@pytest.mark.slow
def test_the_bundled_rows_have_no_error() -> None:
    found = find(ROOT / "data" / "train.jsonl", ROOT / "data" / "eval" / "test.jsonl")
    assert [finding for finding in found if finding.severity == "error"] == []


def test_rows_made_for_other_tests_have_no_finding_but_their_likeness(tmp_path: Path) -> None:
    rows = question_rows(20)
    assert {each.kind for each in find(write(tmp_path / "rows.jsonl", rows))} <= {"near-duplicate"}
