"""What the server asks of an engine, whichever it is: count a prompt, answer it piece by piece, stop when told.

An engine may live in another process; nothing here waits for the device.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from luthier.serve.api import ChatRequest, CompletionRequest

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ToolForm = Literal["tag", "json", "bracket"]
Ability = Literal["json", "schema", "logprobs", "ids"]


@dataclass(frozen=True)
class TokenFacts:
    """A token of an answer with its log probability (natural), as the model gave it before temperature."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What came of one choice since the last piece. The last piece has a finish reason."""

    choice: int
    text: str = ""
    tokens: int = 0
    """Tokens that the model made; some may still be held back, and the one that ends an answer has no text."""
    facts: tuple[TokenFacts, ...] = ()
    """Of the tokens whose text is in the answer so far, if log probabilities were asked for."""
    finish: FinishReason | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    """From engines that tell calls apart themselves."""


@dataclass(frozen=True)
class Prepared:
    """A request as the model will read it."""

    request: ChatRequest | CompletionRequest
    prompts: tuple[tuple[int, ...], ...]
    """Ids of each prompt; empty tuples where the engine keeps them to itself."""
    prompt_tokens: int
    longest_prompt: int
    texts: tuple[str, ...]
    """Each prompt as text: what the template made of the conversation."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine serves and can do."""

    name: str
    models: tuple[str, ...]
    context_tokens: int
    """Prompt and answer together."""
    most_rows: int
    """Choices that it works on at once."""
    abilities: frozenset[Ability] = frozenset()
    tool_forms: Mapping[str, ToolForm | None] = field(default_factory=dict)
    """How each model's template writes calls of tools; None where that is not known."""


class Engine(Protocol):
    """A model behind the server."""

    @property
    def facts(self) -> EngineFacts:
        """What it serves; known once it has started."""

    @property
    def is_ready(self) -> bool:
        """Whether it answers now."""

    restarts: int
    """How often it had to be started anew."""

    async def start(self) -> None:
        """Load. Raises the LuthierError of what is wrong with the model or the machine."""

    async def prepare(self, request: ChatRequest | CompletionRequest) -> Prepared:
        """Render and count the prompt. Raises Refusal if the template or the context does not take it."""

    def answer(self, prepared: Prepared, *, most_new_tokens: int) -> AsyncIterator[Piece]:
        """The pieces of every choice as they come; closing the iterator ends the work within one step.

        Raises Refusal (503 api-engine) if the engine fails.
        """

    async def stop(self) -> None:
        """Free everything."""
