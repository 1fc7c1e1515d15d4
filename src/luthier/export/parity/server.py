"""A running server beside the run's model: what it reads, how likely it holds the next tokens, what it answers.

Two ways lead to log probabilities. Where the server takes ids as a prompt, rows are cut after some of their tokens and it is asked for the
next one. Elsewhere those of its own greedy answers are taken, up to where an answer parts from the model's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.export.likeness import Likeness, name_place, perplexity
from luthier.export.logits import ComparedRow, Logits
from luthier.export.parity.candidates import Compared, Spellings, Told, compare_told, read_told
from luthier.export.parity.client import Client, Json, Refused
from luthier.export.parity.findings import Findings
from luthier.export.parity.prompts import CUT, Asked, TokenFault, asked_prompts, compare_counts, compare_ids
from luthier.export.parity.readings import Reader, answer_request, find_reader
from luthier.export.parity.reference import Case
from luthier.floor.log import Listener
from luthier.measure.parity import LogitDifference, same_share

MOST_CANDIDATES = (20, 5)
"""OpenAI's own bound of chats, and that of completions."""
TRIES = 4
"""So many tokens without a log probability tell that the server has none; after one alone it may have ended its answer."""
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)


@dataclass
class Tally:
    """Log probabilities that were compared so far."""

    compared: list[Compared] = field(default_factory=list)
    worst_kl: float = -1.0
    worst: str = ""

    def add(self, found: Compared, place: str) -> None:
        self.compared.append(found)
        if not found.kl <= self.worst_kl:
            self.worst_kl, self.worst = found.kl, place

    def likeness(self) -> Likeness | None:
        """All of them together; None of none."""
        found = self.compared
        if not found:
            return None
        tokens = len(found)
        losses = [each.losses for each in found if each.losses is not None]
        return Likeness(
            LogitDifference(
                tokens=tokens,
                max_absolute=math.nan,
                mean_kl=sum(each.kl for each in found) / tokens,
                max_kl=max(each.kl for each in found),
                top1_agreement=sum(each.same_first for each in found) / tokens,
            ),
            perplexity([ours for ours, _ in losses]),
            perplexity([theirs for _, theirs in losses]),
            len(losses),
            self.worst,
            sum(each.candidates for each in found) / tokens,
        )


@dataclass
class Ends:
    """Whether the server ends its answers where the model does: of those that say the same up to there."""

    ended: int = 0
    ran_on: list[TokenFault] = field(default_factory=list)

    def note(self, origin: str, ours: str, theirs: str, finish: str | None) -> None:
        """An answer that the model ended by itself."""
        if not ours or not theirs.startswith(ours):
            return
        rest = theirs.removeprefix(ours)
        if rest or finish == "length":
            what = f"the server's answer runs on behind its end: {rest[:CUT]!r}"
            self.ran_on.append(TokenFault(origin, what))
        else:
            self.ended += 1

    def faults(self) -> list[TokenFault]:
        """The first answer that ran on, if most did; single ones may, where ending was a close choice."""
        return self.ran_on[:1] if len(self.ran_on) > self.ended else []


@dataclass(frozen=True)
class Conversation:
    """One verification of one model of a server."""

    client: Client
    model: str
    owner: str
    """What the server says of itself: `vllm`, `llamacpp`, `luthier`, ..."""
    case: Case
    spellings: Spellings
    listener: Listener

    def step(self, label: str, done: int, total: int) -> None:
        """Between two requests."""
        self.client.check()
        self.listener.progress(label, done, total)

    def told(self, answer: Json) -> tuple[dict[str, Any], list[Told]]:
        """The choice and the log probabilities of an answer. Raises EnvironmentFault if it has another form than OpenAI's."""
        try:
            choice = answer["choices"][0]
            return choice, read_told(choice, self.spellings)
        except MALFORMED as fault:
            raise self.client.strange("/v1", "answers in a form that is not OpenAI's") from fault

    def wish(self, candidates: int, *, is_chat: bool) -> Json:
        """The fields that ask for log probabilities, and for ids in the place of spellings where the server is known to have them."""
        if is_chat:
            wish: Json = {"logprobs": True, "top_logprobs": candidates}
        else:
            wish = {"logprobs": candidates} | ({"n_probs": candidates} if self.owner == "llamacpp" else {})
        return wish | ({"return_tokens_as_token_ids": True} if self.owner == "vllm" else {})


