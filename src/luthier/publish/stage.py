"""Publish a finished run on the Hugging Face hub: gather, judge, send, and see that it arrived.

Everything is decided on this machine before the hub is asked: which files, what their card says, and whether anything stands against
it. The card is written into the run for reading; the report is written when the hub was seen to hold every file.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from luthier.config.recipe import Recipe
from luthier.floor.errors import EnvironmentFault, GateError
from luthier.floor.files import write_text
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.publish.card import write_card
from luthier.publish.card_results import read_samples
from luthier.publish.facts import Facts, read_facts
from luthier.publish.files import CARD, Upload, collect_files
from luthier.publish.hub import Line, library, open_line
from luthier.publish.objections import check_base, find_objections, refuse
from luthier.publish.terms import Terms, licence_uploads, read_terms
from luthier.publish.upload import ATTRIBUTES, Hub, Repository, Uploaded, check_remote, is_same
from luthier.publish.weights import refuse_non_finite
from luthier.reports.provenance import gather_provenance
from luthier.reports.publish import Objection, PublishPlan, PublishReport

STAGE = "publish"


@dataclass(frozen=True)
class Prepared:
    """A publication that is ready but for what stands against it."""

    facts: Facts
    terms: Terms
    uploads: tuple[Upload, ...]
    card: Path
    left_here: tuple[str, ...]
    objections: tuple[Objection, ...]

    @property
    def bytes(self) -> int:
        return sum(upload.size_bytes for upload in self.uploads)

    def plan(self) -> PublishPlan:
        """What a dry run shows."""
        publish = self.facts.recipe.publish
        return PublishPlan(
            repo=publish.repo,
            private=publish.private,
            what=self.facts.what,
            files=[upload.listed() for upload in self.uploads],
            bytes=self.bytes,
            card=str(self.card),
            left_here=list(self.left_here),
            objections=list(self.objections),
        )


def prepare_publication(
    recipe: Recipe, run: RunDir, *, listener: Listener = Silent(), stop: StopFlag | None = None
) -> Prepared:
    """Gather the files, write the card to <run>/publish/README.md, and find what stands against publishing. Asks no network.

    Raises UsageError if the run is not finished, or what is to be published was not made; ModelError if files of it are damaged,
    hold numbers that are not finite, or lead out of their folder.
    """
    facts = read_facts(recipe, run)
    check_base(facts)
    terms = read_terms(facts)
    found, left_here = collect_files(facts, listener)
    for upload in found:
        if stop is not None:
            stop.check("stopped before anything was sent", fix="Repeat the command.")
        if upload.source is not None and upload.path.endswith(".safetensors"):
            refuse_non_finite(upload.source, listener)
    card = write_card(facts, terms, read_samples(facts, recipe.publish.card.sample_rows))
    place = run.stage(STAGE) / CARD
    write_text(place, card.text)
    uploads = (Upload.of_text(CARD, card.text), *licence_uploads(terms), *found)
    objections = find_objections(facts, terms, uploads)
    return Prepared(facts, terms, uploads, place, tuple(left_here), tuple(objections))


def publish(
    prepared: Prepared, *, listener: Listener = Silent(), stop: StopFlag | None = None
) -> PublishReport:
    """Send a publication; <run>/publish/report.json says what the hub holds.

    What the hub has already is not sent again. Raises GateError if anything stands against publishing, EnvironmentFault (env-network,
    hub-token, hub-refused, hub-busy, hub-conflict, hub-answer, hub-mismatch) if the hub does not take it.
    """
    facts = prepared.facts
    if prepared.objections:
        raise refuse(facts, prepared.objections)
    token = library().get_token()
    if not token:
        raise _no_token()
    begun = time.monotonic()
    with lock_run(facts.run), open_line(token, listener, stop) as line:
        hub = Hub(line, token, listener)
        done = _send(hub, prepared, line, listener)
        return _report(prepared, done, line, seconds=time.monotonic() - begun)


def _send(hub: Hub, prepared: Prepared, line: Line, listener: Listener) -> Uploaded:
    repo = prepared.facts.recipe.publish.repo
    assert repo is not None, "a publication without a repository was refused"
    hub.check_token()
    before = _repository(hub, prepared, repo, listener)
    to_send = [upload for upload in prepared.uploads if not is_same(before.files.get(upload.path), upload)]
    kept, deleted = _others(prepared, before, listener)
    revision, commits = before.head, 0
    if to_send or deleted:
        hub.check_card(_card_text(prepared))
        there = len(prepared.uploads) - len(to_send)
        listener.say(
            f"sending {len(to_send):,} files to {repo}" + (f"; {there:,} are there already" if there else "")
        )
        hub.send(repo, to_send)
        message = f"Publish {prepared.facts.what} of {prepared.facts.run.name} with Luthier"
        revision = hub.commit(repo, to_send, deleted, parent=before.head, message=message)
        commits = int(revision != before.head)
    check_remote(hub, repo, revision, prepared.uploads, listener)
    return Uploaded(revision, before.private, commits, kept, deleted)


def _repository(hub: Hub, prepared: Prepared, repo: str, listener: Listener) -> Repository:
    """The repository, made if it is not there. Raises GateError publish-public if it is open to all and that was not asked for."""
    wants_private = prepared.facts.recipe.publish.private
    found = hub.look(repo)
    if found is None:
        listener.say(f"making the repository {repo}, {'private' if wants_private else 'public'}")
        return hub.create(repo, private=wants_private)
    if wants_private and not found.private:
        raise GateError(
            "publish-public",
            f"the repository {repo} is there and public, and --public was not given",
            why="Everybody would see the files at once.",
            fix="If they may: luthier publish --public. Else make it private in its settings, or name another: --repo OWNER/NAME",
        )
    if found.private and not wants_private:
        listener.warn(f"{repo} is there and private; it stays so until you open it in its settings")
    return found


def _others(
    prepared: Prepared, before: Repository, listener: Listener
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of the repository that are not ours: those that stay, and those that go because the recipe says so."""
    ours = {upload.path for upload in prepared.uploads} | {ATTRIBUTES}
    others = tuple(sorted(set(before.files) - ours))
    if not others:
        return (), ()
    names = ", ".join(others[:10]) + (", ..." if len(others) > 10 else "")
    if prepared.facts.recipe.publish.others == "delete":
        listener.warn(
            f"deleting {len(others):,} other files of the repository, as publish.others = delete says: {names}"
        )
        return (), others
    listener.warn(f"keeping {len(others):,} other files of the repository: {names}")
    return others, ()


