"""Survey prepared data: what the page of `luthier data report` shows, from the report and the token stores of a preparation.

Lengths, masks and sources are those of every row. Texts are decoded for rows drawn by the seed, as many as their bound allows,
so that memory and time do not grow with the data.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.config.recipe import Recipe
from luthier.data.survey.languages import count_languages
from luthier.data.survey.lengths import count_lengths
from luthier.data.survey.ngrams import count_ngrams
from luthier.data.survey.origins import read_fields
from luthier.data.survey.pairs import find_leaks, find_repeats
from luthier.data.survey.roles import count_roles
from luthier.data.survey.trained import StoredText, choose_sample, within_budget
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.reports.survey import DataSurvey, RoleShare, SampleRow, SourceShare, SplitShare
from luthier.text.encode import encode_ids
from luthier.text.token_text import TokenBytes
from luthier.text.tokenizer import load_tokenizer
from luthier.tokens.order import permutation
from luthier.tokens.store import TokenStore

__all__ = ["survey"]

MOST_TRAINED_TOKENS = 2_000_000
MOST_SAMPLE_ROWS = 20_000
ROLE_ROWS = 400
TRAIN_ROWS_SHOWN, VALIDATION_ROWS_SHOWN = 150, 30
INTERRUPTED = "the survey was interrupted; nothing was written"


@dataclass
class _Work:
    """A survey on its way."""

    recipe: Recipe
    report: DataReport
    listener: Listener
    stop: StopFlag
    train: TokenStore
    order_N: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        drawn = permutation(self.train.rows, seed=self.recipe.train.seed, epoch=0)
        self.order_N = np.asarray(drawn, dtype=np.int64)[:MOST_SAMPLE_ROWS]


def survey(
    recipe: Recipe,
    report: DataReport,
    *,
    title: str,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
) -> DataSurvey:
    """Count what a preparation came to. Raises DataError (data-cache) if its tokens are gone or damaged."""
    assert report.train.trained_tokens_lost is not None, (
        "rows that are tokenized on the fly have no tokens to count"
    )
    train = TokenStore.open(Path(report.store) / "train")
    work = _Work(recipe, report, listener or Silent(), stop or StopFlag(), train)
    tokenizer = load_tokenizer(Path(report.tokenizer))
    control_ids = [id for id, token in tokenizer.added_tokens_decoder.items() if token.special]
    make_text = partial(StoredText, token_bytes=TokenBytes(tokenizer), control_ids=control_ids)
    text = make_text(train, split="train")
    sample = work.order_N[: _sample_size(train, work.order_N)].tolist()
    languages, languages_told = count_languages(text.trained(row) for row in sample)
    ngrams = count_ngrams(_told_texts(work, text, sample))
    roles, roles_told = _roles(work, partial(encode_ids, tokenizer))
    return DataSurvey(
        title=title,
        fingerprint=train.fingerprint,
        format=report.format,
        template=report.template,
        files=report.files,
        splits=list(_splits(report)),
        ledger=report.ledger,
        lengths=count_lengths(
            train, recipe.data.max_length, trained_tokens_lost=report.train.trained_tokens_lost
        ),
        sources=_sources(train),
        roles=roles,
        roles_told=roles_told,
        languages=languages,
        languages_told=languages_told,
        repeats=find_repeats(report, work.stop),
        leaks=find_leaks(report),
        ngrams=ngrams,
        sample_rows=len(sample),
        sample_of="all" if len(sample) == train.rows else "some",
        rows=list(within_budget(_shown_rows(work, text, make_text))),
    )


def _sample_size(store: TokenStore, order_N: npt.NDArray[np.int64]) -> int:
    """How many rows of that order hold no more trained tokens than are read."""
    sums_N = np.cumsum(store.trained_counts_N[order_N], dtype=np.int64)
    return max(1, int(np.searchsorted(sums_N, MOST_TRAINED_TOKENS, side="right")))


def _told_texts(work: _Work, text: StoredText, sample: list[int]) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(sample):
        if number % 256 == 0:
            work.stop.check(INTERRUPTED, fix="Repeat the command.")
            work.listener.progress("survey", number, len(sample), "runs of words")
        yield row, text.trained(row)
    work.listener.progress("survey", len(sample), len(sample), "runs of words")


def _splits(report: DataReport) -> Iterator[SplitShare]:
    for name, counts in (("train", report.train), ("validation", report.validation)):
        if counts is not None and counts.rows_kept:
            assert counts.tokens is not None and counts.trained_tokens is not None, "as for the training rows"
            yield SplitShare(
                split=name, rows=counts.rows_kept, tokens=counts.tokens, trained_tokens=counts.trained_tokens
            )


def _sources(store: TokenStore) -> list[SourceShare]:
    """Every file with what came of it, the largest first."""
    numbers_N, count = store.source_numbers_N, len(store.sources)
    rows = np.bincount(numbers_N, minlength=count)
    tokens = np.bincount(numbers_N, weights=store.lengths_N, minlength=count)
    trained = np.bincount(numbers_N, weights=store.trained_counts_N, minlength=count)
    found = [
        SourceShare(source=name, rows=int(rows[n]), tokens=int(tokens[n]), trained_tokens=int(trained[n]))
        for n, name in enumerate(store.sources)
    ]
    return sorted(found, key=lambda each: -each.tokens)


def _roles(work: _Work, encode: Callable[[list[str]], list[list[int]]]) -> tuple[list[RoleShare], str]:
    if work.report.format != "messages":
        return [], "Roles are counted where rows are conversations."
    origins = [work.train.origin(row) for row in work.order_N[:ROLE_ROWS].tolist()]
    roles, counted = count_roles(read_fields(origins, work.stop), encode, work.recipe.data.train_on)
    if not counted:
        return [], "The files of these rows are gone or larger than 2 GiB, or the recipe names their columns."
    return (
        roles,
        f"Of {counted:,} rows drawn by the seed, as their files say it; the template's own tokens are not counted.",
    )


def _shown_rows(work: _Work, text: StoredText, make_text: Callable[..., StoredText]) -> Iterator[SampleRow]:
    if work.report.validation is not None and work.report.validation.rows_kept:
        store = TokenStore.open(Path(work.report.store) / "validation")
        drawn = np.asarray(permutation(store.rows, seed=work.recipe.train.seed, epoch=0), dtype=np.int64)
        other = make_text(store, split="validation")
        validation = [other.sample_row(row) for row in choose_sample(store, drawn, VALIDATION_ROWS_SHOWN)]
    else:
        validation = []
    for row in choose_sample(work.train, work.order_N, TRAIN_ROWS_SHOWN):
        yield text.sample_row(row)
    yield from validation
