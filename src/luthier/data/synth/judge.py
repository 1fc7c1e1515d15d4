"""Decide what an answer is worth: kept, or left out with a reason. The same for an answer of today and one in the journal."""

import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.check.answers import REFUSAL
from luthier.data.synth.places import one_file
from luthier.data.synth.task import Checks
from luthier.floor.deadline import Overdue, within
from luthier.floor.errors import DataError, EnvironmentFault, UsageError
from luthier.text.json_lines import check_depth
from luthier.text.problems import LineFault

TRUNCATED, EMPTY, REFUSED, FAILED = "truncated by length", "empty", "refused", "failed check"
NOT_ANSWERED = "refused by the endpoint"
# Chance made these; another try may not. A refusal or a cut answer would come again.
WORTH_ASKING_AGAIN = frozenset({EMPTY, FAILED})
MOST_SCHEMA_BYTES = 2**20
SECONDS_AN_ANSWER = 2.0  # computed, not waited; ordinary checks take far less than a millisecond
# An answer that begins so speaks of itself; further on it may be a quotation.
AS_AI = re.compile(r"\W*as an? (?:ai\b|artificial intelligence|(?:large )?language model)", re.IGNORECASE)
FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Ruling:
    """Why an answer is left out, or None; and what templates see as `answer`."""

    reason: str | None
    answer: Any = None
    detail: str = ""


class Judge:
    """The checks that a person asked for, and those that every answer passes through."""

    def __init__(self, checks: Checks) -> None:
        """Raises UsageError for a pattern or schema that is none, EnvironmentFault (env-extra) without jsonschema."""
        self._checks = checks
        self._pattern = _compiled(checks.pattern)
        self._schema: Any = _load_schema(checks.schema) if checks.schema else None

    def rule(self, record: dict[str, Any]) -> Ruling:
        """Judge a record of the journal. Raises UsageError if the pattern or the schema does not come to an end."""
        if record["status"] != "answered":
            return Ruling(NOT_ANSWERED, detail=record["problem"])
        text = record["text"].strip()
        if record["finish_reason"] == "length":
            return Ruling(TRUNCATED)
        if record["refusal"] or record["finish_reason"] == "content_filter" or _is_refusal(text):
            return Ruling(REFUSED, detail=(record["refusal"] or text)[:200])
        if not text:
            return Ruling(EMPTY)
        try:
            with within(SECONDS_AN_ANSWER):
                return self._rule_by_checks(text)
        except Overdue as fault:
            raise _too_slow(self._checks, len(text)) from fault

    def _rule_by_checks(self, text: str) -> Ruling:
        if self._pattern and not self._pattern.search(text):
            return Ruling(FAILED, detail=f"does not match {self._pattern.pattern}")
        return self._rule_by_schema(text) if self._schema else Ruling(None, text)

    def _rule_by_schema(self, text: str) -> Ruling:
        fenced = FENCE.match(text)
        try:
            bare = fenced.group(1) if fenced else text
            check_depth(bare.encode())
            value = json.loads(bare, parse_constant=_refuse_constant)
        except (ValueError, LineFault) as fault:
            return Ruling(FAILED, detail=f"no JSON: {fault}")
        for wrong in self._schema.iter_errors(value):
            return Ruling(FAILED, detail=f"{wrong.json_path}: {wrong.message}"[:200])
        return Ruling(None, value)


def _too_slow(checks: Checks, characters: int) -> UsageError:
    """An answer is not to blame for it: asked again, the next one would take as long."""
    named = [f"--match {checks.pattern!r}"] if checks.pattern is not None else []
    named += [f"--schema {checks.schema}"] if checks.schema else []
    return UsageError(
        "usage",
        f"{' or '.join(named)} took longer than {SECONDS_AN_ANSWER:g} s on an answer of {characters:,} characters",
        where="--match" if checks.pattern is not None else "--schema",
        why="A repeat inside a repeat, as in (a+)+, tries every way to part the text before it gives up.",
        fix=r"Write it without one, such as a+ or [^\n]*, and type the line again: the answers so far are kept.",
    )


def _is_refusal(text: str) -> bool:
    return bool(REFUSAL.match(text) or AS_AI.match(text))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern, re.DOTALL) if pattern is not None else None
    except (re.error, RecursionError) as fault:
        raise UsageError(
            "usage",
            f"--match {pattern!r} is no regular expression: {fault}",
            where="--match",
            fix=r"For example: --match '^\{.*\}$'",
        ) from fault


def _load_schema(path: Path) -> Any:
    """A validator that fetches nothing: a `$ref` to elsewhere is refused."""
    try:
        jsonschema = importlib.import_module("jsonschema")
        registry = importlib.import_module("referencing").Registry()
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "checking answers by a schema needs the library jsonschema",
            fix='Install it: pip install "luthier[synth]"',
        ) from fault
    with open(one_file(path, "--schema"), "rb") as opened:
        content = opened.read(MOST_SCHEMA_BYTES + 1)
    try:
        check_depth(content)
        schema = json.loads(content[:MOST_SCHEMA_BYTES])
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        _check_references(schema)
        return kind(schema, registry=registry)
    except (ValueError, LineFault, TypeError, AttributeError) as fault:
        raise DataError("data-json", f"{path} is no JSON schema: {fault}", where=str(path)) from fault
    except jsonschema.SchemaError as fault:
        what = f"{path} is no JSON schema: {fault.message}"
        raise DataError("data-field", what, where=f"{path}: {fault.json_path}") from fault


def _check_references(schema: Any) -> None:
    """Raise ValueError for a reference that leaves the file."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            place = found.get("$ref", "#")
            if isinstance(place, str) and not place.startswith("#"):
                raise ValueError(f"$ref {place!r} leaves the file; nothing is fetched")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
