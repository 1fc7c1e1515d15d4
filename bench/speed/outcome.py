"""How a contender's process can end, in words that the results keep."""

from typing import Literal

Status = Literal["measured", "missing", "out_of_memory", "timed_out", "failed", "left_out"]
WORDS: dict[str, str] = {
    "measured": "measured",
    "missing": "not installed",
    "out_of_memory": "out of memory",
    "timed_out": "took too long",
    "failed": "failed",
    "left_out": "left out for want of time",
}


class Refusal(Exception):
    """A contender ended without a figure."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why
