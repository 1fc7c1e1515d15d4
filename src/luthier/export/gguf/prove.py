"""Hold a GGUF file against the merged model: llama.cpp's ids of many texts, then its logits and answers on the held-out rows.

llama.cpp runs in a process of its own. The first difference of an id ends the export; distances of logits are judged by a bound.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from luthier.export.gguf.hard_texts import hard_texts
from luthier.export.gguf.truth import Truth
from luthier.export.likeness import Likeness, compare_rows, first_difference
from luthier.export.logits import KeptLogits
from luthier.floor.errors import GateError
from luthier.floor.stop import StopFlag
from luthier.llamacpp import process
from luthier.llamacpp.tasks import Measure, Measured, Prompts, Row
from luthier.measure.parity import LogitDifference

CUT = 60


@dataclass(frozen=True)
class Proof:
    """How a file answers beside the merged model."""

    likeness: Likeness
    texts: int
    same_answer_share: float | None
    stop_ids: tuple[int, ...]
    """The tokens at which llama.cpp ends an answer."""
    metrics: dict[str, tuple[float, float]]
    """Of the greedy answers: the model's, and the file's."""

    @property
    def difference(self) -> LogitDifference:
        return self.likeness.difference

    @property
    def perplexity_before(self) -> float:
        return self.likeness.perplexity_before

    @property
    def perplexity_after(self) -> float:
        return self.likeness.perplexity_after

    @property
    def worst(self) -> str:
        """The row and token where the two are farthest apart."""
        return self.likeness.worst


def proof_texts(
    truth: Truth, tokenizer: PreTrainedTokenizerBase, *, with_hard_ones: bool
) -> list[tuple[str, str]]:
    """Where each text comes from, and the text in Unicode NFC: the rows as rendered, with the question of each as a server sends it."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    rendered = [(row.origin, row.ids) for row in truth.rows]
    rendered += [(f"{row.origin}, the question", row.prompt) for row in truth.rows if row.prompt]
    rows = [
        (origin, str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)))
        for origin, ids in rendered
    ]
    others = hard_texts(added) if with_hard_ones else []
    return [
        (origin, unicodedata.normalize("NFC", text))
        for origin, text in (*rows, *(("a text of Luthier's own", text) for text in others))
    ]


def prove(
    file: Path,
    truth: Truth,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[tuple[str, str]],
    *,
    library: Path,
    work: Path,
    stop: StopFlag | None,
    adapter: Path | None = None,
) -> Proof:
    """Measure a file, with a GGUF adapter over it if one is given. Raises GateError gate-tokens at the first id that differs, ModelError gguf-load if llama.cpp refuses it."""
    kept = work / "file.f32"
    rows = tuple(Row(ids=row.ids, positions=row.positions) for row in truth.logits.rows)
    task = Measure(
        library=str(library),
        model=str(file),
        adapter=str(adapter) if adapter is not None else None,
        threads=torch.get_num_threads(),
        texts=tuple(text for _, text in texts),
        rows=rows,
        logits=str(kept),
        prompts=Prompts(ids=truth.prompts, stop_ids=truth.stop_ids, new_tokens=truth.new_tokens),
    )
    measured = process.measure(task, work=work, stop=stop)
    for (origin, text), theirs in zip(texts, measured.ids, strict=True):
        ours = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        if ours != theirs:
            raise _other_tokens(origin, text, ours, theirs, tokenizer)
    _check_ends(file, truth, measured, tokenizer)
    likeness = compare_rows(truth, KeptLogits(kept, truth.logits.rows, measured.vocabulary), tokenizer)
    kept.unlink()
    return Proof(
        likeness,
        len(texts),
        truth.same_share(measured.answers),
        measured.stop_ids,
        truth.task_metrics([truth.spoken(answer, tokenizer) for answer in measured.answers], tokenizer),
    )


def logits_of(file: Path, truth: Truth, *, library: Path, work: Path, stop: StopFlag | None) -> KeptLogits:
    """A file's logits at the compared positions, kept in `work`. Raises ModelError gguf-load if llama.cpp refuses the file."""
    kept = work / "alone.f32"
    task = Measure(
        library=str(library),
        model=str(file),
        threads=torch.get_num_threads(),
        rows=tuple(Row(ids=row.ids, positions=row.positions) for row in truth.logits.rows),
        logits=str(kept),
    )
    measured = process.measure(task, work=work, stop=stop)
    return KeptLogits(kept, truth.logits.rows, measured.vocabulary)


def _check_ends(file: Path, truth: Truth, measured: Measured, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise GateError gate-tokens if llama.cpp would run past a token at which the run ends its answers."""
    fault = fault_of_ends(truth, measured, tokenizer)
    if fault is not None:
        raise GateError(
            "gate-tokens",
            f"{fault}; the file was deleted",
            where=f"{file.name}: it ends at {list(measured.stop_ids)}, end of text is {measured.end_of_text}",
            why="Its answers would run on behind their end.",
            fix="Serve the merged folder with another engine.",
        )


def fault_of_ends(truth: Truth, measured: Measured, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The first token at which the run ends its answers and llama.cpp does not, in words; None if there is none."""
    missing = [token for token in truth.stop_ids if token not in measured.stop_ids]
    if not missing and measured.end_of_text == truth.stop_ids[0]:
        return None
    token = missing[0] if missing else truth.stop_ids[0]
    name = str(tokenizer.convert_ids_to_tokens(token))
    return f"llama.cpp does not end an answer at token {token} ({name!r}), as the run does"


def _other_tokens(
    origin: str,
    text: str,
    ours: Sequence[int],
    theirs: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> GateError:
    return GateError(
        "gate-tokens",
        f"llama.cpp makes other tokens of a text: {first_difference(ours, theirs, tokenizer)}; the file was deleted",
        where=f"{origin}: {text[:CUT]!r}",
        why="The model would read what it was not trained on.",
        fix="If the model will never see such text: luthier export gguf export.gguf.proof_texts=rows",
    )
