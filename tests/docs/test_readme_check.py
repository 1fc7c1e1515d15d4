"""What the README shows of a check is what the program says, to the letter."""

from pathlib import Path

import pytest

from luthier.cli.app import run_command

README = Path(__file__).parents[2] / "README.md"
COMMAND = "$ luthier data check faq.jsonl\n"


def test_the_check_that_the_readme_shows_is_what_a_check_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ftfy")
    pytest.importorskip("rensa")
    before, shown = README.read_text(encoding="utf-8").split(f"```console\n{COMMAND}")
    rows = before.rpartition("```text\n")[2].partition("```")[0]
    (tmp_path / "faq.jsonl").write_text(rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_command(["data", "check", "faq.jsonl"]) == 1
    assert capsys.readouterr().out == shown.partition("```")[0]


def test_every_how_to_is_listed_once_in_the_index() -> None:
    docs = README.parent / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    pages = sorted(page.name for page in (docs / "how-to").glob("*.md"))
    assert [index.count(f"(how-to/{name})") for name in pages] == [1] * len(pages)
