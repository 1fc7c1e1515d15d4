"""A GGUF file that llama.cpp loaded, as the rows and lanes of this server's loop; its prompts are made by the tokenizer it came from.

A file and a tokenizer that do not belong together are refused when they are loaded: some texts must become the same ids.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.llamacpp.find import need_library
from luthier.llamacpp.library import BATCH_TOKENS, Library, LoadedModel
from luthier.llamacpp.rows import Rows
from luthier.serve.engines.own_rows import Lane
from luthier.serve.engines.prepare import Preparer

# Each row's part of the cache is taken at the start, unlike the own generator's, which grows.
USUAL_ROWS = 4
MOST_ROWS = 256  # LLAMA_MAX_SEQ
USUAL_CONTEXT_TOKENS = 8192
# Words, blanks, digits, other letters and signs: on these tokenizers part.
TRIED_TEXTS = (
    "The mill near the river",
    " two  blanks\n\n\ttab",
    "1234567",
    "Größe, été, 東京 🙂",
    "it's (a) [list];",
)


class LlamaRows:
    """Rows under way in llama.cpp, with torch's tensors, as the loop wants them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.lengths = rows.lengths

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        logits_BV = self._rows.join(prompts)
        self.lengths = self._rows.lengths
        return torch.from_numpy(logits_BV)

    def step(self, tokens: Sequence[int]) -> Tensor:
        logits_BV = self._rows.step(tokens)
        self.lengths = self._rows.lengths
        return torch.from_numpy(logits_BV)

    def leave(self, places: Sequence[int]) -> None:
        self._rows.leave(places)
        self.lengths = self._rows.lengths


class GgufHouse:
    """One file, one lane."""

    def __init__(self, specification: dict[str, Any]) -> None:
        """Raises EnvironmentFault (llama.cpp or memory is missing), ModelError gguf-load or gguf-tokenizer."""
        (model,) = specification["models"]
        path = Path(model["folder"])
        threads = specification.get("threads") or os.cpu_count() or 1
        torch.set_num_threads(1)  # only tokens are chosen by torch
        self._loaded = LoadedModel(Library(need_library().path), path, is_for_speed=True)
        preparer = Preparer(Path(model["tokenizer_folder"]), model["template"])
        _refuse_other_tokens(self._loaded, preparer)
        wanted = specification.get("context_tokens") or USUAL_CONTEXT_TOKENS
        self.context_tokens = min(self._loaded.context_tokens, wanted)
        self.most_rows = min(specification.get("most_rows") or USUAL_ROWS, MOST_ROWS)
        self._threads = threads
        self.lanes = {
            model["name"]: Lane(
                model["name"], self._make_rows, preparer, lambda: None, BATCH_TOKENS, self.most_rows
            )
        }

    def _make_rows(self) -> LlamaRows:
        try:
            rows = Rows(
                self._loaded,
                most_rows=self.most_rows,
                context_tokens=self.context_tokens,
                threads=self._threads,
            )
        except EnvironmentFault as fault:
            fault.fix = "Take less: serve.context_tokens=2048 serve.queue.most_running=1"
            raise
        return LlamaRows(rows)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, rows can be answered."""
        with torch.no_grad():
            yield


def _refuse_other_tokens(loaded: LoadedModel, preparer: Preparer) -> None:
    for text in TRIED_TEXTS:
        ours = list(preparer.tokenizer(text, add_special_tokens=False)["input_ids"])
        if ours != loaded.tokenize(text):
            raise ModelError(
                "gguf-tokenizer",
                f"the file makes other tokens of {text!r} than the tokenizer beside it",
                where=str(loaded.path),
                why="The model would read what it was not trained on.",
                fix=f"Serve it by llama.cpp's own server, which takes the file's tokenizer: llama-server -m {loaded.path}",
            )
