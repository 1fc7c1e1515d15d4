"""Score texts by a sequence-classification model: a program of its own, so that whoever cleans rows needs no torch.

    python -m luthier.modelling.score_texts DEVICE FOLDER LABEL...

Reads `{"id", "text"}` a line, writes `{"id", "score"}` a line. The score is the probability of the labels together, or the highest of
theirs where the model gives each a probability of its own. A text longer than the model reads is cut into windows, of which the worst counts.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH_TOKENS = 2**14
# What a classifier reads at most where its tokenizer names no limit (BERT's, the usual one).
USUAL_TOKENS = 512


class Classifier:
    """A model and the labels that are unwanted."""

    def __init__(self, folder: Path, labels: Sequence[str], device: str) -> None:
        offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = AutoTokenizer.from_pretrained(folder, **offline)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **offline
        )
        if loading["missing_keys"]:  # a head that is not there would be made up, at random
            sys.exit(
                f"the model lacks weights of a classifier: {', '.join(sorted(loading['missing_keys'])[:5])}"
            )
        self._model = model.to(device).eval()
        self._columns = [int(id) for id, label in model.config.id2label.items() if label in labels]
        self._is_multi_label = model.config.problem_type == "multi_label_classification"
        limit = self._tokenizer.model_max_length
        positions = getattr(model.config, "max_position_embeddings", None) or USUAL_TOKENS
        self._most_tokens = min(limit, positions, USUAL_TOKENS) if limit else USUAL_TOKENS

    def score(self, texts: Sequence[str]) -> list[float]:
        """Of each text the score of its worst window."""
        encoded = self._tokenizer(
            list(texts), truncation=True, max_length=self._most_tokens, return_overflowing_tokens=True
        )
        owners = encoded.pop("overflow_to_sample_mapping")
        worst = [0.0] * len(texts)
        order = sorted(range(len(owners)), key=lambda window: len(encoded["input_ids"][window]))
        for windows in _batches(order, [len(ids) for ids in encoded["input_ids"]]):
            batch = self._tokenizer.pad(
                {name: [values[window] for window in windows] for name, values in encoded.items()},
                return_tensors="pt",
            )
            for window, score in zip(windows, self._scores(batch), strict=True):
                worst[owners[window]] = max(worst[owners[window]], score)
        return worst

    @torch.inference_mode()
    def _scores(self, batch: Any) -> list[float]:
        logits = self._model(**batch.to(self._model.device)).logits.float()
        if self._is_multi_label or logits.shape[-1] == 1:
            scores = logits.sigmoid()[:, self._columns].amax(dim=-1)
        else:
            scores = logits.softmax(dim=-1)[:, self._columns].sum(dim=-1)
        listed: list[float] = scores.tolist()
        return listed


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Windows of like length, so many that padded to the longest they hold a bounded number of tokens."""
    batch: list[int] = []
    for window in order:
        if batch and (len(batch) + 1) * lengths[window] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def main() -> None:
    """Score what stands on stdin."""
    setting, folder, *labels = sys.argv[1:]
    if setting == "cuda" and not torch.cuda.is_available():
        sys.exit("data.clean.scorer.device is cuda, and torch sees no CUDA device")
    device = "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"
    requests = [json.loads(line) for line in sys.stdin]
    scores = Classifier(Path(folder), labels, device).score([each["text"] for each in requests])
    for request, score in zip(requests, scores, strict=True):
        sys.stdout.write(json.dumps({"id": request["id"], "score": score}) + "\n")


if __name__ == "__main__":
    main()
