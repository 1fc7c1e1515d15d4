"""The data stage: from a recipe to token stores that training maps into memory.

Imports neither torch nor transformers by itself: what needs a tokenizer is imported where it is called.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.config.method import ScratchMethod
from luthier.config.recipe import Recipe
from luthier.data.cache import (
    PREPARED,
    Prepared,
    journal_beside,
    lock_folder,
    make_key,
    read_prepared,
    writing,
)
from luthier.data.clean.presets import cleaning_key, make_filters
from luthier.data.clean.tell import cleaning_lines
from luthier.data.leak_check import leaks_key, warn_of
from luthier.data.repeats import dedup_key
from luthier.data.sources import Sources, check_nothing_is_fetched, find_sources
from luthier.data.steps import steps_of
from luthier.data.tokenizer import find_tokenizer, train_on_rows
from luthier.encoding.costs import CAN_SPLIT
from luthier.encoding.dropped import DROPPED
from luthier.encoding.ids import check_largest_id, embeddings_of
from luthier.encoding.prepared_folder import PREPARATION_VERSION
from luthier.floor.errors import DataError, RecipeError, UsageError
from luthier.floor.files import write_json
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.data import DataReport, PreparePlan, TokensGuessed, rows_and_tokens
from luthier.reports.ledger import StageBooks, check_ledger
from luthier.reports.provenance import gather_provenance
from luthier.text.readers.sizes import guess_unpacked_bytes
from luthier.tokens.epoch import packed_books
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from luthier.data.foresee import Foreseen
    from luthier.data.text_split import ForLater
    from luthier.text.render import Template


def prepare(
    recipe: Recipe,
    run: RunDir,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    again: bool = False,
) -> DataReport:
    """Turn the recipe's rows into token stores, or find them prepared already; the run gets the report.

    Raises DataError naming every row that cannot be used, and keeps nothing then. `again` makes the tokens anew.
    """
    from luthier.text.render import choose_template

    listener, stop = listener or Silent(), stop or StopFlag()
    started = time.perf_counter()
    sources = _find_sources(recipe, listener)
    template = choose_template(recipe.data.template, sources.kind)
    _check_policy(recipe, sources)
    tokenizer_folder = find_tokenizer(recipe)
    key = make_key(_key_parts(recipe, sources, template, tokenizer_folder))
    folder = Path(recipe.data.cache_path) / key
    with lock_folder(folder, listener, stop):
        prepared = None if again else _find_prepared(folder, listener)
        finished = _find_report(run, key) if prepared else None
        if finished:
            return finished
        was_cached = prepared is not None
        prepared = prepared or _prepare(recipe, sources, template, tokenizer_folder, folder, listener, stop)
    _tell(prepared, was_cached, listener)
    return DataReport(
        inputs_hash=key,
        seconds=time.perf_counter() - started,
        provenance=gather_provenance(),
        store=str(folder),
        tokenization=prepared.tokenization,
        tokenizer=str(tokenizer_folder or folder / "tokenizer"),
        template=template,
        format=sources.kind,
        files=sources.hashes,
        train=prepared.train,
        validation=prepared.validation,
        was_cached=was_cached,
        cleaning=prepared.cleaning,
        leaks=prepared.leaks,
        sources=prepared.sources,
        unused_fields=prepared.unused_fields,
        ledger=_whole_ledger(prepared, recipe, folder),
        dropped_file=str(folder / DROPPED),
    ).write(run.report("data"))


def foresee(recipe: Recipe, *, listener: Listener | None = None, stop: StopFlag | None = None) -> PreparePlan:
    """What `prepare` would read, do and write: rows are counted, and some of them tokenized. Writes and fetches nothing.

    Raises DataError naming every row that cannot be read, UsageError for a dataset that would have to be fetched.
    """
    from luthier.data.foresee import count_rows
    from luthier.text.render import choose_template

    listener, stop = listener or Silent(), stop or StopFlag()
    check_nothing_is_fetched(recipe.data)
    sources = _find_sources(recipe, listener)
    template = choose_template(recipe.data.template, sources.kind)
    _check_policy(recipe, sources)
    tokenizer_folder = find_tokenizer(recipe)
    folder = Path(recipe.data.cache_path) / make_key(_key_parts(recipe, sources, template, tokenizer_folder))
    files = {name: Path(name).stat().st_size for name in sources.hashes}
    total_bytes = sum(guess_unpacked_bytes(Path(name)) for name in files)
    train, validation = (
        count_rows(rows, total_bytes=total_bytes, seed=recipe.train.seed, listener=listener, stop=stop)
        for rows in (sources.read_train(), sources.read_validation())
    )
    return PreparePlan(
        files=files,
        format=sources.kind,
        template=template,
        tokenizer=str(tokenizer_folder) if tokenizer_folder else None,
        rows=train.rows,
        validation_rows=validation.rows if sources.validation else None,
        steps=steps_of(recipe.data),
        guessed=_guess(recipe, train, template, tokenizer_folder) if tokenizer_folder else None,
        store=str(folder),
        tokenization=recipe.data.tokenization,
        is_prepared=_find_prepared(folder, listener) is not None,
    )


def _guess(
    recipe: Recipe, rows: "Foreseen", template: "Template", tokenizer_folder: Path
) -> TokensGuessed | None:
    from luthier.data.foresee import guess_tokens
    from luthier.text.render import Renderer
    from luthier.text.tokenizer import load_tokenizer

    renderer = Renderer(load_tokenizer(tokenizer_folder), template=template, train_on=recipe.data.train_on)
    with closing(renderer):
        return guess_tokens(rows, renderer, recipe.data.max_length)


def _find_sources(recipe: Recipe, listener: Listener) -> Sources:
    """The files to read, whose rows carry the fields that they are split by, if they are split."""
    sources, data = find_sources(recipe.data, listener), recipe.data
    if sources.validation or not data.validation_fraction:
        return sources
    return sources.split_by(group_by=data.group_by, stratify_by=data.stratify_by)


def _whole_ledger(prepared: Prepared, recipe: Recipe, folder: Path) -> list[StageBooks]:
    """With how the recipe packs the first epoch: the packs are the run's, the tokens are not. On the fly they come later."""
    if prepared.tokenization == "on_the_fly":
        return prepared.ledger
    one_epoch = recipe.train.model_copy(update={"epochs": 1.0, "most_steps": None})
    store = TokenStore.open(folder / "train")
    order = RowOrder(store.lengths, recipe.model_copy(update={"train": one_epoch}))
    ledger = [*prepared.ledger, packed_books(store, order)]
    check_ledger(ledger)
    return ledger


