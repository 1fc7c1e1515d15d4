"""What an export to Ollama leaves: the Modelfile's facts, and the proof that its template asks as the run was trained."""

from luthier.reports.base import Report


class OllamaReport(Report):
    """A Modelfile beside a GGUF file of the run."""

    modelfile: str
    modelfile_sha256: str
    name: str
    """The model's name in the commands that were said."""
    gguf: str
    """The file that FROM names."""
    gguf_sha256: str
    type: str
    """Its type, such as `Q5_K_M`."""
    style: str
    """How conversations are written."""
    template: str
    """The template in Ollama's own syntax."""
    stops: tuple[str, ...]
    """The texts at which Ollama ends an answer: every end of the run's."""
    parameters: dict[str, float]
    """Sampling, and `num_ctx`."""
    system: str
    """The system text that is part of it; empty if there is none."""
    licence: str
    """What LICENSE says; empty where no licence of the base is known."""
    conversations_checked: int
    """Conversations of Luthier's own that come out the same, character for character."""
    rows_checked: int
    prompts_checked: int
    """Rows of the user's, and the prompts in them, one for every answer."""
    ids_checked: int
    """Prompts of both of which llama.cpp makes the run's ids from the file, its begin-of-text token included."""
    prompts_left_out: dict[str, int]
    """Prompts that Ollama changes before its template sees them (`neighbours`, `roles`), whose tools the template has no place for
    (`tools`), or whose tools Ollama writes otherwise (`other_tools`)."""
    prompts_with_blanks: int
    """Prompts with white space around their texts, which the run's template takes off and Ollama leaves."""
    without_tools: str
    """Why the template has no tools; empty where it has them."""
    other_tools: str
    """Of the first prompt counted as `other_tools`: where it is, and what differs."""
    writes_day: bool
    """The run's template writes the day's date; the Modelfile keeps the day it was made on."""
    has_later_system: bool
    """System texts between other messages come out the same as well."""