def _card_text(prepared: Prepared) -> str:
    return next(upload for upload in prepared.uploads if upload.path == CARD).read().decode()


def _report(prepared: Prepared, done: Uploaded, line: Line, *, seconds: float) -> PublishReport:
    facts = prepared.facts
    repo = str(facts.recipe.publish.repo)
    files = [upload.listed() for upload in prepared.uploads]
    digest = hashlib.sha256(
        json.dumps([line.endpoint, repo, [(file.path, file.sha256) for file in files]]).encode()
    ).hexdigest()
    return PublishReport(
        inputs_hash=digest,
        seconds=seconds,
        provenance=gather_provenance(),
        repo=repo,
        url=f"{line.endpoint}/{repo}",
        revision=done.revision,
        private=done.private,
        what=facts.what,
        commits=done.commits,
        files=files,
        bytes=prepared.bytes,
        bytes_sent=line.bytes_sent,
        files_kept=list(done.kept),
        files_deleted=list(done.deleted),
        acknowledged=sorted(prepared.terms.acknowledged),
    ).write(facts.run.report(STAGE))


def _no_token() -> EnvironmentFault:
    return EnvironmentFault(
        "hub-token",
        "there is no token of the hub",
        where="HF_TOKEN, and the login of hf",
        fix="Make one that may write at https://huggingface.co/settings/tokens, then: export HF_TOKEN=..., or hf auth login",
    )