def _check_policy(recipe: Recipe, sources: Sources) -> None:
    if sources.kind == "tokens":
        _check_tokens(recipe)
    if recipe.data.overlong == "split" and sources.kind not in CAN_SPLIT:
        raise RecipeError(
            "cfg-conflict",
            f"data.overlong is split, and the rows are {sources.kind}: only rows of text or tokens can be cut into several",
            where="data.overlong",
            fix="Choose data.overlong=truncate, truncate_left, drop or error.",
        )


def _check_tokens(recipe: Recipe) -> None:
    """Raise RecipeError (cfg-conflict) for what works on text, where the rows have none: it would find nothing and seem to pass."""
    data = recipe.data
    is_on = {
        "data.clean": bool(make_filters(data.clean)),
        "data.leaks": bool(data.leaks.suites) or data.leaks.validation,
        "data.dedup.kind=semantic": data.dedup.kind == "semantic",
        "method.vocabulary_size": isinstance(recipe.method, ScratchMethod) and not recipe.method.tokenizer,
        "data.tokenization=on_the_fly": data.tokenization == "on_the_fly",
    }
    needing = [key for key, is_given in is_on.items() if is_given]
    if not needing:
        return
    what = "trains a tokenizer on text" if needing == ["method.vocabulary_size"] else "works on text"
    fix = "Set method.tokenizer to the tokenizer that wrote the rows." if what.startswith("trains") else ""
    raise RecipeError(
        "cfg-conflict",
        f"{needing[0]} {what}, and the rows are tokens",
        where=needing[0],
        fix=fix
        or f"Do it before the rows are tokenized, and leave {needing[0]} out; data.dedup.kind=near compares ids.",
    )


