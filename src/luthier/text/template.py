"""Render conversations with a tokenizer's chat template, out of harm's way: the work is done by template_worker.py.

Gives texts only; what of them carries loss is decided in chat.py.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from transformers import PreTrainedTokenizerBase

from luthier.floor.errors import DataError, ModelError
from luthier.floor.units import format_bytes
from luthier.text.row import Message

WORKER = Path(__file__).with_name("template_worker.py")
SECONDS_A_RENDER = 10.0  # ordinary templates take well under a millisecond; the machine may be busy
MEMORY_BYTES = 2**30
# What a Python needs to find its libraries; tokens and keys of the environment stay here.
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TZ", "HOME")


class Conversation(NamedTuple):
    """What a template is given."""

    messages: Sequence[Message]
    wants_prompt: bool = False
    """Whether the text shall end with the header of an answer to come."""
    tools: str = ""
    """What may be called: a JSON list as text; empty if there is none."""


class TemplateRefusal(Exception):
    """The template would not render a conversation; the message is the template's own."""


class TemplateRenderer:
    """A chat template in its worker process. Close it, or use it as a context manager."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        seconds: float = SECONDS_A_RENDER,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Raises DataError (data-template) if the tokenizer has no template, ModelError if it does not compile."""
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._template = chat_template(tokenizer)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
            | {"PYTHONUTF8": "1"},
            start_new_session=True,  # Ctrl-C is for us: the batch in hand is finished first
            text=True,
            encoding="utf-8",
        )
        job = {"template": self._template, "variables": tokenizer.special_tokens_map}
        self._write({**job, "seconds": seconds, "memory_bytes": memory_bytes})
        found = self._read()
        if "error" in found:
            self.close()
            raise ModelError("mdl-template", f"the chat template does not compile: {found['error']}", fix=FIX)

    def render(self, conversations: Sequence[Conversation]) -> list[str | TemplateRefusal]:
        """The text of each conversation, or the template's refusal of it.

        Raises ModelError (mdl-template) if a render takes too long or too much memory.
        """
        if not conversations:
            return []
        written = [
            [
                [_write_message(message) for message in each.messages],
                each.wants_prompt,
                _parse_tools(each.tools) if each.tools else None,
            ]
            for each in conversations
        ]
        self._write({"conversations": written})
        answers = [self._read() for _ in written]
        return [
            answer["text"] if "text" in answer else TemplateRefusal(answer["error"]) for answer in answers
        ]

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) and self._process.poll() is None:
            self.close()

    def _write(self, request: dict[str, Any]) -> None:
        """One request; the worker reads it whole before it answers, so the two pipes cannot block each other."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as fault:
            raise self._death() from fault

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._death()
        found: dict[str, Any] = json.loads(line)
        return found

    def _death(self) -> ModelError:
        """Why the worker is gone."""
        _, talk = self._process.communicate()
        if self._process.returncode == -signal.SIGALRM:
            what = f"the chat template took longer than {self._seconds:g} s for one conversation"
        elif self._process.returncode == -signal.SIGKILL or "MemoryError" in talk:
            what = f"the chat template took more than {format_bytes(self._memory_bytes)} of memory"
        else:
            last = talk.strip().splitlines()[-1:] or ["no word"]
            what = f"the process that renders the chat template ended ({self._process.returncode}): {last[0]}"
        why = "A template is a program that comes with the model; this one does not end in bounds."
        return ModelError("mdl-template", what, why=why, fix=FIX)


def _write_message(message: Message) -> dict[str, Any]:
    """A message as templates know it, by OpenAI's names; the arguments of calls are objects, as Transformers asks for."""
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                **({"id": call.id} if call.id else {}),
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    if message.name:
        written["name"] = message.name
    return written


@lru_cache(maxsize=256)
def _parse_tools(tools: str) -> Any:
    """Most rows of a file have the same tools."""
    return json.loads(tools)


FIX = "Replace the tokenizer's chat_template.jinja by the one its model was published with."


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template for plain conversations. Raises DataError (data-template) if there is none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if isinstance(template, str) and template.strip():
        return template
    raise DataError(
        "data-template",
        "the rows are conversations, and the tokenizer has no chat template",
        where=str(tokenizer.name_or_path),
        why="A base model without one was not trained on conversations: no text form of them is its own.",
        fix="Put a chat_template.jinja into the model folder, choose a model that has one, "
        "or give prompt/completion rows (data.template=guide).",
    )
