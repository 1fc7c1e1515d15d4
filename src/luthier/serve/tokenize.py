"""Tell the ids that a model would read, in the form that vLLM's /tokenize has: by them `luthier verify` proves a server.

It costs what a request costs that is refused after its prompt was read, so it has no place in the queue, counts for no limit and stands in
no audit log.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from luthier.serve.api import (
    MOST_MESSAGES,
    MOST_TOOLS,
    AnyMessage,
    ChatRequest,
    CompletionRequest,
    Name,
    Prompt,
    Shape,
    Tool,
)
from luthier.serve.body import ClientGone, judge, read_json
from luthier.serve.exchange import CLIENT_LEFT, Works
from luthier.serve.judge import judge_abilities
from luthier.serve.refusal import Refusal


class TokenizeRequest(Shape):
    """The body of POST /tokenize: a text, or a conversation up to the answer that is wanted."""

    model: Name
    prompt: Prompt | None = None
    messages: Annotated[list[AnyMessage], Field(min_length=1, max_length=MOST_MESSAGES)] | None = None
    tools: list[Tool] | None = Field(default=None, max_length=MOST_TOOLS)
    add_generation_prompt: Literal[True] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if self.prompt is not None and self.tools:
            raise ValueError("tools go with messages")
        return self

    def as_asked(self) -> ChatRequest | CompletionRequest:
        """The request that would be answered from these ids."""
        if self.prompt is not None:
            return CompletionRequest(model=self.model, prompt=self.prompt)
        assert self.messages is not None, "one of both is given"
        return ChatRequest(model=self.model, messages=self.messages, tools=self.tools)


class Tokenizer:
    """The route."""

    def __init__(self, works: Works) -> None:
        self._works = works

    async def answer(self, request: Request) -> Response:
        """Answer a request. Raises Refusal."""
        try:
            given = await read_json(Headers(scope=request.scope), request.receive, self._works.settings)
        except ClientGone:
            return Response(status_code=CLIENT_LEFT)
        asked = judge(TokenizeRequest, given).as_asked()
        engine = self._works.engine
        judge_abilities(asked, engine.facts)
        prepared = await engine.prepare(asked)
        ids = list(prepared.prompts[0])
        if not ids:
            raise Refusal(400, "api-unsupported", f"the engine {engine.facts.name} keeps the ids to itself")
        told: dict[str, Any] = {
            "count": len(ids),
            "max_model_len": engine.facts.context_tokens,
            "tokens": ids,
        }
        return JSONResponse(told)
