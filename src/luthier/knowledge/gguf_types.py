"""The types in which a GGUF file keeps its matrices: who writes each, how large it becomes, how far it may answer otherwise.

Numbers of enum llama_ftype and the sizes of blocks are llama.cpp's (include/llama.h, ggml-common.h). Norms and biases stay F32 in
every type. The bounds are choices: of the quantized types 3 to 11 times, of the floating ones far more than was measured of one model,
7 M weights in bf16 on 32 rows (bench/gguf/types.json). No larger model was measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TypeFacts:
    """One type of file."""

    name: str
    file_type: int
    """Its number in enum llama_ftype."""
    bits: float
    """A weight, over a whole model of the usual shape; exact for the plain types."""
    most_kl: float
    """The largest mean KL divergence from the trained model, nats a token, that is kept."""
    is_plain: bool = True
    """Every matrix in one type, written by the gguf library; the others mix several and are written by llama.cpp."""
    head: str | None = None
    """The type of the head, or of an embedding that is one, where it is not the file's own: in few bits it costs the most."""

    @property
    def is_float(self) -> bool:
        return self.name in ("F32", "F16", "BF16")

    @property
    def weighs_columns(self) -> bool:
        """Whether llama.cpp rounds otherwise where it is told which columns matter (ggml-quants.c)."""
        return not self.is_float and self.name != "Q8_0"


GGUF_TYPES: dict[str, TypeFacts] = {
    facts.name: facts
    for facts in (
        TypeFacts("F32", 0, 32, 1e-4),
        TypeFacts("F16", 1, 16, 1e-3),
        TypeFacts("BF16", 32, 16, 5e-3),
        TypeFacts("Q8_0", 7, 8.5, 0.01),
        TypeFacts("Q6_K", 18, 6.6, 0.02, is_plain=False),
        TypeFacts("Q5_K_M", 17, 5.7, 0.05, is_plain=False),
        TypeFacts("Q5_K_S", 16, 5.5, 0.06, is_plain=False),
        TypeFacts("Q5_1", 9, 6.0, 0.06, head="Q8_0"),
        TypeFacts("Q5_0", 8, 5.5, 0.06, head="Q8_0"),
        TypeFacts("Q4_K_M", 15, 4.9, 0.15, is_plain=False),
        TypeFacts("Q4_K_S", 14, 4.6, 0.2, is_plain=False),
        TypeFacts("Q4_1", 3, 5.0, 0.2, head="Q8_0"),
        TypeFacts("Q4_0", 2, 4.5, 0.25, head="Q8_0"),
        TypeFacts("Q3_K_M", 12, 3.9, 0.5, is_plain=False),
        TypeFacts("Q2_K", 10, 3.0, 1.5, is_plain=False),
    )
}
