"""What an export to GGUF leaves: for every file the proof that llama.cpp answers from it as the merged model does."""

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report
from luthier.reports.evaluate import MetricChange


class Importance(BaseModel):
    """The training rows by which columns of matrices were weighed before they were rounded (an importance matrix)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int
    tokens: int
    """What was run through the merged model."""
    matrices: int
    seed: int
    drawn_from: str
    """How many rows were asked for, and the hash of those they were drawn from."""


class GgufFile(BaseModel):
    """One file that passed its check, measured in llama.cpp, from the file, on held-out rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: str
    """`F16`, `Q8_0`, `Q5_K_M`, ..."""
    path: str
    file_bytes: int
    sha256: str
    made_by: str
    """`gguf` for plain types, else the llama.cpp that mixed the types."""
    importance: Importance | None = None
    """What columns were weighed by; None where they were not."""
    texts_checked: int
    """Texts of which llama.cpp made our ids, id for id."""
    tokens_checked: int
    mean_kl: float
    """Nats a token."""
    allowed_kl: float
    max_kl: float
    top1_agreement: float
    max_logit_difference: float
    perplexity_before: float
    perplexity_after: float
    """Of the held-out rows: by the merged model, and by the file."""
    answers_checked: int
    same_answer_share: float | None
    """How much of the first 48 tokens of the greedy answers is the same from their start; None without questions."""
    stop_ids: tuple[int, ...]
    """The tokens at which llama.cpp ends an answer; all at which the run ends one are among them."""
    metrics: dict[str, MetricChange] = {}
    """Of the greedy answers: the merged model's, and the file's."""


class GgufReport(Report):
    """The files of a run's model in GGUF form."""

    folder: str
    source: str
    """The merged model, or the whole model that the run trained."""
    tokenizer: str
    """llama.cpp's name for the tokenizer's rules."""
    is_normalizing: bool
    """Our tokenizer brings texts into NFC first and llama.cpp does not: whoever calls it should."""
    rows_checked: int
    llama_cpp: str
    """The version that loaded the files."""
    gate_metric: str = "exact_match"
    """The metric of the greedy answers that is shown first."""
    files: tuple[GgufFile, ...]
