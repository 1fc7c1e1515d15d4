"""Serving a model to others: where to listen, who may ask, how much at once, what is kept back, logged, measured and kept."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from luthier.config.base import (
    Count,
    CountOrZero,
    Fraction,
    NotNegative,
    PathOrId,
    Positive,
    Section,
    Text,
    Texts,
)
from luthier.config.clean import PersonalKind


class QueueConfig(Section):
    """How many requests are worked on and wait. What finds no place, or waits too long, gets a 503 at once."""

    most_running: CountOrZero = 0
    """Requests that the engine works on at once; 0 takes what the engine can."""
    most_waiting: CountOrZero = 64
    """Requests that wait for the engine; the next one is refused."""
    longest_wait_s: Positive = 30.0
    """The longest that a request waits for the engine, in seconds."""
    longest_request_s: Positive = 600.0
    """The longest that a request takes in all, in seconds; an answer that is not done by then ends there."""


class LimitsConfig(Section):
    """What a key may take that has no limits of its own, and what everybody may take together where there are no keys. 0 means no limit."""

    requests_per_minute: CountOrZero = 0
    """Requests in any minute."""
    tokens_per_minute: CountOrZero = 0
    """Tokens of prompts and answers in a minute; what an answer may need at most is reserved, and given back unused."""
    concurrency: CountOrZero = 0
    """Requests at once."""


class ModeratorConfig(Section):
    """A service that judges texts: it takes `{"input": TEXT}` and answers `{"results": [{"flagged": true}]}`, as OpenAI's moderation does."""

    url: Text | None = None
    """Where it listens, http:// or https://; null asks nobody."""
    key_from: Text | None = None
    """The environment variable that holds its key, if it wants one."""
    timeout_s: Positive = 5.0
    """The longest that one judgement may take, in seconds."""
    every_characters: Count = 400
    """A streamed answer is judged, and held back until then, in pieces of so many characters, each with what came before."""

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        return self


class FilterConfig(Section):
    """What is kept back from the model and from those who ask. Nothing, unless one of `words`, `patterns`, `personal` and `moderator` is given."""

    words: PathOrId | None = None
    """A text file with one word or phrase a line; `#` starts a comment. Letter case makes no difference, and whole words count."""
    patterns: Texts = ()
    """Regular expressions, as Python's `re` has them but without look-around and `\\B`: text that was sent cannot be taken back."""
    personal: Annotated[tuple[PersonalKind, ...], Strict(False)] = ()
    """Kinds of personal data and secrets, as in `data.clean.personal.kinds`."""
    input: Literal["off", "refuse"] = "refuse"
    """What becomes of a request in which something is found: 400."""
    output: Literal["off", "mask", "withhold"] = "withhold"
    """What becomes of an answer: `withhold` ends it there with finish_reason `content_filter`, `mask` puts `[EMAIL]` and the like in its place."""
    on_failure: Literal["refuse", "pass"] = "refuse"
    """Where a judgement fails (a moderator that is away, a pattern that takes too long), let nothing through, or everything."""
    pattern_timeout_s: Positive = 0.05
    """The longest that the search for patterns may take at one step, in seconds."""
    moderator: ModeratorConfig = ModeratorConfig()
    """A service that judges texts."""


class AuditConfig(Section):
    """A log of every request, chained by hashes: `luthier audit verify FILE` tells whether it was changed."""

    path: PathOrId | None = None
    """The file, JSON lines; null keeps none. Its anchor lies beside it."""
    content: bool = False
    """Write requests and answers into it, too."""
    sync_s: NotNegative = 1.0
    """Bring it to the disk so often, in seconds; 0 does it at every record. The end of the process loses nothing, that of the machine what was not synced."""


class CacheConfig(Section):
    """Give an answer again that was given before, to requests at temperature 0 alone. Everybody who asks shares it."""

    most_bytes: CountOrZero = 0
    """What it may take of the memory; 0 keeps nothing."""
    semantic_model: PathOrId | None = None
    """Answer questions that mean the same, too, judged by this model2vec folder (needs `luthier[semantic]`); it is never fetched. Look at what it takes for the same first."""
    similarity: Fraction = 0.95
    """The cosine from which two questions mean the same."""

    @model_validator(mode="after")
    def _meaning_needs_room(self) -> Self:
        if self.semantic_model is not None and not self.most_bytes:
            raise ValueError("semantic_model needs most_bytes: without room nothing is kept")
        return self


class MetricsConfig(Section):
    """The figures of /metrics, in the format of Prometheus."""

    enabled: bool = True
    """Whether there are any."""
    price_per_hour: NotNegative = 0.0
    """What an hour of the machine costs, in a currency of yours: /metrics then tells what a token costs."""


class BoundsConfig(Section):
    """How much of a request is taken, and how long its client is waited for."""

    most_new_tokens: CountOrZero = 0
    """The longest answer of any request, in tokens; 0 leaves it to the model's context."""
    most_body_bytes: Count = 2**20
    """The largest body of a request."""
    most_head_bytes: Annotated[int, Field(ge=1024, le=2**20)] = 16 * 2**10
    """The largest head of a request: its first line and its headers."""
    most_connections: Count = 2048
    """Connections at once."""
    head_s: Positive = 10.0
    """The longest that a client may take to send the head of a request, in seconds."""
    body_s: Positive = 20.0
    """The longest that it may take to send the body, in seconds."""
    write_s: Positive = 30.0
    """The longest that it may leave what was sent unread, in seconds; then it is cut off."""
    drain_s: Positive = 60.0
    """The longest that answers under way may take to end once the server is told to stop, in seconds."""


class ServeConfig(Section):
    """The server."""

    subject: Literal["tuned", "base", "merged"] = "tuned"
    """Which model of a run is served. Beside an adapter its base is served, too, under the name `base`."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")] | None = None
    """The name under which clients ask for the model; null takes the run's, the folder's or the file's."""
    template: Literal["auto", "chat", "guide", "guide_chat"] = "auto"
    """The form of conversations; `auto` takes the one that the run was trained on, else the tokenizer's chat template."""
    context_tokens: CountOrZero = 0
    """Prompt and answer together, if shorter than the model's own context; 0 takes that."""
    threads: CountOrZero = 0
    """CPU threads of the engine; 0 leaves it to the engine."""
    hosts: Texts = ()
    """Names under which clients may address the server besides its own; requests for another name are refused."""
    bounds: BoundsConfig = BoundsConfig()
    """How much of a request is taken."""
    host: Text = "127.0.0.1"
    """Where it listens. Anything but this machine alone needs `keys`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port; 0 takes one that is free."""
    keys: PathOrId | None = None
    """The file of `luthier keys new NAME`; null asks for no key."""
    queue: QueueConfig = QueueConfig()
    """How many requests at once."""
    limits: LimitsConfig = LimitsConfig()
    """How much one key may take."""
    filter: FilterConfig = FilterConfig()
    """What is kept back."""
    audit: AuditConfig = AuditConfig()
    """The log of every request."""
    cache: CacheConfig = CacheConfig()
    """Answers that are given again."""
    metrics: MetricsConfig = MetricsConfig()
    """The figures of /metrics."""
