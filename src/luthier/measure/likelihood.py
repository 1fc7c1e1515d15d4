"""How well a model foretells a text: loss a token, perplexity, bits a byte.

Perplexity depends on the tokenizer, since it is a figure a token; bits a byte does not, so models with different tokenizers
are compared by it (Gao et al. 2020, "The Pile", section 3.1).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from luthier.measure.corpus import CorpusMetric, FloatArray, ratio_metric

# exp(700) is still a float64; a model this lost needs no more digits.
LARGEST_EXPONENT = 700.0


def perplexity(nll_nats: float, tokens: int) -> float:
    """e to the mean negative log-likelihood of a token."""
    assert tokens > 0, "perplexity of no token"
    return math.exp(min(nll_nats / tokens, LARGEST_EXPONENT))


def bits_per_byte(nll_nats: float, utf8_bytes: int) -> float:
    """The bits that the model needs to spell a byte of the text."""
    assert utf8_bytes > 0, "bits per byte of no byte"
    return nll_nats / math.log(2) / utf8_bytes


def loss_metric(nll_nats_N: ArrayLike, tokens_N: ArrayLike) -> CorpusMetric:
    """The mean negative log-likelihood of a token, in nats, over rows."""
    return ratio_metric(nll_nats_N, tokens_N)


def perplexity_metric(nll_nats_N: ArrayLike, tokens_N: ArrayLike) -> CorpusMetric:
    """The perplexity of the tokens of all rows."""
    loss = ratio_metric(nll_nats_N, tokens_N)

    def finish(sums_SK: FloatArray) -> FloatArray:
        return np.exp(np.minimum(loss.finish(sums_SK), LARGEST_EXPONENT))

    return CorpusMetric(loss.columns_NK, finish)


def bits_per_byte_metric(nll_nats_N: ArrayLike, utf8_bytes_N: ArrayLike) -> CorpusMetric:
    """The bits a byte over all rows."""
    return ratio_metric(nll_nats_N, utf8_bytes_N, scale=1 / math.log(2))
