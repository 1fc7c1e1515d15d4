"""What of a prepared row a model is given to answer."""

import numpy as np

from luthier.tokens.rows import TrainingRows


def prompt_of(store: TrainingRows, row: int) -> list[int]:
    """The ids before the first trained token; a text row is started by its first eighth."""
    trained = store.trained(row)
    first = int(np.argmax(trained)) if trained.any() else len(trained)
    return [int(token) for token in store.ids(row)[: first if first > 1 else max(1, len(trained) // 8)]]
