"""Put adapters on a model, save what was trained, and put a saved adapter back.

PEFT makes and names the layers. Around it: seeds before a weight is made, every target must exist, and a saved adapter goes back
tensor for tensor over the very base it was trained on, or not at all.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.config.method import LoraMethod
from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.floor.files import (
    TEMPORARY_PREFIX,
    disk_faults,
    free_room,
    publish_folder,
    read_json,
    write_json,
)
from luthier.floor.lookup import nearest
from luthier.knowledge.adapter_folder import ORIGIN_FILE, WEIGHTS_FILE, AdapterFacts, check_adapter_folder
from luthier.knowledge.safetensors_header import damaged
from luthier.modelling.load import LoadedFrom, is_finite, non_finite, quiet_transformers

ALL_LINEAR = "all-linear"
# What PEFT calls an adapter that is the only one.
DEFAULT_NAME = "default"
# What the families call the input embedding and the head; where they share a matrix, what is trained of one must be shared too.
EMBEDDING_NAMES = ("embed_tokens", "lm_head", "wte")


def add_adapter(model: PreTrainedModel, method: LoraMethod, *, seed: int) -> PeftModel:
    """Freeze the model and give the method's modules adapters, whose fp32 weights depend on `seed` alone.

    Raises ModelError adp-targets if a name of `method.targets` or `method.trained_modules` is no module of the model.
    """
    check_targets(model, method)
    is_tied = bool(getattr(model.config, "tie_word_embeddings", False))
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # PEFT divides by it; a whole number is not needed
        lora_dropout=method.dropout,
        target_modules=ALL_LINEAR if ALL_LINEAR in method.targets else list(method.targets),
        use_rslora=method.rslora,
        use_dora=method.dora,
        modules_to_save=list(method.trained_modules) or None,
        ensure_weight_tying=is_tied
        and any(name in EMBEDDING_NAMES for name in (*method.trained_modules, *method.targets)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = _wrap(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _wrap(model: PreTrainedModel, config: LoraConfig, name: str = DEFAULT_NAME) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT 0.21 asks by the name that Transformers 5.18 renamed; both know.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        adapted = get_peft_model(model, config, adapter_name=name)
    assert isinstance(adapted, PeftModel)
    return adapted


def check_targets(model: nn.Module, method: LoraMethod) -> None:
    """Every name must fit a module: PEFT itself is content if one of them does, and trains less than was asked for."""
    modules = dict(model.named_modules())
    last_names = {
        name.rsplit(".", 1)[-1] for name, module in modules.items() if isinstance(module, nn.Linear)
    }
    for key, wanted in (
        ("method.targets", method.targets),
        ("method.trained_modules", method.trained_modules),
    ):
        absent = [name for name in wanted if name != ALL_LINEAR and not _fits_a_module(name, modules)]
        if absent:
            raise ModelError(
                "adp-targets",
                f"{key} names {', '.join(absent)}, and no module of the model is called so",
                where=key,
                problems=[
                    f"{name}: did you mean {guess}?" for name in absent for guess in nearest(name, last_names)
                ],
                why=f"The linear modules of this model: {', '.join(sorted(last_names))}.",
                fix=f"Name some of those, or take them all: {key}=[{ALL_LINEAR}]",
            )


def _fits_a_module(name: str, modules: dict[str, nn.Module]) -> bool:
    return any(module == name or module.endswith(f".{name}") for module in modules)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name, in the order of the model's modules; a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_trained(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    base_name: str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the adapter, or the whole model, with its tokenizer to `folder`, in one step that survives a crash.

    `base_name` is the base as the recipe names it; `dtype` converts a whole model's weights on their way out.
    Raises EnvironmentFault if the disk refuses; what lay at `folder` is then untouched.
    """
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    with disk_faults(folder), quiet_transformers():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            if isinstance(model, PeftModel):
                _write_adapter(model, temporary, base_name)
            else:
                assert isinstance(model, PreTrainedModel), (
                    f"a {type(model).__name__} is neither adapter nor model"
                )
                _write_model(model, temporary, dtype)
            tokenizer.save_pretrained(temporary)
            publish_folder(temporary, folder)
        except SafetensorError as fault:
            # safetensors wraps the operating system's refusal in an error of its own.
            raise EnvironmentFault(
                "env-disk",
                f"cannot write the weights: {fault}",
                where=str(folder),
                why=f"{free_room(folder)} are free there.",
                fix="Make room, then repeat the command.",
            ) from fault
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_adapter(model: PeftModel, folder: Path, base_name: str | None) -> None:
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    # Cloned: trained embeddings and a head tied to them share memory, which the format does not hold.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / WEIGHTS_FILE)
    origin = loaded_from(model)
    name = base_name or str(origin.folder)
    settings = model.peft_config["default"]
    before = settings.base_model_name_or_path, settings.inference_mode
    settings.base_model_name_or_path, settings.inference_mode = name, True
    try:
        settings.save_pretrained(str(folder))
    finally:
        settings.base_model_name_or_path, settings.inference_mode = before
    write_json(folder / ORIGIN_FILE, {"base": {"name": name, "fingerprint": origin.fingerprint}})


