"""What a synthesis of rows leaves beside them, and what its dry run says."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report


class SynthPlan(BaseModel):
    """What would be asked; nothing was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    endpoint: str
    format: str
    answers_wanted: int
    answers_there: int
    """Of the wanted ones, those that the journal holds already."""
    prompt_tokens_guessed: int
    """Of the prompts still to be sent, at four bytes a token."""
    answer_tokens_at_most: int
    """If every answer to come takes all it may and none has to be asked for again."""
    first_prompts: list[list[dict[str, str]]]


class SynthReport(Report):
    """The books: answers_wanted = rows + the sum of dropped + unanswered + not_asked."""

    template: str
    template_sha256: str
    seeds: str
    seeds_sha256: str
    endpoint: str
    model: str
    settings: dict[str, Any]
    """The fields that were sent beside the messages."""
    format: str
    """`messages` or `prompt_completion`."""
    answers_wanted: int
    rows: int
    dropped: dict[str, int]
    """Answers that became no row, by reason."""
    unanswered: int
    """Asked for in vain; the same line typed again asks for them again."""
    not_asked: int
    """Not asked for, since the budget of tokens did not allow it."""
    answers: int
    """Answers in the journal, those that were asked for again included."""
    requests: int
    """Sent by this command; 0 where the journal had everything."""
    prompt_tokens: int
    """Of all answers in the journal, as the endpoint counted them."""
    completion_tokens: int
    answers_without_usage: int
    """Answers whose tokens are guessed, since the endpoint did not count them."""
    output: str
    output_sha256: str
    journal: str
    dropped_file: str
