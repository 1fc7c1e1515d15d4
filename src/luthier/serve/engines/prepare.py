"""Turn a request into the ids that the model reads: conversations by the form that the model was trained on, prompts as they are.

The chat template is rendered by text/template.py, in a process of its own with bounds. What a client writes never becomes a control
token: where a text spells one, it is encoded as the plain characters that it is.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from luthier.floor.errors import DataError, LuthierError, ModelError
from luthier.serve.engines.engine import ToolForm
from luthier.serve.refusal import Refusal
from luthier.text.encode import control_pattern, encode_ids
from luthier.text.guide_chat import ANSWER_END, GuideChatRenderer
from luthier.text.render import Template
from luthier.text.row import Message, Row, ToolCall
from luthier.text.template import Conversation, TemplateRefusal, TemplateRenderer, chat_template
from luthier.text.tokenizer import load_tokenizer, stop_ids, vocabulary_size

# How templates write calls, by what stands in them: Hermes and Qwen, Mistral, Llama 3.
TOOL_MARKS: tuple[tuple[str, ToolForm], ...] = (
    ("<tool_call>", "tag"),
    ("[TOOL_CALLS]", "bracket"),
    ('"parameters": dictionary', "json"),
)


@dataclass(frozen=True)
class Prompt:
    """What the model reads, as ids and as the text that they were encoded from."""

    ids: list[int]
    text: str


class Preparer:
    """Renders and encodes for one tokenizer and form. Used by one thread at a time."""

    def __init__(self, folder: Path, template: Template | None) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(folder)
        self.template: Template | None = template or ("chat" if self._has_template() else None)
        self.stop_ids = stop_ids(self.tokenizer)
        self._vocabulary_size = vocabulary_size(self.tokenizer)
        self._bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self._control = control_pattern(self.tokenizer)
        self._renderer: TemplateRenderer | None = None

    @property
    def answer_end(self) -> str:
        """The text that ends an answer to a conversation, where it is no token."""
        return ANSWER_END if self.template == "guide_chat" else ""

    @property
    def tool_form(self) -> ToolForm | None:
        """How the template writes calls of tools, if that is known."""
        if self.template != "chat":
            return None
        text = chat_template(self.tokenizer)
        return next((form for mark, form in TOOL_MARKS if mark in text), None)

    def decode(self, ids: Sequence[int]) -> str:
        """Just what the tokens spell, without control tokens."""
        text: str = self.tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def spell(self, token: int) -> str:
        """One token as text, control tokens too."""
        text: str = self.tokenizer.backend_tokenizer.decode([token], skip_special_tokens=False)
        return text

    def prompt(self, given: str | Sequence[int]) -> Prompt:
        """A prompt as it is; BOS is put before a text where the tokenizer has one."""
        if isinstance(given, str):
            return Prompt(self._bos + encode_ids(self.tokenizer, [given])[0], given)
        largest = max(given)
        if largest >= self._vocabulary_size:
            raise Refusal(
                400, "api-field", f"the id {largest} is none of the model's {self._vocabulary_size}", "prompt"
            )
        return Prompt(list(given), self.decode(given))

    def conversation(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Prompt:
        """A conversation up to the answer that is wanted. Raises Refusal if the model has no form for it."""
        read = [_read_message(message) for message in messages]
        written = json.dumps(tools, ensure_ascii=False) if tools else ""
        if self.template == "chat":
            return self._by_template(read, written)
        if self.template == "guide":
            return self._by_guide(read, written)
        if self.template == "guide_chat":
            return self._by_tags(read, written)
        raise Refusal(
            400,
            "api-template",
            "the model has no chat template: it completes texts. Use /v1/completions",
            "messages",
        )

    def close(self) -> None:
        """End the template's process."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _has_template(self) -> bool:
        try:
            return bool(chat_template(self.tokenizer))
        except DataError:
            return False

    def _by_template(self, messages: list[Message], tools: str) -> Prompt:
        marks: dict[str, str] = {}
        wanted = [Conversation([self._veiled(message, marks) for message in messages], True, tools)]
        if tools:
            wanted.append(wanted[0]._replace(tools=""))
        texts = self._render(wanted)
        if tools and texts[0] == texts[1]:
            raise Refusal(
                400,
                "api-unsupported",
                "the model's chat template leaves tools out: it was made for none",
                "tools",
            )
        return self._encode(texts[0], marks)

    def _render(self, conversations: Sequence[Conversation]) -> list[str]:
        if self._renderer is None:
            self._renderer = TemplateRenderer(self.tokenizer)
        try:
            texts = self._renderer.render(conversations)
        except ModelError as fault:
            # The process is gone with the conversation that it could not bear; the next one gets a new process.
            self.close()
            raise Refusal(400, "api-template", fault.what, "messages") from fault
        refused = next((text for text in texts if isinstance(text, TemplateRefusal)), None)
        if refused is not None:
            raise Refusal(400, "api-template", f"the chat template refuses: {refused}", "messages")
        return [str(text) for text in texts]

    def _veiled(self, message: Message, marks: dict[str, str]) -> Message:
        """The message with a mark in place of every control token that its text spells."""

        def veil(found: Any) -> str:
            mark = f"m{secrets.token_hex(8)}m"
            marks[mark] = found.group()
            return mark

        def clean(text: str) -> str:
            return self._control.sub(veil, text) if text else text

        calls = tuple(replace(call, arguments=clean(call.arguments)) for call in message.tool_calls)
        return replace(message, content=clean(message.content), tool_calls=calls)

    def _encode(self, text: str, marks: dict[str, str]) -> Prompt:
        """Ids of a rendered text; what stands behind a mark is encoded as plain characters."""
        ids: list[int] = []
        shown, rest = "", text
        while True:
            place, mark = min(((rest.find(mark), mark) for mark in marks if mark in rest), default=(-1, ""))
            before = rest if place < 0 else rest[:place]
            ids += encode_ids(self.tokenizer, [before], control_tokens=True)[0] if before else []
            shown += before
            if place < 0:
                return Prompt(ids, shown)
            ids += encode_ids(self.tokenizer, [marks[mark]])[0]
            shown += marks[mark]
            rest = rest[place + len(mark) :]

    def _by_guide(self, messages: list[Message], tools: str) -> Prompt:
        if len(messages) != 1 or messages[0].role != "user" or tools:
            raise Refusal(
                400,
                "api-template",
                "the model was trained on single prompts: send one message of the user, without system, history or tools",
                "messages",
            )
        return self.prompt(messages[0].content + "\n")

    def _by_tags(self, messages: list[Message], tools: str) -> Prompt:
        # The renderer leaves out the last answer and what follows; an empty one stands for the answer that is wanted.
        row = Row("messages", "request", messages=(*messages, Message("assistant", "")), tools=tools)
        try:
            ids = GuideChatRenderer(self.tokenizer, train_on="last").render_prompts([row])[0]
        except LuthierError as fault:
            raise Refusal(
                400, "api-template", "; ".join([fault.what, *fault.problems]), "messages"
            ) from fault
        return Prompt(ids, str(self.tokenizer.decode(ids, skip_special_tokens=False)))


def _read_message(given: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["function"]["name"], _object_text(call["function"]["arguments"]), call["id"])
        for call in given.get("tool_calls") or ()
    )
    return Message(
        role=given["role"],
        content=given.get("content") or "",
        tool_calls=calls,
        tool_call_id=given.get("tool_call_id") or "",
        name=given.get("name") or "",
    )


def _object_text(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "api-field", "the arguments of a call are not a JSON object", "messages")
    return json.dumps(value, ensure_ascii=False)