def _key_parts(
    recipe: Recipe, sources: Sources, template: "Template", tokenizer_folder: Path | None
) -> dict[str, object]:
    """Everything that changes a token, a mask, or the side of a row."""
    from luthier.text.tokenizer import hash_tokenizer, load_tokenizer

    if tokenizer_folder:
        tokenizer = hash_tokenizer(load_tokenizer(tokenizer_folder))
    else:
        assert isinstance(recipe.method, ScratchMethod)
        what_is_kept = " on what is kept" if recipe.data.dedup.kind != "off" else ""
        tokenizer = f"trained{what_is_kept}, {recipe.method.vocabulary_size} tokens"
    data = recipe.data
    cleaning = cleaning_key(data.clean)
    return {
        "version": PREPARATION_VERSION,
        "train": [(str(file), sources.hashes[str(file)]) for file in sources.train],
        "validation": [(str(file), sources.hashes[str(file)]) for file in sources.validation],
        "set_apart": None
        if sources.validation
        else (data.validation_fraction, recipe.train.seed, data.group_by, data.stratify_by),
        "kind": sources.kind,
        "template": template,
        "train_on": data.train_on,
        "max_length": data.max_length,
        "overlong": data.overlong,
        "tokenizer": tokenizer,
        **({"cleaning": cleaning} if cleaning else {}),
        **({"tokenization": data.tokenization} if data.tokenization != "cached" else {}),
        **dedup_key(data.dedup),
        **leaks_key(data.leaks),
        **({"sources": mixed} if (mixed := sources.key()) else {}),
    }


def _find_prepared(folder: Path, listener: Listener) -> Prepared | None:
    """The tokens of an earlier preparation, if they are there and whole; damaged ones are made anew, with a notice."""
    if not folder.exists():
        return None
    try:
        return read_prepared(folder)
    except DataError as fault:
        listener.warn(f"data: {fault.what}; preparing anew")
        return None


def _find_report(run: RunDir, key: str) -> DataReport | None:
    """The run's own report, if it speaks of the same tokens."""
    try:
        report = DataReport.read(run.report("data"))
    except UsageError:  # not there yet, or not readable: the stage writes it
        return None
    return report if report.inputs_hash == key else None


def _prepare(
    recipe: Recipe,
    sources: Sources,
    template: "Template",
    tokenizer_folder: Path | None,
    folder: Path,
    listener: Listener,
    stop: StopFlag,
) -> Prepared:
    """Write stores, tokenizer if it is trained here, and counts, under a temporary name until all is there."""
    from luthier.data.write import Job, write_stores
    from luthier.text.encode_journal import EncodeJournal
    from luthier.text.render import Renderer
    from luthier.text.tokenizer import hash_tokenizer, load_tokenizer, vocabulary_size

    with writing(folder) as temporary, journal_beside(folder) as journal_folder:
        if tokenizer_folder is None:
            train_on_rows(recipe, sources, temporary / "tokenizer", listener=listener, stop=stop)
        tokenizer: PreTrainedTokenizerBase = load_tokenizer(tokenizer_folder or temporary / "tokenizer")
        # A tokenizer that was trained here may be another one this time.
        journal = EncodeJournal(journal_folder / hash_tokenizer(tokenizer))
        renderer = Renderer(tokenizer, template=template, train_on=recipe.data.train_on, journal=journal)
        with closing(renderer):
            for note in renderer.notes():
                listener.say(f"data: {note}")
            job = Job(
                sources=sources,
                config=recipe.data,
                filters=make_filters(recipe.data.clean),
                seed=recipe.train.seed,
                renderer=renderer,
                is_chat=template != "guide",
                vocabulary_size=vocabulary_size(tokenizer),
                listener=listener,
                stop=stop,
                later=_for_later(recipe, template, tokenizer, tokenizer_folder),
            )
            prepared = write_stores(job, temporary)
        if journal.found:
            listener.say(
                f"data: went on with {journal.found} blocks of rows tokenized before an interruption"
            )
        _check_something_is_learnt(prepared)
        if tokenizer_folder and prepared.tokenization == "cached":
            largest_id = TokenStore.open(temporary / "train").largest_id
            embeddings = embeddings_of(recipe, tokenizer_folder)
            check_largest_id(largest_id, embeddings, where=str(tokenizer_folder))
        write_json(temporary / PREPARED, prepared.model_dump(mode="json"))
    return prepared


