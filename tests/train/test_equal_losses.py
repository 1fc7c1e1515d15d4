"""However a step is cut, its loss is the same: packed or padded, one micro-batch or eight."""

from pathlib import Path
from typing import Any

import pytest

from luthier.train.stage import train
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows

pytestmark = pytest.mark.slow


def losses(base: Path, folder: Path, **settings: Any) -> list[float]:
    run = make_run(folder, base, rows=random_rows(80))
    train(make_recipe(base, train={"epochs": 2, **settings}), run)
    return logged_losses(run)


def test_packed_training_equals_unpacked(tiny_base: Path, tmp_path: Path) -> None:
    packed = losses(tiny_base, tmp_path / "packed", packing=True)
    plain = losses(tiny_base, tmp_path / "plain", packing=False)
    assert len(packed) == 20
    assert packed == pytest.approx(plain, abs=1e-5)


def test_how_far_rows_are_padded_does_not_change_the_losses(tiny_base: Path, tmp_path: Path) -> None:
    longest = losses(tiny_base, tmp_path / "longest", packing=False)
    fixed = losses(tiny_base, tmp_path / "fixed", packing=False, padding="fixed")
    assert fixed == pytest.approx(longest, abs=1e-5)
    bucketed = losses(tiny_base, tmp_path / "bucketed", packing=False, padding="bucketed")
    assert len(bucketed) == len(longest)
    assert bucketed != pytest.approx(longest, abs=1e-3), "bucketed steps hold other rows"
    assert sum(bucketed[:10]) == pytest.approx(sum(longest[:10]), rel=0.02), "an epoch holds the same rows"


@pytest.mark.parametrize("packing", [True, False])
def test_accumulation_does_not_change_the_losses(tiny_base: Path, tmp_path: Path, packing: bool) -> None:
    cuts = [(1, 8), (4, 2), (8, 1)]
    found = [
        losses(
            tiny_base,
            tmp_path / f"{rows}x{times}",
            batch_size=rows,
            gradient_accumulation_steps=times,
            packing=packing,
            pack_tokens=64,
        )
        for rows, times in cuts
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_gradient_checkpointing_does_not_change_the_losses(tiny_base: Path, tmp_path: Path) -> None:
    plain = losses(tiny_base, tmp_path / "plain")
    recomputed = losses(tiny_base, tmp_path / "recomputed", gradient_checkpointing=True)
    assert recomputed == pytest.approx(plain, abs=1e-6)
