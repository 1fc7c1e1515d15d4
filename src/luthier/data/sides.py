"""Which side each training row of a recipe goes to, as its data section says."""

from collections.abc import Iterable, Iterator, Sequence

from luthier.config.data import DataConfig
from luthier.data.clean.cleaner import Cleaner
from luthier.data.clean.filter import Filter
from luthier.data.sources import Sources
from luthier.data.split import Splitter, choose_splitter
from luthier.floor.stop import StopFlag
from luthier.text.rows import Row

INTERRUPTED = "the look over the rows was interrupted; nothing was kept"
ROWS_BETWEEN_LOOKS = 1024


def sides_of(config: DataConfig, sources: Sources, rows: Iterable[Row], *, seed: int) -> Splitter:
    """By hash; by strata, the rows are gone through once before."""
    share = 0.0 if sources.validation else config.validation_fraction
    return choose_splitter(
        rows,
        seed=seed,
        shares={"validation": share},
        by_group=config.group_by is not None,
        stratified=config.stratify_by is not None and share > 0,
    )


def cleaned_again(sources: Sources, filters: Sequence[Filter], stop: StopFlag) -> Iterator[Row]:
    """The training rows as cleaning leaves them, to be looked at before they are written; nothing is noted."""
    return _clean(sources.read_train(), filters, stop)


def cleaned_validation(sources: Sources, filters: Sequence[Filter], stop: StopFlag) -> Iterator[Row]:
    """The same of validation rows that have files of their own; none otherwise."""
    return _clean(sources.read_validation(), filters, stop)


def _clean(rows: Iterator[Row], filters: Sequence[Filter], stop: StopFlag) -> Iterator[Row]:
    for number, row in enumerate(Cleaner(filters, stop=stop).clean(rows)):
        if number % ROWS_BETWEEN_LOOKS == 0:
            stop.check(INTERRUPTED, fix="Repeat the command.")
        yield row