def measure_server(
    client: Client,
    model: str,
    owner: str,
    case: Case,
    *,
    listener: Listener,
) -> Findings:
    """Measure one model of a server. Raises EnvironmentFault env-endpoint if it cannot be reached or is no API of OpenAI's kind."""
    spellings = Spellings(case.tokenizer, case.truth.logits.vocabulary)
    talk = Conversation(client, model, owner, case, spellings, listener)
    asked = asked_prompts(case)
    reader = find_reader(client, model)
    notes: dict[str, None] = {}
    told, faults = _read_prompts(talk, reader, asked, notes)
    likeness = _by_prefixes(talk, notes)
    answers, refused, tally = _answers(talk, asked, wants_facts=likeness is None)
    if likeness is None and (likeness := tally.likeness()) is not None:
        notes["probabilities are of the server's own answers, up to where each parts from the model's"] = None
    ours = [case.truth.spoken(answer, case.tokenizer).strip() for answer in case.truth.answers]
    return Findings(
        told="counts" if told and reader.told == "counts" else "ids" if told else "nothing",
        by=reader.by if told else "nothing of the server",
        prompts=told,
        texts=0,
        token_faults=(*faults, *refused),
        likeness=likeness,
        answers=tuple(answers),
        same_answer_share=same_share(ours, [text.strip() for text in answers]) if answers else None,
        answers_in="characters",
        notes=tuple(notes),
    )


def _read_prompts(
    talk: Conversation, reader: Reader, asked: Sequence[Asked], notes: dict[str, None]
) -> tuple[int, list[TokenFault]]:
    """How many prompts the server told of, and those that it reads otherwise or refuses."""
    told, faults = 0, []
    for number, each in enumerate(asked):
        talk.step("prompts that the server reads", number, len(asked))
        found = reader.read(each)
        if found is None:
            continue
        told += 1
        if isinstance(found, Refused):
            faults.append(TokenFault(each.row.origin, f"the server refuses it: {found.why}"))
            continue
        fault = (
            compare_counts(each, found)
            if isinstance(found, int)
            else compare_ids(each, found, talk.case.tokenizer, lambda text: notes.setdefault(text))
        )
        faults += [fault] if fault else []
    talk.step("prompts that the server reads", len(asked), len(asked))
    return told, faults


def _by_prefixes(talk: Conversation, notes: dict[str, None]) -> Likeness | None:
    """Log probabilities after tokens of the held-out rows; None if the server takes no ids or tells none."""
    places = list(_places(talk.case))
    tally, silent, refused = Tally(), 0, 0
    candidates = _accepted(talk, places[0][1].ids[: places[0][2] + 1]) if places else None
    if candidates is None:
        return None
    for number, (origin, row, position, logits_V) in enumerate(places):
        talk.step("next tokens of the server", number, len(places))
        answer = _next_token(talk, row.ids[: position + 1], candidates)
        if isinstance(answer, Refused):
            refused += 1
            continue
        _, told = talk.told(answer)
        if told:
            following = row.ids[position + 1] if position + 1 < len(row.ids) else None
            place = name_place(origin, row.ids, position, talk.case.tokenizer)
            tally.add(compare_told(logits_V, told[0], following), place)
            continue
        silent += 1
        if silent >= TRIES and not tally.compared:
            return None
    talk.step("next tokens of the server", len(places), len(places))
    if refused:
        notes[f"{refused} of {len(places)} beginnings of rows are refused by the server"] = None
    if silent:
        notes[f"after {silent} of {len(places)} tokens the server ended its answer and told nothing"] = None
    return tally.likeness()


def _accepted(talk: Conversation, ids: Sequence[int]) -> int | None:
    """How many candidates the server tells of a prompt of ids; None if it takes no such prompt, or makes another of it."""
    for candidates in MOST_CANDIDATES:
        answer = _next_token(talk, ids, candidates)
        if not isinstance(answer, Refused):
            usage = answer.get("usage")
            count = usage.get("prompt_tokens") if isinstance(usage, dict) else len(ids)
            return candidates if count == len(ids) else None
    return None


