"""Reading what a server of OpenAI's API streams, and how its address is written: what every client of ours shares."""

import json
from typing import Any

# A stream without line ends must not fill the memory.
LONGEST_LINE = 4 * 2**20
DATA, DONE = b"data:", b"[DONE]"


def api_root(address: str) -> str:
    """The address that paths are put behind: `http://HOST:PORT/v1`, whether or not it was given with /v1."""
    root = address.rstrip("/")
    return root if root.endswith("/v1") else f"{root}/v1"


class EventReader:
    """Puts server-sent events together again, wherever the network cut them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> list[dict[str, Any]]:
        """The events that are whole with these bytes. Raises ValueError for what is no JSON, or no line."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE:,} bytes")
        said = (line.strip().removeprefix(DATA).strip() for line in lines if line.startswith(DATA))
        return [json.loads(event) for event in said if event != DONE]
