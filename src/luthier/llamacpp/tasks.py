"""What the process that calls llama.cpp is asked, and what it answers. Both go through files, as JSON."""

from pydantic import BaseModel, ConfigDict

DISK_REFUSES = 28
"""The worker's exit code where not even its answer can be written: ENOSPC's own number."""


class Exchange(BaseModel):
    """Whatever crosses the border between the two processes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(Exchange):
    """A row of ids, and the positions whose logits are wanted."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]


class Prompts(Exchange):
    """What to continue greedily, and where to end."""

    ids: tuple[tuple[int, ...], ...] = ()
    stop_ids: tuple[int, ...] = ()
    new_tokens: int = 1


class Measure(Exchange):
    """Load a GGUF file, turn texts into ids, and compute."""

    library: str
    model: str
    adapter: str | None = None
    """A GGUF adapter to put over the model."""
    threads: int = 1
    texts: tuple[str, ...] = ()
    begin: bool = False
    """Tokenize as a prompt begins: with the BOS that the file asks for."""
    rows: tuple[Row, ...] = ()
    logits: str | None = None
    """The file to write the rows' logits to: float32, rows end to end."""
    prompts: Prompts = Prompts()

    @property
    def is_vocabulary_only(self) -> bool:
        return not self.rows and not self.prompts.ids


class Measured(Exchange):
    """The ids of every text, the answers to every prompt. `fault` alone is set if the file cannot be loaded."""

    fault: str | None = None
    code: str = "gguf-load"
    """What kind of fault it is, if it is one."""
    vocabulary: int = 0
    file_type: int | None = None
    """The number in enum llama_ftype that the file gives itself."""
    chat_template: str | None = None
    """The template of conversations that the file brings."""
    begin: tuple[int, ...] = ()
    """What llama.cpp puts before every prompt."""
    end_of_text: int = -1
    stop_ids: tuple[int, ...] = ()
    """All tokens at which llama.cpp ends an answer."""
    ids: tuple[tuple[int, ...], ...] = ()
    answers: tuple[tuple[int, ...], ...] = ()


class Quantize(Exchange):
    """Write a GGUF file in another type."""

    library: str
    source: str
    target: str
    file_type: int
    """A number of enum llama_ftype."""
    threads: int = 1
    importance: str | None = None
    """A safetensors file: for each weight the mean square of what each of its columns is multiplied by."""


class Quantized(Exchange):
    """How it went: `fault` and its `code` are set if it did not."""

    fault: str | None = None
    code: str = "gguf-load"
