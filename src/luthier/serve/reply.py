"""Write answers in OpenAI's shapes, whole or as chunks of a stream."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.serve.engines.engine import TokenFacts

Kind = Literal["chat", "completion"]


@dataclass(frozen=True)
class Delta:
    """What goes out of one choice at once."""

    choice: int
    text: str = ""
    facts: tuple[TokenFacts, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish: str | None = None


@dataclass
class WholeChoice:
    """One choice, put together."""

    text: str = ""
    facts: list[TokenFacts] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str = "stop"

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.facts += delta.facts
        self.tool_calls += delta.tool_calls
        self.finish = delta.finish or self.finish


@dataclass(frozen=True)
class Reply:
    """The envelope of one answer."""

    id: str
    kind: Kind
    model: str
    has_facts: bool
    """Whether log probabilities were asked for."""
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[WholeChoice], usage: dict[str, Any]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        listed = [self._whole_choice(index, choice) for index, choice in enumerate(choices)]
        return self._envelope(listed) | {"usage": usage}

    def first_chunk(self, choice: int) -> bytes | None:
        """What a stream of a chat says before any text of a choice."""
        if self.kind == "completion":
            return None
        return self._event([self._chunk_choice(choice, {"role": "assistant", "content": ""}, None, None)])

    def chunk(self, delta: Delta, *, offset: int = 0) -> bytes:
        """One event of a stream; `offset` counts the characters of the choice that went out before."""
        facts = self._facts(delta.facts, offset) if self.has_facts and delta.facts else None
        if self.kind == "completion":
            choice = {
                "index": delta.choice,
                "text": delta.text,
                "logprobs": facts,
                "finish_reason": delta.finish,
            }
            return self._event([choice])
        said: dict[str, Any] = (
            {"content": delta.text} if delta.text or not (delta.tool_calls or delta.finish) else {}
        )
        if delta.tool_calls:
            said["tool_calls"] = [{"index": place, **call} for place, call in enumerate(delta.tool_calls)]
        return self._event([self._chunk_choice(delta.choice, said, facts, delta.finish)])

    def usage_chunk(self, usage: dict[str, Any]) -> bytes:
        """The event before the end of a stream that was asked for its usage."""
        return _as_event(self._envelope([], is_chunk=True) | {"usage": usage})

    def _whole_choice(self, index: int, choice: WholeChoice) -> dict[str, Any]:
        facts = self._facts(choice.facts, 0) if self.has_facts else None
        if self.kind == "completion":
            return {"index": index, "text": choice.text, "logprobs": facts, "finish_reason": choice.finish}
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.tool_calls:
            message |= {"content": choice.text or None, "tool_calls": choice.tool_calls}
        return {"index": index, "message": message, "logprobs": facts, "finish_reason": choice.finish}

    def _chunk_choice(
        self, index: int, delta: dict[str, Any], facts: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": facts, "finish_reason": finish}

    def _facts(self, facts: Sequence[TokenFacts], offset: int) -> dict[str, Any]:
        if self.kind == "chat":
            return {"content": [_chat_fact(fact) for fact in facts], "refusal": None}
        offsets = []
        for fact in facts:
            offsets.append(offset)
            offset += len(fact.text)
        return {
            "tokens": [fact.text for fact in facts],
            "token_logprobs": [fact.logprob for fact in facts],
            "top_logprobs": [dict(fact.top) for fact in facts],
            "text_offset": offsets,
        }

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        return _as_event(self._envelope(choices, is_chunk=True))

    def _envelope(self, choices: list[dict[str, Any]], *, is_chunk: bool = False) -> dict[str, Any]:
        if self.kind == "completion":
            kind = "text_completion"
        else:
            kind = "chat.completion.chunk" if is_chunk else "chat.completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


END_OF_STREAM = b"data: [DONE]\n\n"


def error_event(body: dict[str, Any]) -> bytes:
    """How a stream that has begun says that it failed."""
    return _as_event(body)


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _as_event(body: dict[str, Any]) -> bytes:
    # JSON has no bare newline, so one line is one event. Half a surrogate pair from a filter would be no UTF-8.
    return (
        b"data: "
        + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        + b"\n\n"
    )


def _chat_fact(fact: TokenFacts) -> dict[str, Any]:
    return _one_fact(fact.text, fact.logprob) | {"top_logprobs": [_one_fact(*other) for other in fact.top]}


def _one_fact(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}
