"""Hold a GGUF file against the merged model: llama.cpp's ids of many texts, then its logits and answers on the held-out rows.

llama.cpp runs in a process of its own. The first difference of an id ends the export; distances of logits are judged by a bound.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from luthier.export.gguf.hard_texts import hard_texts
from luthier.export.gguf.truth import ANSWER_TOKENS, Truth
from luthier.export.logits import KeptLogits, Logits
from luthier.floor.errors import GateError
from luthier.floor.stop import StopFlag
from luthier.llamacpp import process
from luthier.llamacpp.tasks import Measure, Measured, Prompts, Row
from luthier.measure.parity import LogitDifference, combine, compare_logits, kl_divergences, log_softmax

CUT = 60


@dataclass(frozen=True)
class Proof:
    """How a file answers beside the merged model."""

    difference: LogitDifference
    perplexity_before: float
    perplexity_after: float
    texts: int
    same_answer_share: float | None
    worst: str
    """The row and token where the two are farthest apart."""
    stop_ids: tuple[int, ...]
    """The tokens at which llama.cpp ends an answer."""


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
        prompts=Prompts(ids=truth.prompts, stop_ids=truth.stop_ids, new_tokens=ANSWER_TOKENS),
    )
    measured = process.measure(task, work=work, stop=stop)
    for (origin, text), theirs in zip(texts, measured.ids, strict=True):
        ours = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        if ours != theirs:
            raise _other_tokens(origin, text, ours, theirs, tokenizer)
    _check_ends(file, truth, measured, tokenizer)
    other = KeptLogits(kept, truth.logits.rows, measured.vocabulary)
    proof = _compare(truth, other, tokenizer, texts=len(texts), measured=measured)
    kept.unlink()
    return proof


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


def _compare(
    truth: Truth,
    other: KeptLogits,
    tokenizer: PreTrainedTokenizerBase,
    *,
    texts: int,
    measured: Measured,
) -> Proof:
    parts, losses_before, losses_after = [], [], []
    worst_kl, worst = -1.0, ""
    pairs = zip(truth.rows, truth.logits.by_row(), other.by_row(), strict=True)
    for row, (compared, ours_TV), (_, theirs_TV) in pairs:
        if ours_TV.shape != theirs_TV.shape:
            worst = f"{row.origin}: {theirs_TV.shape[1]:,} logits a token, not {ours_TV.shape[1]:,}"
            parts.append(LogitDifference(len(ours_TV), math.inf, math.inf, math.inf, 0.0))
            continue
        parts.append(compare_logits(ours_TV, theirs_TV))
        kl_T = kl_divergences(ours_TV.astype(np.float64), theirs_TV.astype(np.float64))
        place = int(kl_T.argmax())
        if not kl_T[place] <= worst_kl:  # a NaN is the worst of all, and argmax finds it
            at = compared.positions[place]
            token = str(tokenizer.decode([compared.ids[at]]))
            worst_kl, worst = float(kl_T[place]), f"{row.origin}, after token {at} ({token!r})"
        losses_before += list(_losses(ours_TV, compared.ids, compared.positions))
        losses_after += list(_losses(theirs_TV, compared.ids, compared.positions))
    return Proof(
        combine(parts),
        _perplexity(losses_before),
        _perplexity(losses_after),
        texts,
        _same_share(truth.answers, measured.answers),
        worst,
        measured.stop_ids,
    )


def _check_ends(file: Path, truth: Truth, measured: Measured, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise GateError gate-tokens if llama.cpp would run past a token at which the run ends its answers."""
    missing = [token for token in truth.stop_ids if token not in measured.stop_ids]
    if not missing and measured.end_of_text == truth.stop_ids[0]:
        return
    token = missing[0] if missing else truth.stop_ids[0]
    name = str(tokenizer.convert_ids_to_tokens(token))
    raise GateError(
        "gate-tokens",
        f"llama.cpp does not end an answer at token {token} ({name!r}), as the run does; the file was deleted",
        where=f"{file.name}: it ends at {list(measured.stop_ids)}, end of text is {measured.end_of_text}",
        why="Its answers would run on behind their end.",
        fix="Serve the merged folder with another engine.",
    )


def _losses(logits_TV: Logits, ids: Sequence[int], positions: Sequence[int]) -> Iterator[float]:
    """Of each compared position that has a next token: how surprised the model is of it, in nats."""
    for place, position in enumerate(positions):
        if position + 1 < len(ids):
            yield -float(log_softmax(logits_TV[place].astype(np.float64))[ids[position + 1]])


def _perplexity(losses: Sequence[float]) -> float:
    return math.exp(min(700.0, sum(losses) / len(losses))) if losses else math.nan


def _same_share(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float | None:
    """The share of the longer answers that both begin with."""
    shared = total = 0
    for first, second in zip(ours, theirs, strict=True):
        total += max(len(first), len(second))
        for left, right in zip(first, second, strict=False):
            if left != right:
                break
            shared += 1
    return shared / total if total else None


def _other_tokens(
    origin: str,
    text: str,
    ours: Sequence[int],
    theirs: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> GateError:
    pairs = zip(ours, theirs, strict=False)
    place = next(
        (number for number, (left, right) in enumerate(pairs) if left != right), min(len(ours), len(theirs))
    )
    shown = [
        tokenizer.convert_ids_to_tokens(list(ids[place : place + 1])) or ["the end"] for ids in (ours, theirs)
    ]
    return GateError(
        "gate-tokens",
        f"llama.cpp makes other tokens of a text: token {place} is {shown[1][0]!r} there and {shown[0][0]!r} here; "
        "the file was deleted",
        where=f"{origin}: {text[:CUT]!r}",
        why="The model would read what it was not trained on.",
        fix="If the model will never see such text: luthier export gguf export.gguf.proof_texts=rows",
    )
