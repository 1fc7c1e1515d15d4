"""From predictions to figures: every metric with its confidence interval, and the same metrics for a comparison."""

from collections.abc import Mapping, Sequence

from luthier.config.evaluate import EvaluateConfig
from luthier.evaluate.predictions import Prediction
from luthier.measure.corpus import CorpusMetric
from luthier.measure.intervals import bootstrap, wilson
from luthier.measure.likelihood import bits_per_byte_metric, loss_metric, perplexity_metric
from luthier.measure.metrics import CORPUS_NAMES, LOWER_IS_BETTER, PROPORTIONS, score_rows
from luthier.reports.evaluate import Estimate

ROW_NAMES = {corpus_name: row_name for row_name, corpus_name in CORPUS_NAMES.items()}


def likelihood_metrics(predictions: Sequence[Prediction]) -> dict[str, CorpusMetric]:
    """Loss a token, perplexity and bits a byte of the expected answers."""
    nll = [prediction.nll_nats for prediction in predictions]
    tokens = [prediction.tokens for prediction in predictions]
    metrics: dict[str, CorpusMetric] = {}
    if any(tokens):
        metrics |= {"loss": loss_metric(nll, tokens), "perplexity": perplexity_metric(nll, tokens)}
    if any(prediction.bytes for prediction in predictions):
        metrics["bits_per_byte"] = bits_per_byte_metric(nll, [prediction.bytes for prediction in predictions])
    return metrics


def all_metrics(predictions: Sequence[Prediction]) -> dict[str, CorpusMetric]:
    """Every metric that these predictions have, scored again from their texts."""
    answers = [prediction.generated for prediction in predictions if prediction.generated is not None]
    if len(answers) != len(predictions):
        return likelihood_metrics(predictions)
    expected = [prediction.expected for prediction in predictions]
    return score_rows(expected, answers).corpus | likelihood_metrics(predictions)


def estimate(
    metrics: Mapping[str, CorpusMetric], settings: EvaluateConfig, *, seed: int
) -> dict[str, Estimate]:
    """Each metric with its interval: Wilson's where rows are right or wrong, the bootstrap's elsewhere."""
    found = bootstrap(metrics, samples=settings.bootstrap_samples, confidence=settings.confidence, seed=seed)
    for name in PROPORTIONS & metrics.keys():
        rows = metrics[name].rows
        found[name] = wilson(round(metrics[name].value() * rows), rows, confidence=settings.confidence)
    return {
        name: Estimate(value=interval.value, low=interval.low, high=interval.high)
        for name, interval in found.items()
    }


def row_values(predictions: Sequence[Prediction], metric: str) -> list[float]:
    """One value a row of a metric of the whole set, for counting the rows won and lost."""
    if metric in LOWER_IS_BETTER:
        return [prediction.nll_nats / max(1, prediction.tokens) for prediction in predictions]
    name = ROW_NAMES.get(metric, metric)
    return [prediction.scores[name] for prediction in predictions]
