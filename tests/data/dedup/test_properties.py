"""Laws that hold for any rows: a partition, no trace of budget or batch, nothing to do twice, and what comparing each with each gives."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.alike.wording import (
    Wording,
    exact_key,
    fold,
    jaccard,
    label_of,
    shingles_of,
    squeeze,
    tokens_of,
    wording_of,
)
from luthier.text.row_shapes import guess_kind, make_row
from tests.data.dedup.planting import changed, dropped_rows, kept_lines, run, sentence, write_rows

pytestmark = pytest.mark.slow

BASES = [sentence(seed, words=20 + 5 * (seed % 4)) for seed in range(5)]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """One of few sentences with up to three words changed: exact repeats, near rows and chains are common."""
    text = draw(st.sampled_from(BASES))
    for seed in draw(st.lists(st.integers(0, 3), max_size=3)):
        text = changed(text, seed)
    return text


@st.composite
def rows(draw: st.DrawFn) -> dict[str, str]:
    """Plain text, or a prompt that some other row answers otherwise."""
    text = draw(texts())
    if draw(st.booleans()):
        return {
            "prompt": text,
            "completion": draw(st.sampled_from(["yes", "no", BASES[0], changed(BASES[0], 1)])),
        }
    return {"prompt": draw(st.sampled_from(["go on", BASES[1]])), "completion": text}


some_rows = st.lists(rows(), min_size=1, max_size=25)


class Folder:
    """A fresh folder for one example."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp())
        return self.path

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.path)


def outcome(
    folder: Path, source: Path, name: str, **settings: Any
) -> tuple[list[bytes], list[dict[str, Any]]]:
    run(folder / name, source, out=folder / name / "out.jsonl", **settings)
    return kept_lines(folder / name), dropped_rows(folder / name)


@settings(max_examples=40, deadline=None)
@given(some_rows, st.lists(rows(), max_size=6))
def test_kept_and_dropped_are_a_partition(data: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    with Folder() as folder:
        source = write_rows(folder / "in.jsonl", data)
        against = (write_rows(folder / "test.jsonl", other),) if other else ()
        report = run(folder, source, against=against)
        kept, dropped = kept_lines(folder), dropped_rows(folder)
        lines = source.read_bytes().splitlines(keepends=True)
        gone = {int(row["row"].rpartition(":")[2]) for row in dropped}
        assert kept == [line for number, line in enumerate(lines, start=1) if number not in gone]
        assert report.rows_in == len(lines) == report.rows_kept + sum(report.dropped.values())
        assert report.dropped == Counter(row["kind"] for row in dropped)
        stays = {f"{source}:{number}" for number in range(1, len(lines) + 1) if number not in gone}
        stays |= {f"{folder / 'test.jsonl'}:{number}" for number in range(1, len(other) + 1)}
        assert all(row["repeats"] in stays for row in dropped)
        assert all(row["jaccard"] >= 0.8 for row in dropped)


@settings(max_examples=25, deadline=None)
@given(some_rows, st.integers(1, 5000), st.integers(1, 9))
def test_neither_budget_nor_batch_changes_the_result(
    data: list[dict[str, str]], budget_bytes: int, batch_rows: int
) -> None:
    with Folder() as folder:
        source = write_rows(folder / "in.jsonl", data)
        usual = outcome(folder, source, "usual")
        assert outcome(folder, source, "tight", budget_bytes=budget_bytes, batch_rows=batch_rows) == usual


def test_a_tiny_budget_goes_to_disk_and_gives_the_same_clusters(tmp_path: Path) -> None:
    texts = [sentence(seed) for seed in range(60)]
    data = [
        {"text": text} for text in [*texts, *(changed(text, seed) for seed in range(3) for text in texts)]
    ]
    source = write_rows(tmp_path / "in.jsonl", data)
    plenty = run(tmp_path / "a", source, out=tmp_path / "a" / "out.jsonl")
    tiny = run(tmp_path / "b", source, out=tmp_path / "b" / "out.jsonl", budget_bytes=2000, batch_rows=7)
    assert plenty.spilled_bytes == 0
    assert tiny.spilled_bytes > 240 * 600, "signatures, bands and places of every row went to files"
    assert plenty.dropped == tiny.dropped == {"near": 180}
    assert (tmp_path / "a" / "out.dropped.jsonl").read_bytes() == (
        tmp_path / "b" / "out.dropped.jsonl"
    ).read_bytes()
    assert kept_lines(tmp_path / "a") == kept_lines(tmp_path / "b")
    left = {path.name for path in (tmp_path / "b").iterdir()}
    assert left == {"out.jsonl", "out.dropped.jsonl", "out.conflicts.jsonl", "out.report.json"}


@settings(max_examples=40, deadline=None)
@given(some_rows, st.lists(rows(), max_size=6))
def test_running_on_its_own_output_drops_nothing(
    data: list[dict[str, str]], other: list[dict[str, str]]
) -> None:
    with Folder() as folder:
        against = (write_rows(folder / "test.jsonl", other),) if other else ()
        first = run(folder, write_rows(folder / "in.jsonl", data), against=against)
        if not first.rows_kept:
            return
        again = run(folder, folder / "out.jsonl", against=against, out=folder / "again.jsonl")
        assert again.dropped == {}
        assert (folder / "again.jsonl").read_bytes() == (folder / "out.jsonl").read_bytes()


@settings(max_examples=60, deadline=None)
@given(some_rows)
def test_a_row_goes_exactly_if_an_earlier_one_that_stays_is_near_it(data: list[dict[str, str]]) -> None:
    with Folder() as folder:
        source = write_rows(folder / "in.jsonl", data)
        run(folder, source)
        found = {(line_of(row["row"]), line_of(row["repeats"])) for row in dropped_rows(folder)}
    assert found == set(compare_each_with_each(data))


def compare_each_with_each(data: list[dict[str, str]]) -> list[tuple[int, int]]:
    """Dropped row and row that stays, without sketches or clusters: every row against all that stay before it."""
    wordings = [wording_of(make_row(row, guess_kind(row), "x:1")) for row in data]
    twins: dict[bytes, int] = {}
    firsts = [
        number for number, each in enumerate(wordings) if twins.setdefault(exact_key(each), number) == number
    ]
    answers: dict[str, set[str]] = {}
    for number in firsts:
        if (prompt := wordings[number].prompt) is not None:
            answers.setdefault(fold(prompt.strip()), set()).add(squeeze(wordings[number].answer))
    stays: dict[int, int] = {}
    for number in firsts:
        prompt = wordings[number].prompt
        is_conflict = prompt is not None and len(answers[fold(prompt.strip())]) > 1
        near = (
            other
            for other in stays
            if stays[other] == other and not is_conflict and are_near(wordings[other], wordings[number])
        )
        stays[number] = next(near, number)
        if is_conflict:
            stays[number] = -1
    pairs = []
    for number, each in enumerate(wordings):
        first = twins[exact_key(each)]
        kept = first if stays[first] == -1 else stays[first]
        if kept != number:
            pairs.append((number + 1, kept + 1))
    return pairs


def are_near(one: Wording, other: Wording) -> bool:
    shingles = [shingles_of(tokens_of(each.body)) for each in (one, other)]
    return jaccard(*shingles) >= 0.8 and label_of(one) == label_of(other)


def line_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])
