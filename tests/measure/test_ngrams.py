"""sacrebleu and rouge_score are the judges: our sums must give their scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from luthier.measure.ngrams import (
    bleu_columns,
    bleu_metric,
    bleu_of_rows,
    bleu_signature,
    chrf_columns,
    chrf_metric,
    chrf_of_sums,
    chrf_signature,
    rouge,
)

TEXTS = st.text(alphabet="ab c.,\né$", max_size=25)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5)
SENTENCES = [
    ("the cat sat on the mat .", "the cat sat on a mat"),
    ("name[Aromi], food[Chinese]", "name[Aromi], food[Thai], area[riverside]"),
    ("It costs $4.50, really.", "It costs $4.50, really."),
    ("one", "two three"),
    ("words", ""),
]


@given(PAIRS)
@settings(deadline=None)
def test_corpus_scores_from_sums_are_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    expected, generated = zip(*pairs, strict=True)
    bleu = BLEU().corpus_score(generated, [expected]).score / 100
    chrf = CHRF().corpus_score(generated, [expected]).score / 100
    assert bleu_metric(bleu_columns(expected, generated)).value() == pytest.approx(bleu, abs=1e-12)
    assert chrf_metric(chrf_columns(expected, generated)).value() == pytest.approx(chrf, abs=1e-12)


@given(PAIRS)
@settings(deadline=None)
def test_row_scores_are_sacrebleus_sentence_scores(
    pairs: list[tuple[str, str]],
) -> None:
    expected, generated = zip(*pairs, strict=True)
    bleu, chrf = BLEU(effective_order=True), CHRF()
    ours = (
        bleu_of_rows(bleu_columns(expected, generated)),
        chrf_of_sums(chrf_columns(expected, generated)),
    )
    for row, (reference, hypothesis) in enumerate(pairs):
        assert ours[0][row] == pytest.approx(
            bleu.sentence_score(hypothesis, [reference]).score / 100, abs=1e-12
        )
        assert ours[1][row] == pytest.approx(
            chrf.sentence_score(hypothesis, [reference]).score / 100, abs=1e-12
        )


def test_a_resampled_corpus_scores_as_its_texts_do() -> None:
    expected, generated = zip(*SENTENCES, strict=True)
    bleu, chrf = (
        bleu_metric(bleu_columns(expected, generated)),
        chrf_metric(chrf_columns(expected, generated)),
    )
    generator = np.random.default_rng(3)
    for _ in range(20):
        drawn = generator.integers(0, len(expected), size=len(expected))
        texts = [expected[row] for row in drawn], [generated[row] for row in drawn]
        for metric, judge in ((bleu, BLEU()), (chrf, CHRF())):
            ours = metric.finish(metric.columns_NK[drawn].sum(axis=0, keepdims=True))[0]
            assert ours == pytest.approx(judge.corpus_score(texts[1], [texts[0]]).score / 100, abs=1e-12)


def test_corpus_bleu_is_not_the_mean_of_its_rows() -> None:
    expected, generated = zip(*SENTENCES, strict=True)
    columns = bleu_columns(expected, generated)
    assert abs(bleu_metric(columns).value() - bleu_of_rows(columns).mean()) > 0.01


def test_rouge_by_hand() -> None:
    # Words: the cat sat down | the cat ran. Two of 4 and 3 words, one of 3 and 2 pairs, longest common run of 2.
    rouge1, rouge2, rouge_l = rouge("The cat sat down.", "the cat ran")
    assert (rouge1, rouge2, rouge_l) == pytest.approx((4 / 7, 2 / 5, 4 / 7))
    # The same words in another order keep ROUGE-1 and lose ROUGE-L.
    assert rouge("a b c d", "d c b a")[0] == 1
    assert rouge("a b c d", "d c b a")[2] == pytest.approx(1 / 4)


def test_rouge_does_not_stem_as_the_guides_evaluate_does_not() -> None:
    assert rouge("running", "runs")[0] == 0


def test_signatures_say_what_another_person_must_set() -> None:
    assert bleu_signature().startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert chrf_signature().startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
