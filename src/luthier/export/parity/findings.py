"""What was found of a subject, whichever kind it is: before anything is judged."""

from dataclasses import dataclass
from typing import Literal

from luthier.export.likeness import Likeness
from luthier.export.parity.prompts import TokenFault


@dataclass(frozen=True)
class Findings:
    """How a file or a server reads and answers."""

    told: Literal["ids", "counts", "nothing"]
    """How much it tells of what it reads."""
    by: str
    prompts: int
    texts: int
    token_faults: tuple[TokenFault, ...]
    likeness: Likeness | None
    """None of a server that tells no probabilities."""
    answers: tuple[str, ...]
    same_answer_share: float | None
    answers_in: Literal["tokens", "characters"]
    notes: tuple[str, ...] = ()
    file_type: int | None = None
    """Of a GGUF file: the number in enum llama_ftype that it gives itself."""