def _for_later(
    recipe: Recipe,
    template: "Template",
    tokenizer: "PreTrainedTokenizerBase",
    tokenizer_folder: Path | None,
) -> "ForLater | None":
    """What training rows are kept with if they are tokenized on the fly."""
    from luthier.data.text_split import ForLater
    from luthier.encoding.open import made_for

    if recipe.data.tokenization == "cached":
        return None
    embeddings = embeddings_of(recipe, tokenizer_folder) if tokenizer_folder else None
    return ForLater(made_for(recipe, template, tokenizer), embeddings)


def _check_something_is_learnt(prepared: Prepared) -> None:
    train = prepared.train
    if train.rows_kept:
        return
    cleaned = cleaning_lines(prepared.cleaning) if prepared.cleaning else []
    cleaning = prepared.cleaning
    rows = count_of(cleaning.rows_in, "row") if cleaning else count_of(train.rows_in, "training row")
    reasons = cleaned + [f"{count_of(count, 'row')}: {reason}" for reason, count in train.dropped.items()]
    raise DataError(
        "data-untrained",
        f"none of the {rows} has a token that carries loss",
        problems=reasons
        or ["every row went to validation: give more rows, or set data.validation_fraction=0"],
        why="Training would have nothing to learn from.",
        fix="Look at the rows, at data.max_length and at data.train_on."
        + (" Cleaning left rows out: look at data.clean." if cleaned else ""),
    )


def _tell(prepared: Prepared, was_cached: bool, listener: Listener) -> None:
    """The books in a few lines; what lessens the data is a warning."""
    for line in cleaning_lines(prepared.cleaning) if prepared.cleaning else []:
        listener.say(f"data: cleaning: {line}")
    for books in prepared.ledger:
        for reason, rows in books.rows.dropped.items() if books.stage == "deduplicated" else ():
            listener.say(
                f"data: deduplicated: {rows:,} of {count_of(books.rows.came_in, 'row')} left out: {reason}"
            )
    if prepared.leaks:
        warn_of(prepared.leaks, listener)
    for name, counts in (("train", prepared.train), ("validation", prepared.validation)):
        if counts is None:
            continue
        source = "found prepared" if was_cached else "prepared"
        listener.say(f"data: {name}: {rows_and_tokens(counts)}; {source}")
        for reason, rows in counts.dropped.items():
            listener.warn(f"data: {name}: {rows:,} of {count_of(counts.rows_in, 'row')} left out: {reason}")
        if counts.rows_truncated:
            lost = f"{counts.trained_tokens_lost:,} trained tokens lost; the longest has {counts.longest_row_tokens:,} tokens"
            listener.warn(
                f"data: {name}: {count_of(counts.rows_truncated, 'row')} cut to data.max_length, {lost}"
            )
    if prepared.unused_fields:
        listed = ", ".join(
            f"{name} ({count_of(rows, 'row')})" for name, rows in prepared.unused_fields.items()
        )
        listener.say(f"data: fields that are not used: {listed}")
