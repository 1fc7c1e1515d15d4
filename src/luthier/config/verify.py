"""Verifying what left the workshop: a file or a server held against the trained model."""

from typing import Literal

from luthier.config.base import Count, CountOrZero, Fraction, Positive, Section


class VerifyConfig(Section):
    """How much is compared, and how far apart the two may be. A bound that is null is not judged, only told."""

    rows: Count = 32
    """The first so many held-out rows, and one of every further shape of conversation in them; `--limit` says the same."""
    reference: Literal["auto", "merged", "tuned"] = "auto"
    """What is right: the merged model, or the trained one (the adapter over its base); `auto` takes the merged one where there is one."""
    answers: CountOrZero = 16
    """Questions that both answer greedily, up to `evaluate.max_new_tokens`."""
    positions: Count = 4
    """Tokens of each row after which a server is asked for its likeliest next ones: one request each."""
    most_kl: Positive | None = None
    """Largest mean KL divergence, in nats a token; null takes the bound of the type of a GGUF file, else `merge.most_kl`."""
    least_same_first: Fraction | None = None
    """Smallest share of tokens after which both hold the same next one for the likeliest."""
    least_same_answers: Fraction | None = None
    """Smallest share of the greedy answers that is the same from their start; null takes 0.5 where a server tells no probabilities."""
    most_metric_loss: Positive | None = None
    """Largest fall of the gate metric over the greedy answers."""
    most_perplexity_rise: Positive | None = None
    """Largest rise of the perplexity of the held-out rows, as a share of it."""
