"""`luthier data report`: one page that shows what the model will learn, to look at, to send, to keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson, Words

if TYPE_CHECKING:
    from luthier.reports.survey import DataSurvey

FOLDER = Path("outputs/data-report")
HEAD_BYTES = 4096


def data_report(
    words: Words = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Show what this run was or will be trained on.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Where the page goes. Without it, outputs/data-report/NAME.html.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the numbers; write no page.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write one HTML page about prepared data: books, lengths, masks, sources, languages, repeats, words, and rows.

    The page asks the network for nothing. The data is prepared if that is not done.
    """
    from importlib.metadata import version

    from luthier.cli.data_show import Split, open_data
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.data.survey.page import make_page
    from luthier.data.survey.stage import survey
    from luthier.floor.files import write_text
    from luthier.floor.stop import StopFlag, listen_for_stop

    words, run = run_or_recipe(words, run)
    with (
        open_data(words, run, Split.TRAIN, verb="data report", needs_tokens=True) as opened,
        listen_for_stop(StopFlag()) as stop,
    ):
        title = title_of(words, run)
        page_path = None if dry_run else out or FOLDER / f"{title.replace(' ', '-')}.html"
        if page_path:
            check_page(page_path)
        found = survey(opened.recipe, opened.report, title=title, listener=Screen(), stop=stop)
        if page_path:
            command = f"luthier data report {opened.typed}".strip()
            write_text(page_path, make_page(found, version=version("luthier"), command=command))
    if as_json:
        facts = found.model_dump(mode="json", exclude={"rows"})
        return show_json({"page": str(page_path) if page_path else None, **facts})
    return show(survey_text(found, page_path))


def run_or_recipe(words: list[str] | None, run: str | None) -> tuple[list[str] | None, str | None]:
    """A first word that is a folder, or `latest`, is a run; recipes are files."""
    if run is None and words and (words[0] == "latest" or Path(words[0]).is_dir()):
        return words[1:], words[0]
    return words, run


def title_of(words: list[str] | None, run: str | None) -> str:
    """What the page is about: the run, or the recipe."""
    from luthier.cli.choose import split_words
    from luthier.floor.rundir import open_run

    if run is not None:
        return f"run {open_run(run).name}"
    name, _ = split_words(words)
    return Path(name or "data").stem


def check_page(path: Path) -> None:
    """Raise UsageError if something else than a page of this command would be replaced."""
    from luthier.data.survey.page import GENERATOR
    from luthier.floor.errors import UsageError

    if path.is_dir():
        raise UsageError("usage", f"{path} is a folder", where="--out", fix="Name a file: --out data.html")
    if not path.exists():
        return
    with open(path, "rb") as file:
        if f'content="{GENERATOR}"'.encode() in file.read(HEAD_BYTES):
            return
    raise UsageError(
        "usage",
        f"{path} is there already, and is no data report",
        where="--out",
        fix="Name another file: --out data.html",
    )


def survey_text(found: "DataSurvey", page: Path | None) -> str:
    """The main numbers, and where the page lies."""
    from luthier.floor.units import count_of, format_bytes

    lines = []
    for split in found.splits:
        share = split.trained_tokens / split.tokens if split.tokens else 0.0
        lines.append(
            f"{split.split:<11}{count_of(split.rows, 'row')}, {split.tokens:,} tokens, {split.trained_tokens:,} trained ({share:.1%})"
        )
    lengths = found.lengths
    lines.append(
        f"lengths    half up to {lengths.median:,} tokens, the longest {lengths.longest:,}; cut-off {lengths.max_length:,}: "
        f"{count_of(lengths.rows_cut, 'row')} cut, {lengths.trained_tokens_lost:,} trained tokens lost"
    )
    if found.languages:
        named = ", ".join(f"{each.language} {each.rows:,}" for each in found.languages[:4])
        lines.append(f"languages  {named}")
    lines.append(f"repeats    {found.repeats.found:,} pairs; {found.repeats.told}")
    lines.append(f"leaks      {found.leaks.found:,} pairs; {found.leaks.told}")
    if page is None:
        lines.append("No page was written: this was a dry run.")
    else:
        lines.append(f"page       {page} ({format_bytes(page.stat().st_size)}); open it in a browser")
    return "\n".join(lines)
