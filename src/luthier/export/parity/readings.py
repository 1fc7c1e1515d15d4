"""What a server says that it reads: the ids of a prompt, or how many they are.

vLLM and Luthier tell the ids of a conversation (`/tokenize` with messages); llama-server writes it out (`/apply-template`) and tells the
ids of a text (`/tokenize` with content). Of the rest one learns the number of tokens, from the usage of an answer.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from luthier.export.parity.client import Client, Json, Refused
from luthier.export.parity.prompts import Asked
from luthier.floor.errors import EnvironmentFault
from luthier.text.row import Message


class Reader(Protocol):
    """A way to learn what a server reads."""

    told: Literal["ids", "counts", "nothing"]
    by: str

    def read(self, asked: Asked) -> list[int] | int | Refused | None:
        """The ids of the prompt, their number, why the server refuses it, or None if it does not tell."""


def find_reader(client: Client, model: str) -> Reader:
    """The way in which this server tells most."""
    told = _probe(client, {"model": model, "prompt": "Hello"})
    if _ids(told) and "count" in told:
        return TokenizeRoute(client, model)
    if _ids(_probe(client, {"content": "Hello", "add_special": True, "parse_special": True})):
        return LlamaServerRoutes(client)
    return UsageFigures(client, model)


def _probe(client: Client, body: Json) -> Json:
    """What /tokenize tells; nothing where there is no such route, which gateways say in many ways."""
    try:
        found = client.post("/tokenize", body)
    except EnvironmentFault:
        return {}
    return {} if isinstance(found, Refused) else found


class TokenizeRoute:
    """vLLM's form."""

    told: Literal["ids", "counts", "nothing"] = "ids"
    by = "the server's /tokenize"

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model = client, model

    def read(self, asked: Asked) -> list[int] | Refused:
        """The ids of the prompt."""
        body = (
            chat_body(self._model, asked) if asked.messages else {"model": self._model, "prompt": asked.text}
        )
        found = self._client.post("/tokenize", body)
        return found if isinstance(found, Refused) else _need_ids(self._client, found)


class LlamaServerRoutes:
    """llama-server's form: the template first, then the ids of the text that it wrote."""

    told: Literal["ids", "counts", "nothing"] = "ids"
    by = "the server's /apply-template and /tokenize"

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, asked: Asked) -> list[int] | Refused:
        """The ids of the prompt, as its chat route makes them of the text."""
        text = asked.text
        if asked.messages:
            body = {key: value for key, value in chat_body("", asked).items() if key != "model"}
            written = self._client.post("/apply-template", body)
            if isinstance(written, Refused):
                return written
            text = str(written.get("prompt", ""))
        found = self._client.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return found if isinstance(found, Refused) else _need_ids(self._client, found)


class UsageFigures:
    """Any server of OpenAI's API."""

    told: Literal["ids", "counts", "nothing"] = "counts"
    by = "the server's usage figures"

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model = client, model

    def read(self, asked: Asked) -> int | Refused | None:
        """How many tokens the prompt has."""
        found = self._client.post(*answer_request(self._model, asked, most_new_tokens=1))
        if isinstance(found, Refused):
            return found
        usage = found.get("usage")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if isinstance(count, int) and count > 0 else None


def answer_request(model: str, asked: Asked, *, most_new_tokens: int) -> tuple[str, Json]:
    """Path and body that ask the question greedily, as a user of the server asks it."""
    settings: Json = {"max_tokens": most_new_tokens, "temperature": 0}
    if asked.messages:
        return "/v1/chat/completions", {**chat_body(model, asked), **settings}
    return "/v1/completions", {"model": model, "prompt": asked.text, **settings}


def chat_body(model: str, asked: Asked) -> Json:
    """The conversation in OpenAI's form."""
    body: Json = {"model": model, "messages": [_as_openai(message) for message in asked.messages]}
    if asked.tools:
        body["tools"] = json.loads(asked.tools)
    return body


def _as_openai(message: Message) -> Json:
    written: Json = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id or f"call_{place}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for place, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    if message.name:
        written["name"] = message.name
    return written


def _ids(told: Json) -> Sequence[int]:
    """The ids in an answer; none if it has another form."""
    found: Any = told.get("tokens")
    if isinstance(found, list) and all(isinstance(each, int) for each in found):
        return found
    return ()


def _need_ids(client: Client, told: Json) -> list[int]:
    found = _ids(told)
    if not found:
        raise client.strange("/tokenize", "tells no tokens")
    return list(found)
