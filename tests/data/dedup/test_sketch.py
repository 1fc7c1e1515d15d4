"""Signatures depend on the row alone, and the bands find what the threshold promises."""

import importlib
from typing import Any

import numpy as np
import pytest

from luthier.data.alike import shingles
from luthier.data.alike.wording import jaccard, shingles_of
from luthier.data.dedup import sketch
from luthier.data.dedup.sketch import (
    HASHES,
    RECALL_AT_THRESHOLD,
    DatasketchEngine,
    Engine,
    RensaEngine,
    Sketcher,
    band_keys,
    choose_bands,
    find_engine,
)
from luthier.floor.errors import EnvironmentFault
from tests.data.dedup.planting import changed, sentence

ROWS = [sentence(seed, words=seed) for seed in range(1, 40)]


def engine(name: str) -> Engine:
    kind = {"rensa": RensaEngine, "datasketch": DatasketchEngine}[name]
    return kind(importlib.import_module(name))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_are_the_longest_that_keep_the_recall(threshold: float) -> None:
    bands = choose_bands(threshold)
    assert bands.count * bands.rows <= HASHES

    def recall(rows: int) -> float:
        return 1 - (1 - threshold**rows) ** (HASHES // rows)

    assert recall(bands.rows) >= RECALL_AT_THRESHOLD
    assert bands.rows == HASHES or recall(bands.rows + 1) < RECALL_AT_THRESHOLD


@pytest.mark.parametrize("name", ["rensa", "datasketch"])
def test_a_signature_does_not_depend_on_the_rows_beside_it(name: str) -> None:
    sketcher = Sketcher(engine(name), choose_bands(0.8))
    rows = [text.split() for text in ROWS]
    together, keys = sketcher.sketch(rows)
    alone = [sketcher.sketch([row]) for row in reversed(rows)][::-1]
    assert together.shape == (len(ROWS), HASHES)
    assert np.array_equal(together, np.concatenate([each[0] for each in alone]))
    assert np.array_equal(keys, np.concatenate([each[1] for each in alone]))


@pytest.mark.parametrize("name", ["rensa", "datasketch"])
def test_signatures_agree_as_often_as_the_jaccard_says(name: str) -> None:
    sketcher = Sketcher(engine(name), choose_bands(0.8))
    wanted, found = [], []
    for seed in range(60):
        text = sentence(seed)
        pair = [text.split(), changed(changed(text, seed), seed + 1).split()]
        signatures, _ = sketcher.sketch(pair)
        wanted.append(jaccard(shingles_of(pair[0]), shingles_of(pair[1])))
        found.append(float((signatures[0] == signatures[1]).mean()))
    assert abs(np.mean(found) - np.mean(wanted)) < 0.015


def test_band_keys_are_equal_where_the_bands_are() -> None:
    bands = choose_bands(0.8)
    signatures = np.random.default_rng(0).integers(0, 2**32, size=(2, HASHES), dtype=np.uint32)
    signatures[1, : bands.rows] = signatures[0, : bands.rows]
    keys = band_keys(signatures, bands)
    assert (keys[0] == keys[1]).tolist() == [True] + [False] * (bands.count - 1)


def test_words_are_forgotten_without_being_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [text.split() for text in ROWS]
    usual, _ = Sketcher(engine("rensa"), choose_bands(0.8)).sketch(rows)
    monkeypatch.setattr(shingles, "MOST_CACHED_WORDS", 3)
    forgetful, _ = Sketcher(engine("rensa"), choose_bands(0.8)).sketch(rows)
    assert np.array_equal(usual, forgetful)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.import_module

    def import_module(name: str) -> Any:
        if name in names:
            raise ModuleNotFoundError(name)
        return real(name)

    monkeypatch.setattr(sketch.importlib, "import_module", import_module)


def test_datasketch_steps_in_where_rensa_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_engine().name == "rensa"
    without(monkeypatch, "rensa")
    assert find_engine().name == "datasketch"


def test_without_either_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "rensa", "datasketch")
    with pytest.raises(EnvironmentFault) as fault:
        find_engine()
    assert fault.value.code == "env-extra"
    assert "luthier[dedup]" in fault.value.fix
    assert "--exact-only" in fault.value.fix
