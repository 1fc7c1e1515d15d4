"""Which licences stand behind a run, and whether they let its model go out under the one that the author chose."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.floor.errors import UsageError
from luthier.knowledge.licence_files import licence_file, licence_of_folder
from luthier.knowledge.licences import (
    LICENCES,
    UNKNOWN,
    Licence,
    find_licence,
    licence_of_base,
    objection,
)
from luthier.knowledge.model_folder import EMBEDDED
from luthier.publish.facts import Facts, sources_of
from luthier.publish.files import BASE_LICENCE, LICENCE, NOTICE, Upload
from luthier.reports.publish import Objection

CARD_WORD, WORD = "publish-card", "publish-licence"


@dataclass(frozen=True)
class DataTerms:
    """The licence of one source."""

    source: str
    licence: Licence


@dataclass(frozen=True)
class Terms:
    """The licences of a publication."""

    published: Licence | None
    base: Licence | None
    """None if the model has no base."""
    data: tuple[DataTerms, ...]
    text: Path | None
    """A file with the text of the licence that is published."""
    base_text: Path | None
    """A file with the text of the base's licence, where it is another one."""
    acknowledged: frozenset[str]

    @property
    def displays(self) -> tuple[str, ...]:
        """Lines that the card must show."""
        return (self.base.display,) if self.base and self.base.display else ()


def read_terms(facts: Facts) -> Terms:
    """Find the licences: as the recipe says, else as the folders of base and data tell.

    Raises UsageError if there are more licences of data than sources, or the licence's file is not there.
    """
    publish = facts.recipe.publish
    base_folder = _local_base(facts)
    if publish.licence_file and not Path(publish.licence_file).is_file():
        raise UsageError(
            "usage",
            f"there is no file {publish.licence_file}",
            where="publish.licence_file",
            fix="Name a file with the licence's text.",
        )
    published = find_licence(publish.licence) if publish.licence else None
    base = _base_licence(facts, base_folder) if facts.has_base else None
    base_text = licence_file(base_folder)
    is_one = published is not None and base is not None and published.name == base.name
    return Terms(
        published=published,
        base=base,
        data=tuple(_data_licences(facts)),
        text=Path(publish.licence_file) if publish.licence_file else base_text if is_one else None,
        base_text=None if is_one else base_text,
        acknowledged=frozenset(find_licence(name).name for name in publish.acknowledged),
    )


def licence_uploads(terms: Terms) -> list[Upload]:
    """The licence's text, the base's where it is another, and NOTICE, as far as there are."""
    texts = ((LICENCE, terms.text), (BASE_LICENCE, terms.base_text))
    uploads = [Upload.of_file(name, path) for name, path in texts if path]
    if terms.base and terms.base.notice:
        changed = "This model was changed from it by fine-tuning; README.md says how."
        uploads.append(Upload.of_text(NOTICE, f"{terms.base.notice}\n{changed}\n"))
    return uploads


def licence_objections(facts: Facts, terms: Terms) -> list[Objection]:
    """What of the licences stands against publishing, each with the line that resolves it."""
    if terms.published is None:
        fitting = fitting_licence(terms)
        return [
            Objection(
                word=CARD_WORD,
                what="the licence of what is published is not given",
                fix=f"publish.licence={fitting.name}"
                if fitting
                else "publish.licence=NAME, such as apache-2.0",
            )
        ]
    found = list(_conflicts(terms, terms.published))
    if terms.base is not None and terms.base.name not in terms.acknowledged:
        found += _duties(facts, terms, terms.base)
    return found


def fitting_licence(terms: Terms) -> Licence | None:
    """The licence to suggest: one of those that stand behind the model, against which none of the others says anything."""
    behind = [*([terms.base] if terms.base else []), *(each.licence for each in terms.data)]
    for candidate in sorted({*behind, LICENCES["apache-2.0"]}, key=lambda each: not each.asks_same):
        if candidate.name in LICENCES and not any(objection(each, candidate) for each in behind):
            return candidate
    return None


