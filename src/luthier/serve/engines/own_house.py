"""The models of the own generator's process, loaded: one lane a name, all over the weights of one base."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from luthier.config.method import QloraMethod
from luthier.knowledge.model_config import text_config
from luthier.knowledge.model_folder import check_model_folder
from luthier.modelling.adapters import attach_adapter
from luthier.modelling.attention import choose_attention
from luthier.modelling.device import choose_device, choose_precision
from luthier.modelling.generate import fitting_tokens
from luthier.modelling.load import load_base
from luthier.modelling.running_batch import answering, make_batch
from luthier.modelling.slot_decoder import READ_TOGETHER
from luthier.serve.engines.own_rows import Lane
from luthier.serve.engines.prepare import Preparer

# Where config.json does not say how many tokens the model looks at.
UNBOUNDED_CONTEXT = 2**20
# How many rows are worth having under way: more only make each of them slower on a CPU.
USUAL_ROWS = {"cpu": 16, "cuda": 64}


class House:
    """The models, loaded, one lane each."""

    def __init__(self, specification: dict[str, Any]) -> None:
        if specification.get("threads"):
            torch.set_num_threads(specification["threads"])
        models = specification["models"]
        device = choose_device(specification["device"])
        precision = choose_precision("auto", device)
        quantization = specification.get("quantization")
        base_folder = Path(models[0]["base_folder"] or models[0]["folder"])
        config = check_model_folder(base_folder).config
        self.model: Any = load_base(
            base_folder,
            dtype=precision.dtype,
            device=device,
            attention=choose_attention(
                "auto", device, computes_in_fp32=precision.name == "fp32", config=config
            ),
            quantization=QloraMethod.model_validate(quantization) if quantization else None,
        )
        names: dict[str, str | None] = {}
        for number, model in enumerate(models):
            is_adapter = model["base_folder"] is not None
            names[model["name"]] = f"adapter{number}" if is_adapter else None
            if is_adapter:
                self.model = attach_adapter(
                    self.model, Path(model["folder"]), dtype=precision.dtype, name=f"adapter{number}"
                )
        self._active: str | None = "unknown"
        preparers: dict[tuple[str, str | None], Preparer] = {}
        self.lanes: dict[str, Lane] = {}
        for model in models:
            key = (model["tokenizer_folder"], model["template"])
            if key not in preparers:
                preparers[key] = Preparer(Path(key[0]), model["template"])
            name = names[model["name"]]
            self.lanes[model["name"]] = Lane(
                model["name"],
                partial(make_batch, self.model),
                preparers[key],
                partial(self._activate, name),
                READ_TOGETHER.get(device.type, READ_TOGETHER["cpu"]),
            )
        text = text_config(config)
        found = text.get("max_position_embeddings") or text.get("n_positions") or UNBOUNDED_CONTEXT
        self.context_tokens = min(int(found), specification.get("context_tokens") or int(found))
        fitting = max(1, fitting_tokens(self.model) // self.context_tokens)
        usual = USUAL_ROWS.get(device.type, 16)
        self.most_rows = specification.get("most_rows") or (
            usual if device.type == "cpu" else min(usual, fitting)
        )

    def _activate(self, adapter: str | None) -> None:
        if adapter == self._active or not hasattr(self.model, "peft_config"):
            return
        if adapter is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(adapter)
        self._active = adapter

    def answering(self) -> AbstractContextManager[None]:
        """Inside, rows can be answered."""
        return answering(self.model)
