"""Keep prepared tokens under a name made of everything they depend on, so that they are found again or made anew.

<cache>/<key>/{train,validation}/   token stores
<cache>/<key>/train-texts/          instead of train/ where training rows are tokenized on the fly
<cache>/<key>/tokenizer/            only where the tokenizer was trained on the rows
<cache>/<key>/cleaning/             only where cleaning is on: the rows it left out, samples of its edits
<cache>/<key>/dropped.jsonl         every row that went, and what was cut off the others
<cache>/<key>/prepared.json         the counts; written last
<cache>/.<key>.journal/             what was tokenized of rows whose preparation was cut short
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from luthier.encoding.prepared_folder import TEXTS
from luthier.floor.errors import DataError, ModelError, UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.data import CleaningCounts, SourceCounts, SplitCounts
from luthier.reports.leaks import LeakFindings
from luthier.reports.ledger import StageBooks, check_ledger
from luthier.tokens.store import TokenStore
from luthier.tokens.text_store import TextStore

PREPARED = "prepared.json"
KEY_CHARACTERS = 32
LOCK_POLL_SECONDS = 0.2
STALE_SECONDS = 7 * 24 * 3600


class Prepared(BaseModel):
    """What lies in a cache folder, apart from the tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitCounts
    validation: SplitCounts | None
    unused_fields: dict[str, int]
    cleaning: CleaningCounts | None = None
    sources: dict[str, SourceCounts] = {}
    leaks: LeakFindings | None = None
    ledger: list[StageBooks]
    """Every stage up to the stores; how they are packed is the run's."""
    tokenization: Literal["cached", "on_the_fly"] = "cached"


def make_key(parts: dict[str, object]) -> str:
    """A name for prepared tokens: a hash of all that they depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_CHARACTERS]


def read_prepared(folder: Path) -> Prepared:
    """What was prepared in `folder`, every byte of it checked; raises DataError (data-cache) if damaged or incomplete."""
    try:
        prepared = Prepared.model_validate_json((folder / PREPARED).read_bytes())
    except (OSError, ValidationError) as fault:
        raise DataError("data-cache", f"{PREPARED} cannot be read", where=str(folder)) from fault
    check_ledger(prepared.ledger)
    for split, counts in (("train", prepared.train), ("validation", prepared.validation)):
        if counts:
            store = open_training(folder) if split == "train" else TokenStore.open(folder / split)
            store.verify()
            if store.fingerprint != counts.fingerprint:
                raise DataError(
                    "data-cache", f"{split} holds other rows than {PREPARED} says", where=str(folder)
                )
    return prepared


def open_training(folder: Path) -> TokenStore | TextStore:
    """The training rows of a prepared folder; raises DataError (data-cache) if they are damaged."""
    if (folder / TEXTS).is_dir():
        return TextStore.open(folder / TEXTS)
    return TokenStore.open(folder / "train")


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends well, and vanishes when it does not."""
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}")
    with disk_faults(folder):
        for stale in folder.parent.glob(f"{TEMPORARY_PREFIX}{folder.name}-*"):
            shutil.rmtree(stale)
        temporary.mkdir(parents=True)
    try:
        yield temporary
        publish_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def journal_beside(folder: Path) -> Iterator[Path]:
    """Where tokens are kept until `folder` is whole. Stays when the work is cut short, goes when it ends, well or by its data.

    Journals that nobody came back to for a week are removed on the way.
    """
    for stale in folder.parent.glob(".*.journal"):
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(stale)
    journal = folder.with_name(f".{folder.name}.journal")
    try:
        yield journal
    except (DataError, ModelError, UsageError):
        shutil.rmtree(journal, ignore_errors=True)
        raise
    shutil.rmtree(journal, ignore_errors=True)


@contextmanager
def lock_folder(folder: Path, listener: Listener, stop: StopFlag) -> Iterator[None]:
    """Hold the place for this process; a second process with the same data waits, then finds the work done.

    The kernel frees the lock when the process ends, however it ends.
    """
    path = folder.with_name(f".{folder.name}.lock")
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        has_said = False
        while not _try_lock(descriptor):
            if not has_said:
                listener.say("data: another process is preparing the same rows; waiting for it")
                has_said = True
            stop.check("the preparation of the data was interrupted", fix="Repeat the command.")
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
