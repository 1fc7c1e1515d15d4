"""Laws that hold for any rows: a partition, no trace of budget or batch, nothing to do twice, order only chooses the copy."""

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.dedup.planting import changed, dropped_rows, kept_lines, run, sentence, write_rows

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
        assert all(row.get("via_jaccard", row["jaccard"]) >= 0.8 for row in dropped)


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


@settings(max_examples=40, deadline=None)
@given(some_rows, st.randoms(use_true_random=False))
def test_the_order_only_decides_which_copy_stays(data: list[dict[str, str]], random: Any) -> None:
    shuffled = list(enumerate(data))
    random.shuffle(shuffled)
    with Folder() as folder:
        one = clusters(folder, "one", list(enumerate(data)))
        other = clusters(folder, "other", shuffled)
        assert one == other


def clusters(folder: Path, name: str, data: list[tuple[int, dict[str, str]]]) -> set[frozenset[int]]:
    """The rows that stand for each other, by their number in the original order."""
    source = write_rows(folder / f"{name}.jsonl", [row for _, row in data])
    _, dropped = outcome(folder, source, name)
    number = {f"{source}:{line}": original for line, (original, _) in enumerate(data, start=1)}
    sets = {origin: {original} for origin, original in number.items()}
    for row in dropped:
        sets[row["repeats"]].add(number[row["row"]])
        del sets[row["row"]]
    return {frozenset(each) for each in sets.values()}


def test_a_large_group_is_compared_first_with_first_and_what_is_passed_over_is_counted(
    tmp_path: Path, monkeypatch: Any
) -> None:
    data = [{"text": changed(sentence(1), seed)} for seed in range(150)]
    source = write_rows(tmp_path / "in.jsonl", data)
    whole = run(tmp_path, source)
    assert whole.pairs_passed_over == 0
    assert whole.rows_kept == 1
    monkeypatch.setattr("luthier.data.dedup.near.MOST_PAIRS_A_GROUP", 100)
    cut = run(tmp_path, source, overwrite=True)
    assert cut.pairs_passed_over > 0
    assert (
        json.loads((tmp_path / "out.report.json").read_text())["pairs_passed_over"] == cut.pairs_passed_over
    )
