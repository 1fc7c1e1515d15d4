"""Everything that stands against publishing, found before a byte leaves, each with the line that resolves it."""

from collections.abc import Iterator, Sequence

from luthier.floor.errors import GateError, ModelError
from luthier.floor.units import count_of
from luthier.knowledge.adapter_folder import check_adapter_folder
from luthier.publish.facts import Facts
from luthier.publish.files import Upload
from luthier.publish.gguf_proof import PARITY_WORD, gguf_objections
from luthier.publish.screening import find_private
from luthier.publish.terms import CARD_WORD, Terms, licence_objections
from luthier.reports.publish import Objection

NO_COMPARISON, NO_BASE = "no-comparison", "unpublished-base"


def find_objections(facts: Facts, terms: Terms, uploads: Sequence[Upload]) -> list[Objection]:
    """All of them, in the order in which a person would mend them."""
    return [
        *_card(facts, terms),
        *licence_objections(facts, terms),
        *_parity(facts),
        *gguf_objections(facts, uploads),
        *find_private(uploads, acknowledged=terms.acknowledged),
    ]


def refuse(facts: Facts, objections: Sequence[Objection]) -> GateError:
    """The error that tells them all; its word is that of the first."""
    first = objections[0]
    if len(objections) == 1:
        return GateError(first.word, first.what, where=str(facts.run.path), fix=first.fix)
    return GateError(
        first.word,
        f"{count_of(len(objections), 'thing')} stand against publishing {facts.run.name}",
        where=str(facts.run.path),
        problems=[f"[{each.word}] {each.what}: {each.fix}" for each in objections],
        why="Nothing was sent.",
        fix="Settings go into the recipe or on the line: luthier publish publish.licence=NAME",
    )


def check_base(facts: Facts) -> None:
    """Raise ModelError adp-base if the adapter's folder names another base than the run's report does."""
    if facts.what != "adapter":
        return
    found = check_adapter_folder(facts.folder).base_fingerprint
    if found is not None and found != facts.train.base_fingerprint:
        raise ModelError(
            "adp-base",
            f"the adapter in {facts.folder} was trained over another base than the run {facts.run.name} reports",
            where=str(facts.folder),
            why="Its card would tell of another training.",
            fix="Publish the run that it belongs to: luthier runs",
        )


def _card(facts: Facts, terms: Terms) -> Iterator[Objection]:
    publish = facts.recipe.publish
    if publish.repo is None:
        yield Objection(
            word=CARD_WORD, what="the repository is not named", fix="luthier publish --repo OWNER/NAME"
        )
    needs_name = facts.has_base and facts.base_id is None and NO_BASE not in terms.acknowledged
    if needs_name and facts.what == "adapter":
        base = "the embedded base of Luthier" if facts.is_embedded else "a folder of this machine"
        yield Objection(
            word=CARD_WORD,
            what=f"the adapter's base is {base} and has no name on the hub, so nobody could load it",
            fix="luthier merge, then luthier publish --what merged; or publish.base_model=OWNER/NAME; "
            f"or publish.acknowledged=[{NO_BASE}]",
        )
    elif needs_name and not facts.is_embedded:
        yield Objection(
            word=CARD_WORD,
            what="the base is a folder of this machine, so the card cannot say what the model came from",
            fix=f"publish.base_model=OWNER/NAME, or publish.acknowledged=[{NO_BASE}]",
        )
    if facts.compare is None and facts.has_base and NO_COMPARISON not in terms.acknowledged:
        yield Objection(
            word=CARD_WORD,
            what="the model was not compared with its base, so the card cannot say what the training gained",
            fix=f"luthier compare {facts.run.path}, or publish.acknowledged=[{NO_COMPARISON}]",
        )


def _parity(facts: Facts) -> Iterator[Objection]:
    """A merge's report exists only if it passed; one that was edited, or asks less than the recipe does now, is caught here."""
    merge, bounds = facts.merge, facts.recipe.merge
    if facts.what == "adapter" or facts.is_whole or merge is None:
        return
    if facts.run.report("merge").stat().st_mtime_ns < facts.run.report("train").stat().st_mtime_ns:
        yield Objection(
            word=PARITY_WORD,
            what="the model was trained anew after it was merged, so its proof is of another adapter",
            fix=f"luthier merge --again --run {facts.run.path}",
        )
    is_exact = merge.dtype == "fp32" and merge.base == "seen"
    within = merge.max_logit_difference <= bounds.tolerance if is_exact else merge.mean_kl <= bounds.most_kl
    if within and merge.rows_checked > 0:
        return
    figure = (
        f"largest logit difference {merge.max_logit_difference:.3g}, allowed is merge.tolerance = {bounds.tolerance:g}"
        if is_exact
        else f"mean KL {merge.mean_kl:.3g} nats a token, allowed is merge.most_kl = {bounds.most_kl:g}"
    )
    yield Objection(
        word=PARITY_WORD,
        what=f"the merged model is not proven to answer as the adapter model did ({merge.rows_checked:,} rows; {figure})",
        fix=f"luthier merge --again --run {facts.run.path}",
    )
