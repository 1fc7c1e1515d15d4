"""`luthier data report` as a person types it."""

from pathlib import Path

import pytest

from tests.cli.workshop import listing, luthier, make_workshop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workshop(tmp_path_factory.mktemp("report") / "lab", tiny_base)


def test_the_page_lies_where_it_says(folder: Path) -> None:
    done = luthier(folder, "data", "report", "train")
    assert done.code == 0, done.err
    page = folder / "outputs" / "data-report" / "train.html"
    assert "page       outputs/data-report/train.html" in done.out
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "Made by <code>luthier data report train</code>" in text
    before = text.partition("<footer>")[0]
    assert luthier(folder, "data", "report", "train").code == 0, "its own page is replaced"
    assert page.read_text(encoding="utf-8").partition("<footer>")[0] == before, "the same data, the same page"


def test_json_is_the_numbers_without_the_rows(folder: Path) -> None:
    done = luthier(folder, "data", "report", "train", "--out", "here/page.html", "--json")
    assert done.code == 0, done.err
    assert done.json["page"] == "here/page.html"
    assert done.json["splits"][0]["rows"] == sum(each["rows"] for each in done.json["lengths"]["bins"])
    assert "rows" not in done.json


def test_a_dry_run_writes_no_page(folder: Path) -> None:
    luthier(folder, "prepare", "train")
    before = listing(folder)
    done = luthier(folder, "data", "report", "train", "--dry-run")
    assert done.code == 0, done.err
    assert "No page was written" in done.out
    assert listing(folder, apart_from=lambda name: name.endswith(".lock")) == {
        name: what for name, what in before.items() if not name.endswith(".lock")
    }


def test_no_other_file_is_replaced(folder: Path) -> None:
    (folder / "mine.html").write_text("<html>mine</html>")
    done = luthier(folder, "data", "report", "train", "--out", "mine.html")
    assert (done.code, "is no data report" in done.err) == (2, True)
    assert (folder / "mine.html").read_text() == "<html>mine</html>"
    done = luthier(folder, "data", "report", "train", "--out", "data")
    assert (done.code, "is a folder" in done.err) == (2, True)


def test_a_run_is_reported_by_its_name(folder: Path) -> None:
    assert luthier(folder, "prepare", "train", "--run", "outputs/runs/one").code == 0
    done = luthier(folder, "data", "report", "--run", "outputs/runs/one")
    assert done.code == 0, done.err
    assert "page       outputs/data-report/run-one.html" in done.out
    assert luthier(folder, "data", "report", "outputs/runs/one", "--dry-run").out.startswith("train ")
    assert "<h1>run one</h1>" in (folder / "outputs" / "data-report" / "run-one.html").read_text()


def test_without_a_recipe_it_says_which_there_are(folder: Path) -> None:
    done = luthier(folder, "data", "report")
    assert (done.code, "luthier data report needs a recipe" in done.err) == (2, True)
