"""Requests and their ends as the server hands them to hooks, for tests of one hook alone."""

from dataclasses import replace
from itertools import count
from typing import Any

from luthier.serve.api import ChatRequest
from luthier.serve.hooks import Asked, Ended, KeyHolder

NUMBERS = count()


def chat(text: str = "Hello", **fields: Any) -> ChatRequest:
    return ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    )


def asked(text: str = "Hello", **fields: Any) -> Asked:
    """A request of `fields`; those of `Asked` may be given as well."""
    own = {name: fields.pop(name) for name in list(fields) if name in Asked.__dataclass_fields__}
    made = Asked(
        id=f"chatcmpl-{next(NUMBERS)}",
        kind="chat",
        model="m",
        key=KeyHolder(),
        request=chat(text, **fields),
        texts=(text,),
        prompt_tokens=10,
        most_new_tokens=20,
        choices=1,
        received_s=0.0,
    )
    return replace(made, **own)


def ended(text: str = "Hi", **fields: Any) -> Ended:
    made = Ended(
        outcome="answered",
        status=200,
        code=None,
        texts=(text,),
        finish_reasons=("stop",),
        prompt_tokens=10,
        completion_tokens=5,
        queued_s=0.0,
        first_token_s=0.1,
        total_s=0.5,
    )
    return replace(made, **fields)
