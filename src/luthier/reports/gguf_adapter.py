"""What an export of an adapter to GGUF leaves: the proof that llama.cpp, with base and adapter, answers as the run's model does."""

from luthier.reports.base import Report


class GgufAdapterReport(Report):
    """An adapter file that passed its check, measured in llama.cpp over the base file named here, on held-out rows."""

    folder: str
    adapter: str
    """The adapter's file."""
    adapter_bytes: int
    adapter_sha256: str
    alpha: float
    """`adapter.lora.alpha`: llama.cpp scales by alpha / rank, so rsLoRA's sqrt(rank) is in it."""
    modules: int
    """Matrices of the base that the adapter changes."""
    base: str
    """The base's file, over which the adapter was checked."""
    base_bytes: int
    base_sha256: str
    base_type: str
    """`F16`, `Q8_0`, ..."""
    base_is_named: bool
    """The user's own file (`--base`); else it was written beside the adapter."""
    llama_cpp: str
    """The version that loaded the files."""
    texts_checked: int
    """Texts of which llama.cpp made our ids, id for id."""
    rows_checked: int
    tokens_checked: int
    mean_kl: float
    """Nats a token, from the adapter model."""
    allowed_kl: float
    kl_of_base_alone: float
    """How far the base's file answers from the adapter model without the adapter: what the adapter is worth."""
    kl_to_trained: float | None
    """For a quantized run: how far the adapter over the original weights is from the model that was trained."""
    max_kl: float
    top1_agreement: float
    max_logit_difference: float
    perplexity_before: float
    perplexity_after: float
    """Of the held-out rows: by the adapter model, and by llama.cpp."""
    answers_checked: int
    same_answer_share: float | None
    """How much of the greedy answers is the same from their start; None without questions."""
    stop_ids: tuple[int, ...]
    """The tokens at which llama.cpp ends an answer; all at which the run ends one are among them."""
