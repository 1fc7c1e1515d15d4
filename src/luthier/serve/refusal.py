"""How the server says no: one exception, which becomes a 4xx or 503 in OpenAI's error form.

The `code` is one of the fault words of floor/errors.py. Nothing of the machine goes into a message: no path, no stack, no address.
"""

from dataclasses import dataclass, field
from typing import Any

from luthier.floor.errors import FAULTS
from luthier.floor.secrets import hide_secrets

# What OpenAI's clients call the kinds of refusal.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "overloaded_error",
    504: "timeout_error",
}
LONGEST_MESSAGE = 1000


@dataclass
class Refusal(Exception):
    """A request that is not answered. `param` names the field at fault; `headers` go with the response (Retry-After)."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.code in FAULTS, f"the fault word {self.code!r} is not in the registry"
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The object that the client gets."""
        message = hide_secrets(self.message)
        if len(message) > LONGEST_MESSAGE:
            message = message[: LONGEST_MESSAGE - 3] + "..."
        return {
            "error": {
                "message": message,
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "param": self.param,
                "code": self.code,
            }
        }


def busy(message: str, *, retry_after_s: int, code: str = "api-busy") -> Refusal:
    """A 503 that says when to come again."""
    return Refusal(503, code, message, headers={"Retry-After": str(max(1, retry_after_s))})
