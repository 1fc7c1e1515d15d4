"""The data in a model card: sources with their licences, what was kept and left out, and hashes by which the files are known again."""

from luthier.publish.facts import Facts, shown_name, sources_of
from luthier.publish.markdown import code, link, plain, table
from luthier.publish.terms import Terms
from luthier.reports.leaks import LeakFindings

# A folder of thousands of shards is named by its first ones; the run's data report has them all.
MOST_FILES = 20


def data_section(facts: Facts, terms: Terms) -> list[str]:
    """The lines of the section, without its heading."""
    if facts.data is None:
        return ["The run has no report of its data."]
    return [*_sources(facts, terms), "", *_books(facts), "", *_files(facts)]


def _sources(facts: Facts, terms: Terms) -> list[str]:
    licences = {each.source: each.licence for each in terms.data}
    rows: list[tuple[str, ...]] = [("source", "licence", "rows", "trained tokens", "share of tokens")]
    for name, counts in sources_of(facts):
        licence = licences.get(name)
        shown = (
            "unknown"
            if licence is None
            else link(licence.name, licence.source)
            if licence.source
            else licence.name
        )
        figures = (
            (f"{counts.train_rows:,}", _count(counts.train_trained_tokens), _share(counts.token_share))
            if counts is not None
            else (f"{facts.data.train.rows_kept:,}" if facts.data else "", "", "")
        )
        rows.append((plain(name), shown, *figures))
    return table(rows, right=(2, 3, 4))


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _books(facts: Facts) -> list[str]:
    data = facts.data
    assert data is not None, "checked by the caller"
    apart = f"; {data.validation.rows_kept:,} rows were set apart for validation" if data.validation else ""
    of_all = "all" if data.train.rows_kept == data.train.rows_in else f"{data.train.rows_kept:,}"
    lines = [f"- Of {data.train.rows_in:,} rows for training {of_all} were kept{apart}."]
    dropped = {**data.train.dropped, **{f"cleaning: {why}": count for why, count in _cleaned(facts).items()}}
    if dropped:
        reasons = ", ".join(f"{count:,} {plain(reason)}" for reason, count in dropped.items())
        lines.append(f"- Left out: {reasons}.")
    if data.train.rows_truncated:
        lines.append(
            f"- {data.train.rows_truncated:,} rows were cut to {facts.recipe.data.max_length:,} tokens."
        )
    lines.append(_leaks(data.leaks))
    return lines


def _leaks(leaks: LeakFindings | None) -> str:
    if leaks is None:
        return "- This run did not look for held-out or benchmark questions among the training rows."
    looked = [
        *([f"{len(leaks.suite_files):,} files of benchmark suites"] if leaks.suites else []),
        *(["the validation rows"] if leaks.validation else []),
    ]
    reasons = ", ".join(f"{count:,} {plain(reason)}" for reason, count in leaks.reasons.items()) or "none"
    became = "left out" if leaks.found == "drop" else "left in"
    return f"- Questions of {' and '.join(looked)} were looked for among the training rows; found and {became}: {reasons}."


def _cleaned(facts: Facts) -> dict[str, int]:
    cleaning = facts.data.cleaning if facts.data else None
    found: dict[str, int] = {}
    for counts in cleaning.filters.values() if cleaning else ():
        for reason, count in counts.dropped.items():
            found[reason] = found.get(reason, 0) + count
    return found


def _files(facts: Facts) -> list[str]:
    files = list(facts.data.files.items()) if facts.data else []
    rows: list[tuple[str, ...]] = [("file", "SHA-256")]
    rows += [(code(shown_name(name)), code(digest)) for name, digest in files[:MOST_FILES]]
    more = ["", f"And {len(files) - MOST_FILES:,} more."] if len(files) > MOST_FILES else []
    return [*table(rows), *more]
