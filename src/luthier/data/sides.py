"""Which side each training row of a recipe goes to, as its data section says."""

from collections.abc import Iterator, Sequence

from luthier.config.data import DataConfig
from luthier.data.clean.cleaner import Cleaner
from luthier.data.clean.filter import Filter
from luthier.data.sources import Sources
from luthier.data.split import Splitter, choose_splitter
from luthier.floor.stop import StopFlag
from luthier.text.rows import Row

INTERRUPTED = "the look over the rows was interrupted; nothing was kept"
ROWS_BETWEEN_LOOKS = 1024


def sides_of(
    config: DataConfig, sources: Sources, filters: Sequence[Filter], *, seed: int, stop: StopFlag
) -> Splitter:
    """By hash; by strata, the cleaned rows are gone through once before."""
    share = 0.0 if sources.validation else config.validation_fraction
    return choose_splitter(
        cleaned_again(sources, filters, stop),
        seed=seed,
        shares={"validation": share},
        by_group=config.group_by is not None,
        stratified=config.stratify_by is not None and share > 0,
    )


def cleaned_again(sources: Sources, filters: Sequence[Filter], stop: StopFlag) -> Iterator[Row]:
    """The training rows as cleaning leaves them, to be looked at before they are written; nothing is noted."""
    for number, row in enumerate(Cleaner(filters, stop=stop).clean(sources.read_train())):
        if number % ROWS_BETWEEN_LOOKS == 0:
            stop.check(INTERRUPTED, fix="Repeat the command.")
        yield row
