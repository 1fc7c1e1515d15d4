"""Rows of one template: what is found among them is what comparing each with each finds, and far fewer pairs are looked at."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.alike.join import Join
from luthier.data.dedup import near
from tests.data.dedup.planting import dropped_rows, kept_lines, run, sentence, write_rows
from tests.data.dedup.test_properties import Folder, compare_each_with_each, line_of

pytestmark = pytest.mark.slow

TEMPLATE = sentence(0, words=40).split()


@st.composite
def templated(draw: st.DrawFn) -> list[dict[str, str]]:
    """Rows of one template with one to three places filled from few fillings: pairs lie on both sides of the threshold."""
    fillings = [sentence(seed, words=draw(st.integers(1, 4))) for seed in range(1, 5)]
    places = draw(st.lists(st.integers(1, 38), min_size=1, max_size=3, unique=True))
    rows = []
    for _ in range(draw(st.integers(4, 30))):
        words = list(TEMPLATE)
        for place in places:
            words[place] = draw(st.sampled_from(fillings))
        rows.append({"text": " ".join(words)})
    return rows


@settings(max_examples=60, deadline=None)
@given(templated(), st.sampled_from([2**31, 4 * 128 * 60]))
def test_rows_of_a_template_go_exactly_if_one_that_stays_is_near(
    data: list[dict[str, str]], budget_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, Folder() as folder:
        patch.setattr("luthier.data.dedup.sweep.SMALL_GROUP", 2)
        patch.setattr(near, "SMALL_GROUP", 2)
        patch.setattr("luthier.data.dedup.sweep.READ_AT_ONCE", 3)
        run(folder, write_rows(folder / "in.jsonl", data), budget_bytes=budget_bytes)
        found = {(line_of(row["row"]), line_of(row["repeats"])) for row in dropped_rows(folder)}
    assert found == set(compare_each_with_each(data))


sets_of_numbers = st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(sets_of_numbers, st.floats(0.3, 1))
def test_a_join_finds_every_pair_at_the_threshold_and_no_other(
    sets: list[set[int]], threshold: float
) -> None:
    join = Join([np.array(sorted(each), dtype=np.uint64) for each in sets], [0] * len(sets), threshold)
    found = []
    for row in range(len(sets)):
        found += [(other, row) for other in join.near(row)]
        join.add(row)
    wanted = [
        (i, j)
        for i, j in combinations(range(len(sets)), 2)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
    ]
    assert sorted(found) == sorted(wanted)


def test_rows_with_other_labels_are_not_found() -> None:
    join = Join([np.arange(9, dtype=np.uint64)] * 3, [1, 2, 1], 0.8)
    join.add(0)
    join.add(1)
    assert list(join.near(2)) == [0]


def test_rows_just_under_the_threshold_are_told_apart_without_comparing_each_with_each(
    tmp_path: Path,
) -> None:
    shared = sentence(1, words=100)
    data = [{"text": f"{shared} {sentence(10 + seed, words=20)}"} for seed in range(400)]
    report = run(tmp_path, write_rows(tmp_path / "in.jsonl", data))
    assert report.rows_kept == 400
    assert report.pairs_compared < 400, "79,800 pairs, of which nearly all pass the bands"


def test_rows_that_leak_are_found_among_many_of_one_template(tmp_path: Path) -> None:
    shared = sentence(1, words=80)
    texts = [f"{shared} {sentence(10 + seed, words=30)}" for seed in range(150)]
    random.Random(1).shuffle(texts)
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in texts[:100]])
    leaked = [texts[3] + " and so on", *texts[100:], texts[70] + " again"]
    test = write_rows(tmp_path / "test.jsonl", [{"text": text} for text in leaked])
    report = run(tmp_path, source, against=(test,))
    assert report.dropped == {"against-near": 2}
    assert [(line_of(row["row"]), line_of(row["repeats"])) for row in dropped_rows(tmp_path)] == [
        (4, 1),
        (71, 52),
    ]
    assert len(kept_lines(tmp_path)) == 98
