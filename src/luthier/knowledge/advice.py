"""What stands behind the word of a fault, for one word."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """An example of a fault, and what a person does about it."""

    example: str
    remedy: str