def _next_token(talk: Conversation, ids: Sequence[int], candidates: int) -> Json | Refused:
    body: Json = {"model": talk.model, "prompt": list(ids), "max_tokens": 1, "temperature": 0}
    return talk.client.post("/v1/completions", {**body, **talk.wish(candidates, is_chat=False)})


def _places(case: Case) -> Iterator[tuple[str, ComparedRow, int, Logits]]:
    """Origin, row, position and the reference's logits, of evenly spaced positions of each row."""
    most = case.recipe.verify.positions
    for checked, (row, logits_TV) in zip(case.truth.rows, case.truth.logits.by_row(), strict=True):
        within = [place for place, position in enumerate(row.positions) if position + 1 < len(row.ids)]
        places = within or range(len(row.positions))
        stride = max(1, len(places) // most)
        for place in places[stride - 1 :: stride][:most]:
            yield checked.origin, row, row.positions[place], logits_TV[place]


def _answers(
    talk: Conversation, asked: Sequence[Asked], *, wants_facts: bool
) -> tuple[list[str], list[TokenFault], Tally]:
    """The server's greedy answers to the questions, those that it refuses, and their log probabilities if they are wanted."""
    case = talk.case
    questions = case.rows.checked.questions[: len(case.truth.prompts)]
    by_row = {id(each.row): each for each in asked}
    facts = list(case.answers.by_row()) if case.answers is not None else []
    answers, refused, tally, ends = [], [], Tally(), Ends()
    for number, (row, ids) in enumerate(zip(questions, case.truth.prompts, strict=True)):
        talk.step("answers of the server", number, len(questions))
        answer = _ask(talk, by_row.get(id(row)), ids, wants_facts=wants_facts)
        if isinstance(answer, Refused) and id(row) not in by_row:
            return [], [], tally  # it takes no ids, and nobody knows the texts of these rows
        if isinstance(answer, Refused):
            refused.append(TokenFault(row.origin, f"the server refuses the question: {answer.why}"))
            answers.append("")
            continue
        choice, told = talk.told(answer)
        said = choice.get("message") or {}
        answers.append(_end(str(choice.get("text") or said.get("content") or ""), case.truth.answer_end))
        if len(case.truth.answers[number]) < case.truth.new_tokens:
            ours = case.truth.spoken(case.truth.answers[number], case.tokenizer)
            ends.note(row.origin, ours.strip(), answers[-1].strip(), choice.get("finish_reason"))
        if told and facts:
            _compare_answer(tally, row.origin, *facts[number], told, talk)
    talk.step("answers of the server", len(questions), len(questions))
    return answers, [*refused, *ends.faults()], tally


def _ask(talk: Conversation, asked: Asked | None, ids: Sequence[int], *, wants_facts: bool) -> Json | Refused:
    """Ask a question as a user does; one that is kept as ids only, by its ids."""
    most = talk.case.truth.new_tokens
    if asked is None:
        path, body = (
            "/v1/completions",
            {"model": talk.model, "prompt": list(ids), "max_tokens": most, "temperature": 0},
        )
    else:
        path, body = answer_request(talk.model, asked, most_new_tokens=most)
    if wants_facts:
        for candidates in MOST_CANDIDATES:
            found = talk.client.post(path, {**body, **talk.wish(candidates, is_chat="messages" in body)})
            if not isinstance(found, Refused):
                return found
    return talk.client.post(path, body)


def _compare_answer(
    tally: Tally,
    origin: str,
    row: ComparedRow,
    logits_TV: Logits,
    told: Sequence[Told],
    talk: Conversation,
) -> None:
    """The answer's tokens up to the first that the model did not take; that one included."""
    for place, (position, each) in enumerate(zip(row.positions, told, strict=False)):
        following = row.ids[position + 1] if position + 1 < len(row.ids) else None
        where = name_place(origin, row.ids, position, talk.case.tokenizer)
        tally.add(compare_told(logits_TV[place], each, following), f"{where}, of the answer")
        if following not in each.taken:
            return


def _end(text: str, answer_end: str) -> str:
    return text.partition(answer_end)[0] if answer_end else text