def _conflicts(terms: Terms, published: Licence) -> Iterator[Objection]:
    things = [("the base", "publish.base_licence=NAME", terms.base)] if terms.base else []
    things += [
        (f"the data {each.source}", "publish.data_licences=[NAME]", each.licence) for each in terms.data
    ]
    for what, say_it, licence in things:
        reason = objection(licence, published)
        if reason is None or licence.name in terms.acknowledged:
            continue
        if licence.name == UNKNOWN:
            yield Objection(
                word=WORD,
                what=f"the licence of {what} is not known",
                fix=f"{say_it}, or publish.acknowledged=[{UNKNOWN}]",
            )
            continue
        same = f"publish.licence={licence.name}, or " if licence.asks_same else ""
        yield Objection(
            word=WORD,
            what=f"{what} is under {licence.name}, which {reason}",
            fix=f"{same}publish.acknowledged=[{licence.name}] if you have read it and it may" if licence.name in LICENCES
            else f"{say_it} with a name of the hub, or publish.acknowledged=[{licence.name}]",
        )  # fmt: skip


def _duties(facts: Facts, terms: Terms, base: Licence) -> Iterator[Objection]:
    repo = facts.recipe.publish.repo
    if base.name_starts and repo and not _begins(repo.rpartition("/")[2], base.name_starts):
        owner, _, name = repo.partition("/")
        yield Objection(
            word=WORD,
            what=f"{base.title} asks that the model's name begins with {base.name_starts!r}; it is {name}",
            fix=f"publish.repo={owner}/{base.name_starts.replace(' ', '-')}-{name}",
        )
    if base.asks_copy and terms.text is None and terms.base_text is None:
        yield Objection(
            word=WORD,
            what=f"{base.title} asks that a copy of it goes along",
            fix=f"publish.licence_file=FILE, with the text of {base.source}",
        )


def _begins(name: str, start: str) -> bool:
    plain = re.sub(r"[-_. ]+", " ", name.lower())
    return plain.startswith(start.lower())


def _local_base(facts: Facts) -> Path | None:
    """The base's folder on this machine, if the recipe or the training names one; nothing is fetched."""
    for name in (facts.recipe.model.name, facts.train.base):
        if name and name != EMBEDDED and Path(name).is_dir():
            return Path(name)
    return None


def _base_licence(facts: Facts, folder: Path | None) -> Licence:
    if facts.recipe.publish.base_licence:
        return find_licence(facts.recipe.publish.base_licence)
    if facts.is_embedded:
        return LICENCES["apache-2.0"]  # assets/embedded-base/README.md, section Licence
    found = licence_of_folder(folder) if folder else None
    if found is None and facts.base_id:
        found = licence_of_base(facts.base_id)
    return found or find_licence(UNKNOWN)


def _data_licences(facts: Facts) -> Iterator[DataTerms]:
    given = facts.recipe.publish.data_licences
    sources = [name for name, _ in sources_of(facts)] or ["of the run"]
    if len(given) > 1 and len(given) != len(sources):
        raise UsageError(
            "usage",
            f"there are {len(given)} licences for {len(sources)} sources of data: {', '.join(sources)}",
            where="publish.data_licences",
            fix="Give one for all of them, or one for each in this order.",
        )
    folders = _data_folders(facts, len(sources))
    for place, source in enumerate(sources):
        if given:
            licence = find_licence(given[place if len(given) > 1 else 0])
        else:
            licence = licence_of_folder(folders[place]) or find_licence(UNKNOWN)
        yield DataTerms(source, licence)


def _data_folders(facts: Facts, count: int) -> Sequence[Path]:
    data = facts.recipe.data
    paths = [Path(each.path) for each in data.sources] or [Path(data.path)]
    paths += [paths[-1]] * (count - len(paths))
    return [path if path.is_dir() else path.parent for path in paths]
