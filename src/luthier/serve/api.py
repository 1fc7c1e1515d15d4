"""The requests that are understood, in OpenAI's shapes, every field with its bounds; anything else is refused by name.

Fields that OpenAI knows and no engine here needs are taken where they say nothing (`store: false`) and refused where they would
change the answer. Nobody may bring a chat template: it is a program. No images or files: nothing is ever fetched.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MOST_NEW_TOKENS = 2**20
MOST_CHOICES = 8
MOST_PROMPTS = 8
MOST_STOPS = 16
LONGEST_STOP = 256
MOST_MESSAGES = 2048
MOST_TOOLS = 128
MOST_TOP_LOGPROBS = 20
MOST_BIASES = 300
MOST_IDS = 2**20
LARGEST_ID = 2**31 - 1
LARGEST_SEED = 2**63 - 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_STOP)]
Ids = Annotated[list[Annotated[int, Field(ge=0, le=LARGEST_ID)]], Field(min_length=1, max_length=MOST_IDS)]
Prompt = Annotated[str, StringConstraints(min_length=1)]
JsonObject = dict[str, Any]


class Shape(BaseModel):
    """Unknown fields are refused, 1.5 is no whole number, NaN is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TextPart(Shape):
    """A part of a message; text is the only kind that is taken."""

    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1, max_length=MOST_MESSAGES)]


class SystemMessage(Shape):
    """What the model is told before the conversation."""

    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Shape):
    """What the person says."""

    role: Literal["user"]
    content: Content
    name: Name | None = None


class CalledFunction(Shape):
    """What a call asks for."""

    name: FunctionName
    arguments: str
    """A JSON object as text."""


class ToolCallShape(Shape):
    """A call of a tool by the assistant."""

    id: Name
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Shape):
    """What the model said earlier."""

    role: Literal["assistant"]
    content: Content | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCallShape], Field(min_length=1, max_length=MOST_TOOLS)] | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        if self.content is None and not self.tool_calls:
            raise ValueError("an assistant's message has content or tool_calls")
        return self


class ToolMessage(Shape):
    """What a tool gave back."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Name
    name: Name | None = None


AnyMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class FunctionShape(Shape):
    """What may be called, with the JSON schema of its arguments."""

    name: FunctionName
    description: str | None = Field(default=None, max_length=16384)
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Shape):
    """A tool of the request."""

    type: Literal["function"]
    function: FunctionShape


class NamedFunction(Shape):
    """A function by its name alone."""

    name: FunctionName


class NamedTool(Shape):
    """The one tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Shape):
    """What an answer must look like."""

    name: FunctionName
    description: str | None = None
    schema_: JsonObject = Field(alias="schema")
    strict: bool | None = None


class PlainFormat(Shape):
    """Free text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Shape):
    """JSON by a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(Shape):
    """What a stream tells besides text."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class Sampling(Shape):
    """What both kinds of request share."""

    model: Name
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 takes the likeliest token. 1 by default, as OpenAI has it."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(default=None, ge=-LARGEST_SEED, le=LARGEST_SEED)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_NEW_TOKENS)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")], float] | None = Field(
        default=None, max_length=MOST_BIASES
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=512)

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> "Sampling":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for stream: true")
        return self

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def streams(self) -> bool:
        return bool(self.stream)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def most_new_tokens(self) -> int | None:
        """The longest answer that the client wants; None leaves it to the context."""
        return self.max_tokens


class ChatRequest(Sampling):
    """The body of POST /v1/chat/completions."""

    messages: list[AnyMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_NEW_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    tools: list[Tool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=64)],
                Annotated[str, StringConstraints(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> "ChatRequest":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are the same limit: give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    @property
    def most_new_tokens(self) -> int | None:
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def top_count(self) -> int | None:
        """How many alternatives each token is told with; None if no log probabilities are wanted."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(Sampling):
    """The body of POST /v1/completions."""

    prompt: (
        Prompt
        | Annotated[list[Prompt], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
    )
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    @property
    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        """Each prompt, as text or as ids."""
        if isinstance(self.prompt, str):
            return (self.prompt,)
        if isinstance(self.prompt[0], int):
            return (tuple(id for id in self.prompt if isinstance(id, int)),)
        return tuple(each if isinstance(each, str) else tuple(each) for each in self.prompt)

    @property
    def top_count(self) -> int | None:
        """How many alternatives each token is told with; None if no log probabilities are wanted."""
        return self.logprobs


def text_of(content: Content | None) -> str:
    """The text of a message; parts are put end to end."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)
