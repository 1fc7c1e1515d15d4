"""Prompt templates: Jinja in a sandbox, filled with a seed's fields; and what a row is made of once the answer is there.

A text file is the user's message. A YAML file has `user`, and may have `system`, and `prompt` and `completion`: what the row
shall hold instead of what was sent and answered. In those two `answer` is the answer, the parsed object where a schema is set.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from luthier.data.synth.places import one_file
from luthier.data.synth.seeds import Seed
from luthier.data.synth.task import Form
from luthier.floor.deadline import Overdue, within
from luthier.floor.errors import DataError, UsageError

MOST_TEMPLATE_BYTES = 2**20
MOST_PROMPT_CHARACTERS = 2**20
SECONDS_A_RENDER = 5.0  # computed, not waited; an ordinary prompt takes far less than a millisecond
MOST_EXPONENT = 1000
PARTS = ("system", "user", "prompt", "completion")
YAML_ENDINGS = (".yaml", ".yml")
ANSWER = "answer"

Message = dict[str, str]
# What rendering raises; a template may fail in as many ways as a program can.
_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True)
class Prompts:
    """A template, compiled."""

    path: Path
    digest: str
    """SHA-256 of the file."""
    _parts: dict[str, jinja2.Template]

    @property
    def has_system(self) -> bool:
        """Whether a system message is sent."""
        return "system" in self._parts

    def messages(self, seed: Seed) -> list[Message]:
        """What is sent for a seed. Raises DataError (data-field) if the template asks for what the seed lacks, UsageError if it does not end."""
        roles = ("system", "user") if self.has_system else ("user",)
        found = [{"role": role, "content": self._render(role, seed, seed.fields)} for role in roles]
        if not found[-1]["content"].strip():
            raise DataError("data-empty", "the prompt of this seed is empty", where=seed.origin)
        return found

    def row(self, seed: Seed, answer: Any, *, text: str, form: Form) -> dict[str, Any]:
        """The row that an answer makes: what was sent and answered, or what the template says."""
        sent = self.messages(seed)
        fields = {**seed.fields, ANSWER: answer}
        own_prompt = self._render("prompt", seed, fields) if "prompt" in self._parts else None
        prompt = sent[-1]["content"] if own_prompt is None else own_prompt
        completion = self._render("completion", seed, fields) if "completion" in self._parts else text
        if form == "prompt_completion":
            return {"prompt": prompt, "completion": completion}
        before = sent[:-1] if own_prompt is None else []
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return {"messages": [*before, *turns]}

    def form(self, asked: Form | None) -> Form:
        """What rows become. Raises UsageError if a system message would be lost."""
        keeps_system = self.has_system and "prompt" not in self._parts
        if asked == "prompt_completion" and keeps_system:
            raise UsageError(
                "usage",
                f"{self.path} has a system message, and a prompt/completion row has no place for it",
                where="--to",
                fix="Take --to messages, or give the template a `prompt` of its own.",
            )
        return asked or ("messages" if keeps_system else "prompt_completion")

    def _render(self, part: str, seed: Seed, fields: dict[str, Any]) -> str:
        try:
            with within(SECONDS_A_RENDER):
                text = self._parts[part].render(fields)
        except Overdue as fault:
            what = f"{part} took longer than {SECONDS_A_RENDER:g} s for one seed"
            raise _refused(self.path, what) from fault
        except _FAULTS as fault:
            raise DataError(
                "data-field",
                f"the template's {part} does not go with this seed: {fault}",
                where=seed.origin,
                why=f"The seed has {', '.join(seed.fields) or 'no field'}.",
                fix=f"Mend {self.path}, or the seed; `{{{{ name | default('...') }}}}` allows a field to be missing.",
            ) from fault
        if len(text) > MOST_PROMPT_CHARACTERS:
            raise DataError("data-line", f"the template wrote {len(text):,} characters", where=seed.origin)
        return text


def load_prompts(path: Path) -> Prompts:
    """Read and compile a template. Raises DataError if it cannot be read, UsageError if it is no template."""
    with open(one_file(path, "TEMPLATE"), "rb") as opened:
        content = opened.read(MOST_TEMPLATE_BYTES + 1)
    if len(content) > MOST_TEMPLATE_BYTES:
        raise _refused(path, "larger than 1 MiB: that is no prompt template")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError("data-enc", f"the template is not UTF-8: {fault.reason}", where=str(path)) from fault
    parts = _yaml_parts(path, text) if path.suffix.lower() in YAML_ENDINGS else {"user": text.strip()}
    environment = _environment()
    compiled = {part: _compiled(environment, path, part, source) for part, source in parts.items()}
    sent = environment.parse(parts.get("system", "") + parts["user"])
    if not meta.find_undeclared_variables(sent):
        raise _refused(path, "it has no field such as {{ seed }}: every prompt would be the same")
    return Prompts(path, hashlib.sha256(content).hexdigest(), compiled)


class _Bounded(ImmutableSandboxedEnvironment):
    """Without the two operators of which a single step, in C and not to be cut short, can fill the memory or take for ever."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and abs(right) > MOST_EXPONENT:
            raise jinja2.TemplateRuntimeError(f"an exponent of {right:,}")
        length = sum(len(side) for side in (left, right) if isinstance(side, (str, list, tuple)))
        times = next((side for side in (left, right) if isinstance(side, int)), 0)
        if operator == "*" and length * times > MOST_PROMPT_CHARACTERS:
            raise jinja2.TemplateRuntimeError(f"{length:,} characters or values, {times:,} times")
        return super().call_binop(context, operator, left, right)


def _environment() -> ImmutableSandboxedEnvironment:
    """No files, no attributes with underscores, no field that is not there, and no endless work."""
    return _Bounded(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
    )


def _compiled(environment: jinja2.Environment, path: Path, part: str, source: str) -> jinja2.Template:
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as fault:
        raise _refused(path, f"{part}, line {fault.lineno}: {fault.message}") from fault


def _yaml_parts(path: Path, text: str) -> dict[str, str]:
    refuse = partial(_refused, path)
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as fault:
        raise refuse(f"not YAML: {' '.join(str(fault).split())[:200]}") from fault
    if not isinstance(found, dict):
        raise refuse("a YAML template holds `user: ...`, and may hold system, prompt and completion")
    unknown = [str(name) for name in found if name not in PARTS]
    if unknown:
        raise refuse(f"{unknown[0]!r} is no part of a template; the parts are {', '.join(PARTS)}")
    wrong = [name for name, value in found.items() if not isinstance(value, str) or not value.strip()]
    if wrong:
        raise refuse(f"`{wrong[0]}` is not text, or empty")
    if "user" not in found:
        raise refuse("`user` is missing: it is the message that is sent")
    return {name: value.strip() for name, value in found.items()}


def _refused(path: Path, what: str) -> UsageError:
    return UsageError(
        "usage",
        f"{path} is no prompt template: {what}",
        where="TEMPLATE",
        fix="A template is a text such as `Write a question about {{ topic }}.`; see docs/how-to/synth.md",
    )
