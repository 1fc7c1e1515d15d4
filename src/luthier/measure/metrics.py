"""Every metric of an evaluation in one pass over the rows: expected text against generated text.

The names are those of reports and of predictions.jsonl; all values lie from 0 to 1. Knows texts only: generation, losses and
files are elsewhere. The guide's names are kept where it has one: exact_match, avg_jaccard_overlap, rouge1, bleu.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from luthier.measure.corpus import CorpusMetric, mean_metric
from luthier.measure.labels import find_labels, is_right
from luthier.measure.ngrams import (
    ROUGE_TYPES,
    bleu_columns,
    bleu_metric,
    bleu_of_rows,
    chrf_columns,
    chrf_metric,
    chrf_of_sums,
    rouge,
)
from luthier.measure.overlap import exact_match, jaccard_overlap, token_f1
from luthier.measure.slots import f1_of_sums, slot_counts, slot_f1_metric

PROPORTIONS = frozenset({"exact_match", "accuracy"})
"""Metrics whose rows are right or wrong: their interval is Wilson's."""

CORPUS_NAMES = {"jaccard_overlap": "avg_jaccard_overlap"}
"""The guide's name of the mean, where it differs from the row's."""

LOWER_IS_BETTER = frozenset({"loss", "perplexity", "bits_per_byte"})


@dataclass(frozen=True)
class RowScores:
    """What one answer scored. `slot_f1` and `accuracy` are None where the task has no records or labels."""

    exact_match: float
    jaccard_overlap: float
    token_f1: float
    rouge1: float
    rouge2: float
    rougeL: float
    bleu: float
    chrf: float
    slot_f1: float | None = None
    accuracy: float | None = None

    def as_dict(self) -> dict[str, float]:
        """The scores by name, those that do not apply left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Scores:
    """The scores of every row, in order, and the metrics of the whole set by name."""

    rows: tuple[RowScores, ...]
    corpus: dict[str, CorpusMetric]

    def values(self) -> dict[str, float]:
        """Every metric of the whole set."""
        return {name: metric.value() for name, metric in self.corpus.items()}


def score_rows(expected: Sequence[str], generated: Sequence[str]) -> Scores:
    """Score every answer against its expected text.

    Slot F1 applies if every expected text is a record, accuracy if they form a small closed set of labels (labels.py).
    """
    assert len(expected) == len(generated) > 0, f"{len(expected)} expected texts, {len(generated)} answers"
    pairs = list(zip(expected, generated, strict=True))
    counts = [slot_counts(*pair) for pair in pairs]
    slots = [count for count in counts if count is not None]
    has_records = len(slots) == len(pairs)
    labels = None if has_records else find_labels(expected)

    rouge_scores = [rouge(*pair) for pair in pairs]
    bleu_NK, chrf_NK = (
        bleu_columns(expected, generated),
        chrf_columns(expected, generated),
    )

    means = {
        "exact_match": [exact_match(*pair) for pair in pairs],
        "jaccard_overlap": [jaccard_overlap(*pair) for pair in pairs],
        "token_f1": [token_f1(*pair) for pair in pairs],
        **{name: [scores[place] for scores in rouge_scores] for place, name in enumerate(ROUGE_TYPES)},
    }
    corpus = {CORPUS_NAMES.get(name, name): mean_metric(values) for name, values in means.items()}
    corpus |= {"bleu": bleu_metric(bleu_NK), "chrf": chrf_metric(chrf_NK)}
    per_row = means | {
        "bleu": bleu_of_rows(bleu_NK).tolist(),
        "chrf": chrf_of_sums(chrf_NK).tolist(),
    }
    if has_records:
        corpus["slot_f1"] = slot_f1_metric(slots)
        per_row["slot_f1"] = f1_of_sums(corpus["slot_f1"].columns_NK).tolist()
    if labels is not None:
        per_row["accuracy"] = [is_right(*pair, labels) for pair in pairs]
        corpus["accuracy"] = mean_metric(per_row["accuracy"])
    return Scores(_as_rows(per_row), corpus)


def _as_rows(per_row: dict[str, list[float]]) -> tuple[RowScores, ...]:
    return tuple(
        RowScores(**dict(zip(per_row, values, strict=True))) for values in zip(*per_row.values(), strict=True)
    )
