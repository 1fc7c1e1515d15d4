"""The page of a plan in a real browser: what it shows, in light and dark, on a desk and on a phone; and that a recipe's words stay words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.cli.plan_text import verdict_of
from luthier.config.compose import load_overrides
from luthier.config.recipe import Recipe
from luthier.knowledge.schedule import learning_rate
from luthier.plan.page import CURVE_BOTTOM, CURVE_TOP, curve_of, make_page
from luthier.plan.stage import plan
from tests.browser import Tab, tab
from tests.cli.workshop import luthier, make_workshop

HOSTILE = "<img src=x onerror=alert(1)>"


def recipe_of(*overrides: str) -> Recipe:
    return load_overrides(overrides, under={"model": {"name": "embedded"}}).recipe


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "plan.html"
    recipe = recipe_of("model.name=meta-llama/Llama-3.1-8B", "train.lr=0.5")
    found = plan(recipe, name=HOSTILE, gpu="a10", with_ladder=True)
    path.write_text(
        make_page(found, recipe.train, verdict=verdict_of(found), version="1", command=HOSTILE), "utf-8"
    )
    return path


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Tab]:
    with tab() as opened:
        opened.look(width=1100, height=900, scheme="light")
        opened.open(page)
        yield opened


def test_the_page_shows_the_plan_and_asks_for_nothing(browser: Tab, page: Path) -> None:
    assert browser.complaints == []
    assert browser.asked == [page.as_uri()]
    assert browser.value("document.querySelectorAll('img, script').length") == 0
    assert browser.value("document.querySelector('h1').textContent") == f"{HOSTILE} on A10"
    assert browser.value("document.querySelectorAll('.phase').length") == 4
    # The parts of a bar are as wide as they weigh, and the device's line lies within the longest.
    assert browser.value("[...document.querySelectorAll('.phase')].every(each => each.querySelectorAll('rect').length > 2)")  # fmt: skip
    assert 0 < browser.value("+document.querySelector('.limit').getAttribute('x1')") < 1000
    assert browser.value("document.querySelectorAll('#ladder tbody tr').length") >= 3
    assert "train.lr = 0.5" in browser.value("document.querySelector('#settings').textContent")


def test_it_is_light_or_dark_as_the_person_prefers(browser: Tab) -> None:
    colors = {}
    for scheme in ("light", "dark"):
        browser.look(width=1100, height=900, scheme=scheme)
        colors[scheme] = browser.value("getComputedStyle(document.body).backgroundColor")
        assert len(browser.screenshot(whole=True)) > 20_000
    assert colors["light"] != colors["dark"]


def test_a_phone_shows_it_without_scrolling_sideways(browser: Tab) -> None:
    browser.look(width=360, height=740, scheme="light")
    assert browser.value("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
def test_the_curve_is_the_rate_of_the_training(kind: str) -> None:
    train = recipe_of(f"train.schedule.kind={kind}", "train.schedule.warmup_fraction=0.1").train
    points = [tuple(map(float, point.split(","))) for point in curve_of(train, 101).points.split()]
    assert len(points) == 101
    for step, (_, y) in enumerate(points):
        rate = (CURVE_BOTTOM - y) / (CURVE_BOTTOM - CURVE_TOP) * train.lr
        expected = learning_rate(step, train.schedule, highest=train.lr, total_steps=101)
        assert rate == pytest.approx(expected, abs=train.lr / 1000)


def test_the_command_writes_the_page_or_says_why_not(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    done = luthier(folder, "plan", "train", "--gpu", "H100", "--html", "plan.html")
    assert done.code == 0, done.err
    assert "<h1>train on H100</h1>" in (folder / "plan.html").read_text("utf-8")
    assert luthier(folder, "plan", "train", "--gpu", "H100", "--html", "plan.txt").code == 2
