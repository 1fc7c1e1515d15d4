"""The bounds of a server as the request's way needs them: sizes in bytes, times in seconds. Defaults live in config/serve.py."""

from dataclasses import dataclass
from typing import Self

from luthier.config.serve import ServeConfig

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Deeper than any JSON schema of a tool that is worth having, and far from what a parser can bear.
MOST_DEPTH = 32


@dataclass(frozen=True)
class ServerSettings:
    """What the recipe's serve section says, by the names used on the way."""

    host: str
    port: int
    hosts: tuple[str, ...]
    most_body_bytes: int
    most_head_bytes: int
    most_waiting: int
    most_running: int
    wait_s: float
    answer_s: float
    head_s: float
    body_s: float
    write_s: float
    drain_s: float
    most_connections: int
    most_new_tokens: int | None
    most_depth: int = MOST_DEPTH

    @classmethod
    def of(cls, config: ServeConfig) -> Self:
        """The settings that a recipe asks for."""
        bounds, queue = config.bounds, config.queue
        return cls(
            host=config.host,
            port=config.port,
            hosts=config.hosts,
            most_body_bytes=bounds.most_body_bytes,
            most_head_bytes=bounds.most_head_bytes,
            most_waiting=queue.most_waiting,
            most_running=queue.most_running,
            wait_s=queue.longest_wait_s,
            answer_s=queue.longest_request_s,
            head_s=bounds.head_s,
            body_s=bounds.body_s,
            write_s=bounds.write_s,
            drain_s=bounds.drain_s,
            most_connections=bounds.most_connections,
            most_new_tokens=bounds.most_new_tokens or None,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine can reach the server."""
        return self.host in LOOPBACK or self.host.startswith("127.")
