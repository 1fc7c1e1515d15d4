"""What the hub's refusals mean, and which of them may pass.

Calls that huggingface_hub makes once are tried again here; every refusal that stays becomes an error with the next thing to do.
"""

import importlib
import time
from collections.abc import Callable
from typing import TypeVar

from luthier.floor.errors import EnvironmentFault, GateError, LuthierError
from luthier.publish.hub import AGAIN, Line, httpx_of, library

T = TypeVar("T")
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
LATER = "Repeat the command; what arrived whole is not sent again."
# What huggingface_hub raises where an answer is not of the form that it expects.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError)


def patiently(line: Line, doing: str, call: Callable[[], T], *, waits_s: tuple[float, ...] = WAITS_S) -> T:
    """What `call` returns, tried again while what stands in its way may pass.

    Raises EnvironmentFault hub-token, hub-refused, hub-busy, hub-answer or env-network; a refusal of the card is GateError.
    """
    httpx = httpx_of(library())
    errors = importlib.import_module("huggingface_hub.errors")
    for attempt in range(len(waits_s) + 1):
        line.check_stop()
        try:
            return call()
        except LuthierError:
            raise
        except (httpx.HTTPError, errors.OfflineModeIsEnabled, OSError, *MALFORMED) as fault:
            cause = _root(fault)
            if attempt == len(waits_s) or not _may_pass(cause, httpx, has_answered=line.has_answered):
                raise explain(line, doing, cause) from fault
        _wait(line, waits_s[attempt])
    raise AssertionError("the last attempt returns or raises")


def _wait(line: Line, seconds: float) -> None:
    """Sleep in pieces, so that Ctrl-C is heard."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        line.check_stop()
        time.sleep(min(left, 0.5))


def _root(fault: BaseException) -> BaseException:
    """What happened at the bottom: the library wraps what fails in its threads."""
    while type(fault) is RuntimeError and fault.__cause__ is not None:
        fault = fault.__cause__
    if isinstance(fault, LuthierError):
        raise fault
    return fault


def _may_pass(cause: BaseException, httpx: object, *, has_answered: bool) -> bool:
    status = status_of(cause)
    if status is not None:
        return status in AGAIN
    if isinstance(cause, httpx.ConnectError):  # type: ignore[attr-defined]
        return has_answered  # a server that was never there will not come back
    return isinstance(cause, httpx.TransportError)  # type: ignore[attr-defined]


def status_of(fault: BaseException) -> int | None:
    """The HTTP status behind a fault of huggingface_hub; None if there was no answer."""
    errors = importlib.import_module("huggingface_hub.errors")
    kinds = (errors.HfHubHTTPError, httpx_of(library()).HTTPStatusError)
    return int(fault.response.status_code) if isinstance(fault, kinds) else None


def explain(line: Line, doing: str, cause: BaseException) -> LuthierError:
    """The error that a person gets."""
    status = status_of(cause)
    said = line.hide(_said(cause))
    if status is None:
        return _without_answer(line, doing, cause, said)
    if status == 401:
        return EnvironmentFault(
            "hub-token",
            f"the hub does not know the token: {doing} was refused (401)",
            where=line.endpoint,
            fix="Make one that may write at https://huggingface.co/settings/tokens, then: export HF_TOKEN=..., or hf auth login",
        )
    if status in AGAIN:
        return EnvironmentFault(
            "hub-busy", f"the hub answers {status} to every try: {doing}", where=line.endpoint, fix=LATER
        )
    if status == 400:
        return GateError(
            "publish-card",
            f"the hub refuses {doing}: {said}",
            where=line.endpoint,
            fix="Mend what it names in publish.card.",
        )
    reasons = {
        403: ("the token may not do this", "Give the token the right to write to this repository, or choose another: --repo OWNER/NAME"),
        404: ("the owner or the repository is not there, or the token may not see it", "Look at the spelling: --repo OWNER/NAME"),
        409: ("another change was made at the same time", "Look at the repository, then repeat the command."),
        412: ("another change was made at the same time", "Look at the repository, then repeat the command."),
        413: ("something is too large for it", "Publish less, or in smaller files."),
    }  # fmt: skip
    reason, fix = reasons.get(status, ("it says no more", "Repeat the command; if it stays so, ask the hub."))
    word = "hub-conflict" if status in (409, 412) else "hub-refused"
    return EnvironmentFault(
        word, f"the hub refuses {doing} ({status}): {reason}", where=line.endpoint, why=said, fix=fix
    )


def _without_answer(line: Line, doing: str, cause: BaseException, said: str) -> LuthierError:
    httpx = httpx_of(library())
    if type(cause).__name__ == "OfflineModeIsEnabled":
        return EnvironmentFault(
            "env-network",
            "HF_HUB_OFFLINE is set, so the hub is not asked",
            where=line.endpoint,
            fix="Unset it: unset HF_HUB_OFFLINE; to look at what would go up: luthier publish --dry-run",
        )
    if isinstance(cause, (httpx.TransportError, OSError)):
        return EnvironmentFault(
            "env-network",
            f"the hub cannot be reached for {doing}: {said or type(cause).__name__}",
            where=line.endpoint,
            fix=LATER,
        )
    return EnvironmentFault(
        "hub-answer",
        f"the hub's answer to {doing} cannot be read: {type(cause).__name__}: {said}",
        where=line.endpoint,
        fix="Look at HF_ENDPOINT and at the proxy between: curl -I $HF_ENDPOINT",
    )


def _said(cause: BaseException) -> str:
    """The library's words in one line, without addresses, whose queries may be keys."""
    words = [word for word in str(cause).split() if "://" not in word]
    return " ".join(words)[:300]
