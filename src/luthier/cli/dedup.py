"""`luthier data dedup`: leave out rows that repeat others, exactly or nearly."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.columns import NamedColumns, columns_of
from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.reports.dedup import DedupReport, RepeatedPair

FOLDER = Path("outputs/dedup")
PAIRS_OF_A_DRY_RUN, MOST_SHOWN = 3, 100_000
FOLDED = "if case and punctuation do not count"
COLUMN_WIDTH, COLUMN_LINES = 54, 8

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...", help="Files of rows in any format, or folders of them.", show_default=False
    ),
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="Leave out rows that this file or folder has too, such as a test set. May be repeated.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where the kept rows go. For one source: outputs/dedup/NAME.jsonl unless named.",
        show_default=False,
    ),
]
SemanticModel = Annotated[
    str | None,
    typer.Option(
        "--semantic",
        metavar="MODEL",
        help="Leave out rows that mean the same, too: a model2vec folder, never fetched.",
        show_default=False,
    ),
]
Similarity = Annotated[
    float, typer.Option("--similarity", help="The cosine from which two rows mean the same, 0.5 to 1.")
]
Threshold = Annotated[
    float, typer.Option("--threshold", help="The Jaccard from which two rows are near, 0.3 to 1.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier run.")]
ShowPairs = Annotated[
    int,
    typer.Option(
        "--show",
        metavar="N",
        min=0,
        max=MOST_SHOWN,
        help="Show so many pairs side by side; with --against those that leak. A dry run shows three.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Write nothing; show the largest clusters and three pairs.")
]


def dedup(
    sources: Sources,
    against: Against = None,
    columns: NamedColumns = None,
    out: Out = None,
    threshold: Threshold = 0.8,
    exact_only: Annotated[bool, typer.Option("--exact-only", help="Look for exact repeats only.")] = False,
    semantic: SemanticModel = None,
    similarity: Similarity = 0.95,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    show_pairs: ShowPairs = 0,
    as_json: AsJson = False,
) -> None:
    """Leave out rows that repeat others; the first stays, a line of JSON byte for byte.

    Prompts that are answered in different ways are listed and stay. Kept rows, dropped rows and a report are written.
    """
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    with listen_for_stop(StopFlag()) as stop:
        from luthier.data.dedup.stage import DedupTask
        from luthier.data.dedup.stage import dedup as dedup_stage

        task = DedupTask(
            sources=tuple(sources),
            against=tuple(against or ()),
            columns=columns_of(columns),
            threshold=threshold,
            exact_only=exact_only,
            semantic_model=semantic,
            similarity=similarity,
            out=None if dry_run else out or default_out(sources),
            overwrite=overwrite,
            pairs_shown=show_pairs or (PAIRS_OF_A_DRY_RUN if dry_run else 0),
        )
        report = dedup_stage(task, listener=Screen(), stop=stop)
    if as_json:
        return show_json(report.model_dump(mode="json"))
    return show(dedup_text(report, with_clusters=dry_run))


def default_out(sources: list[Path]) -> Path:
    """Away from the data: a folder that is trained on must not hold its rows twice."""
    from luthier.floor.errors import UsageError
    from luthier.text.readers.endings import bare_name

    if len(sources) > 1:
        raise UsageError(
            "usage",
            f"{len(sources)} sources and no name for what stays of them",
            where="--out",
            fix="Name a file: --out outputs/dedup/train.jsonl",
        )
    return FOLDER / f"{bare_name(sources[0].resolve())}.jsonl"


def dedup_text(report: "DedupReport", *, with_clusters: bool) -> str:
    """The books, what to look at, and where everything lies."""
    from luthier.floor.units import count_of

    lines = [books_line(report)]
    if report.rows_against:
        lines.append(f"against    {count_of(report.rows_against, 'row')} of {', '.join(report.against)}")
    written, folded = report.prompts_as_written, report.prompts_folded
    lines.append(
        f"prompts    {count_of(written.repeated, 'row')} {'asks' if written.repeated == 1 else 'ask'} what an earlier row asks; {folded.repeated:,} {FOLDED}"
    )
    lines.append(
        f"conflicts  {count_of(written.conflicting, 'prompt')} {'has' if written.conflicting == 1 else 'have'} more than one answer; {folded.conflicting:,} {FOLDED}"
    )
    if report.threshold is not None:
        lines.append(
            f"near       Jaccard {report.threshold:g} or more; {report.bands} bands of {report.rows_per_band} by "
            f"{report.engine}; {report.pairs_confirmed:,} of {report.pairs_compared:,} pairs confirmed"
        )
    if report.semantic_model is not None:
        lines.append(
            f"meaning    cosine {report.similarity:g} or more by {report.semantic_model}; look at the pairs"
        )
    if with_clusters:
        lines += clusters_lines(report)
    for pair in report.pairs:
        lines += ["", *pair_lines(pair)]
    if report.out:
        lines.append(f"kept       {report.out}")
        lines.append(f"dropped    {report.dropped_file}")
        if report.conflicts_kept:
            lines.append(f"listed     {report.conflicts_file}")
    elif with_clusters:
        lines.append("Nothing was written: this was a dry run.")
    return "\n".join(lines)


def books_line(report: "DedupReport") -> str:
    """`rows       12,607 in = 12,000 kept + 7 exact + 600 near`"""
    parts = [f"{report.rows_kept:,} kept", *(f"{rows:,} {kind}" for kind, rows in report.dropped.items())]
    return f"rows       {report.rows_in:,} in = {' + '.join(parts)}"


def clusters_lines(report: "DedupReport") -> list[str]:
    """The rows that most others repeat."""
    lines = []
    for cluster in report.largest_clusters:
        text = " ".join(cluster.text.split())[:60]
        others = "other" if cluster.rows_dropped == 1 else "others"
        lines.append(f"cluster    {cluster.row} stays for {cluster.rows_dropped:,} {others}: {text}")
    return lines


def pair_lines(pair: "RepeatedPair") -> list[str]:
    """Two texts side by side, the row that stays on the left."""
    import textwrap

    def column(origin: str, text: str) -> list[str]:
        wrapped = [part for line in text.splitlines() for part in textwrap.wrap(line, COLUMN_WIDTH)]
        return [origin, *wrapped[:COLUMN_LINES], *(["..."] if len(wrapped) > COLUMN_LINES else [])]

    left, right = column(pair.repeats, pair.repeated_text), column(pair.row, pair.text)
    height = max(len(left), len(right))
    left += [""] * (height - len(left))
    right += [""] * (height - len(right))
    rows = [f"{one:<{COLUMN_WIDTH}} | {two}".rstrip() for one, two in zip(left, right, strict=True)]
    through = f", through {pair.via}" if pair.via else ""
    return [
        f"{pair.kind}, {'cosine' if pair.measure == 'cosine' else 'Jaccard'} {pair.jaccard:.3f}{through}; the left one stays",
        *rows,
    ]
