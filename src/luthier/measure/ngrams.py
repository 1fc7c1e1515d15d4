"""ROUGE, BLEU and chrF, all from 0 to 1, by the libraries that papers cite: rouge_score and sacrebleu.

BLEU and chrF of a corpus are computed from sums of counts, not as means of rows; the counts come from sacrebleu and the two
formulas are written here over arrays, so that thousands of resamples cost one matrix product. tests/measure holds them equal
to sacrebleu's own scores.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from luthier.measure.corpus import CorpusMetric, FloatArray

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")
WORD_ORDERS = BLEU().max_ngram_order
CHARACTER_ORDERS = CHRF.CHAR_ORDER
BETA_SQUARED = CHRF.BETA**2


@cache
def _rouge_scorer() -> RougeScorer:
    """Without the stemmer, as `evaluate.load("rouge")` of the guide does by default."""
    return RougeScorer(list(ROUGE_TYPES), use_stemmer=False)


def rouge(expected: str, generated: str) -> tuple[float, float, float]:
    """F-measures of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004).

    Words are runs of a-z and 0-9 after lower-casing: a text in another script has none and scores 0, two empty texts too.
    """
    scores = _rouge_scorer().score(expected, generated)
    rouge1, rouge2, rouge_l = (float(scores[kind].fmeasure) for kind in ROUGE_TYPES)
    return rouge1, rouge2, rouge_l


def bleu_columns(expected: Sequence[str], generated: Sequence[str]) -> FloatArray:
    """A row each: answer's words, expected words, then matched and all n-grams of the orders 1 to 4 (Papineni et al. 2002)."""
    metric = BLEU(effective_order=True)
    rows = []
    for reference, hypothesis in zip(expected, generated, strict=True):
        score = metric.sentence_score(hypothesis, [reference])
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows, dtype=np.float64)


def bleu_of_sums(sums_SK: FloatArray) -> FloatArray:
    """Corpus BLEU as sacrebleu's default: 13a words, exponential smoothing of orders without a match."""
    return _bleu(sums_SK, effective_order=False)


def bleu_of_rows(columns_NK: FloatArray) -> FloatArray:
    """BLEU of single rows: orders longer than the answer are left out, as sacrebleu advises for sentences."""
    return _bleu(columns_NK, effective_order=True)


def bleu_metric(columns_NK: FloatArray) -> CorpusMetric:
    """Corpus BLEU over rows of counts."""
    return CorpusMetric(columns_NK, bleu_of_sums)


def chrf_columns(expected: Sequence[str], generated: Sequence[str]) -> FloatArray:
    """A row each: for the orders 1 to 6, character n-grams of the answer, of the expected text, and in both (Popović 2015)."""
    rows = []
    for reference, hypothesis in zip(expected, generated, strict=True):
        counts: list[int] = []
        for wanted, found in zip(_ngrams(reference), _ngrams(hypothesis), strict=True):
            both = sum(min(times, wanted[ngram]) for ngram, times in found.items() if ngram in wanted)
            # An order that the expected text is too short for counts for nothing, as in sacrebleu.
            counts += [found.total() if wanted else 0, wanted.total(), both]
        rows.append(counts)
    return np.array(rows, dtype=np.float64)


def _ngrams(text: str) -> list[Counter[str]]:
    """The text's character n-grams of every order, white space left out."""
    return extract_all_char_ngrams(text, CHARACTER_ORDERS)


def chrf_of_sums(sums_SK: FloatArray) -> FloatArray:
    """chrF2 from summed counts: means of precision and recall over the orders that both sides have, then F with beta 2."""
    found, wanted, both = sums_SK[:, 0::3], sums_SK[:, 1::3], sums_SK[:, 2::3]
    is_used = (found > 0) & (wanted > 0)
    orders = np.maximum(is_used.sum(axis=1), 1)
    precision = np.where(is_used, both / np.where(is_used, found, 1), 0).sum(axis=1) / orders
    recall = np.where(is_used, both / np.where(is_used, wanted, 1), 0).sum(axis=1) / orders
    weight = BETA_SQUARED * precision + recall
    return np.where(
        weight > 0,
        (1 + BETA_SQUARED) * precision * recall / np.where(weight > 0, weight, 1),
        0.0,
    )


def chrf_metric(columns_NK: FloatArray) -> CorpusMetric:
    """Corpus chrF over rows of counts."""
    return CorpusMetric(columns_NK, chrf_of_sums)


def bleu_signature() -> str:
    """What another person must set to repeat our BLEU."""
    return _signature(BLEU())


def chrf_signature() -> str:
    """What another person must set to repeat our chrF."""
    return _signature(CHRF())


def _signature(metric: BLEU | CHRF) -> str:
    # sacrebleu knows the number of references only after a score.
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature())


def _bleu(sums_SK: FloatArray, *, effective_order: bool) -> FloatArray:
    answer_words, expected_words = sums_SK[:, 0], sums_SK[:, 1]
    matched_SO, all_SO = sums_SK[:, 2 : 2 + WORD_ORDERS], sums_SK[:, 2 + WORD_ORDERS :]
    smoothing_S = np.ones(len(sums_SK))
    log_precisions_S = np.zeros(len(sums_SK))
    orders_S = np.zeros(len(sums_SK))
    for order in range(WORD_ORDERS):
        matched, total = matched_SO[:, order], all_SO[:, order]
        has_ngrams = total > 0
        is_missed = has_ngrams & (matched == 0)
        smoothing_S = np.where(is_missed, 2 * smoothing_S, smoothing_S)
        matched = np.where(is_missed, 1 / smoothing_S, matched)
        log_precisions_S += np.log(np.where(has_ngrams, matched / np.where(has_ngrams, total, 1), 1))
        orders_S += has_ngrams
    shortage = 1 - expected_words / np.maximum(answer_words, 1)
    brevity_S = np.where(answer_words < expected_words, np.exp(np.minimum(shortage, 0)), 1.0)
    values = brevity_S * np.exp(log_precisions_S / np.maximum(orders_S, 1))
    is_scored = matched_SO.any(axis=1) & (effective_order | (orders_S == WORD_ORDERS))
    return np.where(is_scored, values, 0.0)
