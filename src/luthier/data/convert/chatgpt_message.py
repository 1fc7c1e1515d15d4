"""Read one message of a ChatGPT export: who said what, or why it is left out."""

import json
import re
from dataclasses import dataclass
from typing import Any

from luthier.text.dialects.turns import (
    CALL_ROLE,
    EMPTY,
    HIDDEN,
    IMAGE_LEFT_OUT,
    INSTRUCTIONS,
    TOOL_CALL,
    TOOL_OUTPUT,
    Choices,
)

NO_MESSAGE = "no message in the node"
IS_HIDDEN = "hidden from the conversation"
CUSTOM_INSTRUCTIONS = "custom instructions"
WEIGHT_0 = "weight 0"
REASONING = "reasoning"
UNKNOWN_ROLE = "speaker not known"
UNKNOWN_CONTENT = "kind of content not known"
ONLY_IMAGE = "only an image, sound or file"
MARKS_REMOVED = "citation marks removed from a message"

REASONING_TYPES = ("thoughts", "reasoning_recap")
OUTPUT_TYPES = (
    "execution_output",
    "tether_browsing_display",
    "tether_quote",
    "sonic_webpage",
    "system_error",
)
CITATION = re.compile(
    "【\\d{1,6}(?::\\d{1,6})?†[^】\\n]{0,500}】|\ue200[^\ue200\ue201\\n]{0,2000}\ue201|[\ue200-\ue202]"
)


@dataclass(frozen=True, slots=True)
class Said:
    """A message that is kept."""

    role: str
    text: str
    notes: tuple[str, ...] = ()


def read_message(message: Any, choices: Choices) -> Said | str:
    """What a message says, or the reason why it is left out."""
    if not isinstance(message, dict):
        return NO_MESSAGE
    metadata, author, content = (_object(message.get(key)) for key in ("metadata", "author", "content"))
    kind = content.get("content_type")
    if kind == "user_editable_context" or metadata.get("is_user_system_message"):
        return _read_instructions(content, metadata, choices)
    if metadata.get("is_visually_hidden_from_conversation") and HIDDEN not in choices.keep:
        return IS_HIDDEN
    weight = message.get("weight")
    if isinstance(weight, (int, float)) and not isinstance(weight, bool) and weight == 0:
        return WEIGHT_0
    if kind in REASONING_TYPES or message.get("channel") == "analysis":
        return REASONING
    role, recipient = author.get("role"), message.get("recipient")
    if role == "tool" or kind in OUTPUT_TYPES:
        return _read_output(content, choices)
    if role == "assistant" and (kind == "code" or recipient not in (None, "all")):
        return _read_call(content, recipient, choices)
    if role not in ("system", "user", "assistant"):
        return UNKNOWN_ROLE
    if kind not in ("text", "multimodal_text"):
        return UNKNOWN_CONTENT
    text, left_out = _text_of(content)
    if not text.strip():
        return ONLY_IMAGE if left_out else EMPTY
    return _said(role, text, left_out)


def _read_instructions(content: dict[str, Any], metadata: dict[str, Any], choices: Choices) -> Said | str:
    """What a person told ChatGPT to know about them: personal, and no turn of the conversation."""
    if INSTRUCTIONS not in choices.keep:
        return CUSTOM_INSTRUCTIONS
    told = _object(metadata.get("user_context_message_data"))
    texts = [content.get("user_profile"), content.get("user_instructions")]
    if not any(isinstance(text, str) and text.strip() for text in texts):
        texts = [told.get("about_user_message"), told.get("about_model_message")]
    text = "\n\n".join(text for text in texts if isinstance(text, str) and text.strip())
    text = text or _text_of(content)[0]
    return Said("system", text) if text.strip() else EMPTY


def _read_call(content: dict[str, Any], recipient: Any, choices: Choices) -> Said | str:
    if choices.tools == "drop":
        return TOOL_CALL
    text = _text_of(content)[0]
    if not text.strip():
        return EMPTY
    name = recipient if isinstance(recipient, str) and recipient != "all" else "code"
    return Said(CALL_ROLE, json.dumps({"name": name, "arguments": text}, ensure_ascii=False))


def _read_output(content: dict[str, Any], choices: Choices) -> Said | str:
    if choices.tools == "drop":
        return TOOL_OUTPUT
    text, left_out = _text_of(content)
    if not text.strip():
        return ONLY_IMAGE if left_out else EMPTY
    return _said("tool", text, left_out)


def _text_of(content: dict[str, Any]) -> tuple[str, int]:
    """The text in a content, and how many parts of it are no text. A text that was split is put together as it was."""
    parts = content.get("parts")
    if not isinstance(parts, list):
        values = (content.get(key) for key in ("text", "result", "summary"))
        return next((value for value in values if isinstance(value, str) and value.strip()), ""), 0
    found = [_text_of_part(part) for part in parts]
    texts = [text for text in found if text is not None]
    joint = "" if content.get("content_type") == "text" else "\n"
    return joint.join(texts), len(found) - len(texts)


def _text_of_part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("content_type") == "audio_transcription":
        return part["text"] if isinstance(part.get("text"), str) else None
    return None


def _said(role: str, text: str, left_out: int) -> Said:
    """The text without citation marks, which lead to pages that only ChatGPT's own window shows."""
    notes = (IMAGE_LEFT_OUT,) if left_out else ()
    stripped, count = (text, 0) if role == "user" else CITATION.subn("", text)
    return Said(role, stripped, (*notes, MARKS_REMOVED) if count else notes)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