def _write_model(model: PreTrainedModel, folder: Path, dtype: torch.dtype | None) -> None:
    kept, tensors = model.dtype, model.state_dict()
    if dtype is not None and dtype != kept:
        # By address, so that a head tied to the embedding stays one tensor and is written once.
        converted: dict[int, torch.Tensor] = {}
        tensors = {
            name: converted.setdefault(tensor.data_ptr(), tensor.to(dtype))
            for name, tensor in tensors.items()
        }
    # Training needs the cache off; whoever loads the model to answer needs it on. The generation config of a new model was
    # derived from the model's, and took the setting along.
    generation = getattr(model, "generation_config", None)
    model.config.use_cache = True
    if generation is not None:
        generation.use_cache = True
    try:
        model.save_pretrained(folder, state_dict=tensors)
    finally:
        model.config.use_cache = False
    # save_pretrained writes the format of the model in memory, not that of the tensors it was given.
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"dtype": str(dtype or kept).removeprefix("torch.")})


def loaded_from(model: nn.Module) -> LoadedFrom:
    """Which folder the base below `model` came from."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    origin = base.loaded_from
    assert isinstance(origin, LoadedFrom), "adapters are trained over models that load_base loaded"
    return origin


def attach_adapter(
    base: PreTrainedModel | PeftModel, folder: Path, *, dtype: torch.dtype, name: str = DEFAULT_NAME
) -> PeftModel:
    """Put the adapter in `folder` over `base`, for inference: frozen, in `dtype`, in evaluation mode.

    `base` may have adapters of other names already: they share it, and `set_adapter` chooses among them.

    Raises ModelError adp-base if it was trained over another base, adp-targets, adp-weights or mdl-nan if it does not fit.
    """
    facts = check_adapter_folder(folder)
    origin = loaded_from(base)
    if facts.base_fingerprint is not None and facts.base_fingerprint != origin.fingerprint:
        raise ModelError(
            "adp-base",
            f"the adapter was trained over another base than {origin.folder}",
            where=str(folder),
            problems=[
                f"trained over {facts.base_name}: {facts.base_fingerprint[:16]}",
                f"given {origin.folder}: {origin.fingerprint[:16]}",
            ],
            why="Over other weights an adapter answers at random.",
            fix=f"Name the base it was trained over: model.name={facts.base_name}",
        )
    adapted = _build_layers(base, facts, folder, name)
    tensors = _read_tensors(facts)
    _refuse_foreign(adapted, tensors, folder, name)
    bad = [name for name, tensor in tensors.items() if not is_finite(tensor.to(dtype))]
    if bad:
        raise non_finite(folder, bad, f"; {dtype} may be too narrow for it" if dtype == torch.float16 else "")
    set_peft_model_state_dict(adapted, tensors, adapter_name=name)
    for parameter_name, parameter in adapted.named_parameters():
        parameter.requires_grad_(False)
        if "lora_" in parameter_name or "modules_to_save" in parameter_name:
            parameter.data = parameter.data.to(dtype)
    return adapted.eval()


def _read_tensors(facts: AdapterFacts) -> dict[str, torch.Tensor]:
    try:
        return load_file(facts.weights)
    except SafetensorError as fault:
        raise damaged(facts.weights, f"safetensors cannot read it: {fault}") from fault


def _build_layers(
    base: PreTrainedModel | PeftModel, facts: AdapterFacts, folder: Path, name: str
) -> PeftModel:
    config = LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **facts.settings)
    try:
        if isinstance(base, PeftModel):
            base.add_adapter(name, config)
            return base
        adapted = _wrap(base, config, name)
    except ValueError as fault:
        raise ModelError(
            "adp-targets",
            f"the adapter does not fit the base: {' '.join(str(fault).split())[:200]}",
            where=str(folder),
            fix=f"Name the base it was trained over: model.name={facts.base_name}",
        ) from fault
    return adapted


def _refuse_foreign(adapted: PeftModel, tensors: dict[str, torch.Tensor], folder: Path, name: str) -> None:
    """The file must hold exactly the tensors that the configuration describes; PEFT itself only warns."""
    wanted = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    problems = [f"missing: {name}" for name in sorted(wanted.keys() - tensors.keys())]
    problems += [f"not of this adapter: {name}" for name in sorted(tensors.keys() - wanted.keys())]
    problems += [
        f"{name}: the file has {list(tensors[name].shape)}, the configuration {list(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    if problems:
        raise ModelError(
            "adp-weights",
            f"the adapter's weights and its configuration disagree in {len(problems)} places",
            where=str(folder),
            problems=problems[:20],
            why="Loaded so, the model would answer partly or wholly as its base.",
            fix="Take the adapter again from where it was made.",
        )
