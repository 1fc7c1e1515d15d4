"""Put a model on the machine: a base from its folder, a trained one from its run, or a new one from a configuration.

Nothing is ever initialised at random in silence: a tensor that is missing, left over, of another shape or not finite ends the load.
Frozen weights live in the format of the computation; the caller asks for fp32 where weights are trained.
"""

import logging as stdlib_logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)
from transformers.utils import logging

from luthier.config.method import QloraMethod, ScratchMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.floor.units import format_bytes
from luthier.knowledge.adapter_folder import is_adapter
from luthier.knowledge.model_folder import ModelFacts, check_model_folder, find_model
from luthier.knowledge.safetensors_header import damaged
from luthier.modelling.architecture import read_architecture
from luthier.modelling.attention import register_attention

# The architectures of `method.kind: scratch`, by model.model_type.
SCRATCH_CONFIGS: dict[str, Callable[..., PreTrainedConfig]] = {"qwen2": Qwen2Config, "llama": LlamaConfig}


@dataclass(frozen=True)
class LoadedFrom:
    """Which folder a model was loaded from; kept on the model as `loaded_from`, so that an adapter can name its base."""

    folder: Path
    fingerprint: str


def base_config(recipe: Recipe) -> dict[str, Any] | None:
    """The base's config.json, before anything is loaded; a new model has none yet."""
    if isinstance(recipe.method, ScratchMethod):
        return None
    assert recipe.model.name is not None, "the recipe refuses a missing model.name"
    return check_model_folder(find_model(recipe.model.name, recipe.model.revision)).config


def load_base(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    attention: str,
    quantization: QloraMethod | None = None,
) -> PreTrainedModel:
    """The model in `folder`, every tensor of it from there, in `dtype` on `device`, in evaluation mode with the cache off.

    With `quantization` the linear layers but the head become 4-bit or 8-bit codes that compute in `dtype`.
    Raises ModelError for a folder that cannot be used, EnvironmentFault if memory or bitsandbytes is missing.
    """
    facts = check_model_folder(folder)
    register_attention()
    with quiet_transformers():
        config = read_architecture(folder, facts)
    settings: dict[str, Any] = {"device_map": {"": device}} if device.type == "cuda" or quantization else {}
    if quantization is not None:
        require_bitsandbytes()
        refuse_non_finite_file(facts)
        settings["quantization_config"] = _quantization_config(quantization, dtype)
    with quiet_transformers(), _memory_faults(folder, device):
        # Any: its stub knows nothing of the second result.
        from_pretrained: Any = AutoModelForCausalLM.from_pretrained
        model, info = from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **settings,
        )
    _refuse_gaps(folder, info)
    _refuse_contradicting_tie(folder, model)
    if quantization is None:
        refuse_non_finite(model, folder, dtype)
    elif dtype != torch.bfloat16:
        _keep_precision_on_cpu(model)
    model.config.use_cache = False
    model.loaded_from = LoadedFrom(folder, facts.fingerprint)
    loaded: PreTrainedModel = model.eval()
    return loaded


def load_trained(
    model_folder: Path,
    *,
    base_folder: Path | None,
    dtype: torch.dtype,
    device: torch.device,
    attention: str,
    quantization: QloraMethod | None = None,
) -> Any:
    """What a run trained, ready to answer: a PeftModel (the adapter over its base), or a whole PreTrainedModel.

    Raises ModelError adp-base if the adapter belongs to another base, and what `load_base` and `attach_adapter` raise.
    """
    from luthier.modelling.adapters import attach_adapter

    if not is_adapter(model_folder):
        if not (model_folder / "config.json").is_file():
            raise ModelError(
                "adp-missing",
                f"there is neither an adapter nor a model in {model_folder}",
                where=str(model_folder),
                fix="See which runs are finished: luthier runs",
            )
        return load_base(
            model_folder, dtype=dtype, device=device, attention=attention, quantization=quantization
        )
    if base_folder is None:
        raise ModelError(
            "adp-base",
            f"{model_folder} holds an adapter, and no base model was named for it",
            where=str(model_folder),
            fix="Name the base in the recipe: model.name=FOLDER",
        )
    base = load_base(base_folder, dtype=dtype, device=device, attention=attention, quantization=quantization)
    return attach_adapter(base, model_folder, dtype=dtype)


def build_scratch(
    method: ScratchMethod,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device,
    attention: str,
    seed: int,
) -> PreTrainedModel:
    """A new model, fp32, whose weights depend on `seed` alone; its vocabulary is the tokenizer's."""
    register_attention()
    config = SCRATCH_CONFIGS[method.model_type](
        hidden_size=method.hidden_size,
        intermediate_size=method.intermediate_size,
        num_hidden_layers=method.layers,
        num_attention_heads=method.heads,
        num_key_value_heads=method.kv_heads,
        vocab_size=len(tokenizer),
        max_position_embeddings=method.context_tokens,
        tie_word_embeddings=method.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
    )
    # On the CPU whatever the device, so that the same seed gives the same weights everywhere.
    with torch.random.fork_rng(devices=[]), _memory_faults(Path("method"), torch.device("cpu")):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(
            config, attn_implementation=attention, dtype=torch.float32
        )
    on_device: PreTrainedModel = model.to(device)
    return on_device


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep Transformers' bars and tables off the terminal: stages never print, and what matters is raised instead."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def _quantization_config(method: QloraMethod, dtype: torch.dtype) -> BitsAndBytesConfig:
    if method.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=method.double_quantization,
        bnb_4bit_compute_dtype=dtype,
    )


def require_bitsandbytes() -> None:
    """Raise EnvironmentFault (env-extra) if the library that quantizes is not installed."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "method.kind = qlora needs bitsandbytes, which is not installed",
            where="method.kind",
            fix='Install it: pip install "luthier[qlora]"; or train without quantization: method.kind=lora',
        ) from fault
    # LLM.int8 says at every layer of every step that it quantizes activations from fp16: known, and meant.
    stdlib_logging.getLogger("bitsandbytes.autograd._functions").setLevel(stdlib_logging.ERROR)


def _keep_precision_on_cpu(model: nn.Module) -> None:
    """Have 4-bit layers answer in the format they trained in: on CPUs with AVX512-BF16 bitsandbytes evaluates in bf16 otherwise."""
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            linear: Any = module
            linear.support_avx512bf16_for_cpu = False


@contextmanager
def _memory_faults(folder: Path, device: torch.device) -> Iterator[None]:
    """Turn a failed allocation into EnvironmentFault; torch reports one on a CPU as a plain RuntimeError."""
    try:
        yield
    except SafetensorError as fault:
        raise damaged(folder, f"safetensors cannot read it: {fault}") from fault
    except (MemoryError, RuntimeError) as fault:
        if isinstance(fault, RuntimeError) and not _is_out_of_memory(fault):
            raise
        raise EnvironmentFault(
            "env-memory",
            f"the model does not fit into the memory of {device}",
            where=str(folder),
            why=" ".join(str(fault).split())[:200],
            fix="Keep the base in 4 bits: method.kind=qlora; or take a smaller model.",
        ) from fault


def _is_out_of_memory(fault: RuntimeError) -> bool:
    return isinstance(fault, torch.OutOfMemoryError) or "can't allocate memory" in str(fault)


def _refuse_gaps(folder: Path, info: dict[str, Any]) -> None:
    """Every tensor of the model must come from the folder, and every tensor of the folder go into the model."""
    problems = [f"missing: {name}" for name in sorted(info["missing_keys"])]
    problems += [f"not of this model: {name}" for name in sorted(info["unexpected_keys"])]
    problems += [
        f"{name}: the file has {list(found)}, the configuration {list(wanted)}"
        for name, found, wanted in sorted(info["mismatched_keys"], key=lambda entry: str(entry[0]))
    ]
    problems += [" ".join(str(message).split())[:200] for message in info["error_msgs"]]
    if problems:
        raise ModelError(
            "mdl-weights",
            f"weights and configuration disagree in {len(problems)} places",
            where=str(folder),
            problems=problems[:20],
            why="Loaded so, parts of the model would be random or ignored.",
            fix="Fetch configuration and weights together from where the model was published.",
        )


def _refuse_contradicting_tie(folder: Path, model: PreTrainedModel) -> None:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or not getattr(model.config, "tie_word_embeddings", False):
        return
    if head.weight is not embedding.weight:
        raise ModelError(
            "mdl-weights",
            "tie_word_embeddings = true, but the weights hold a head that differs from the embedding",
            where=str(folder / "config.json"),
            why="Which of the two the model was trained with cannot be told.",
            fix="If the head is right, set tie_word_embeddings to false in config.json.",
        )


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no number of the tensor is NaN or infinite; one pass, no copy."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def refuse_non_finite(model: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Raise ModelError mdl-nan if a weight is NaN or infinite: outputs may hide it, training never recovers."""
    bad = [name for name, tensor in model.named_parameters() if not is_finite(tensor)]
    if bad:
        raise non_finite(folder, bad, f"; {dtype} may be too narrow for it" if dtype == torch.float16 else "")


def refuse_non_finite_file(facts: ModelFacts) -> None:
    """The same for weights that will be quantized, where codes would hide it."""
    bad = []
    for path in facts.weight_files:
        with safe_open(path, framework="pt") as tensors:
            bad += [name for name in tensors.keys() if not is_finite(tensors.get_tensor(name))]  # noqa: SIM118
    if bad:
        raise non_finite(facts.weight_files[0].parent, bad)


def non_finite(folder: Path, names: list[str], hint: str = "") -> ModelError:
    """The error for weights that are NaN or infinite."""
    return ModelError(
        "mdl-nan",
        f"{len(names)} tensors hold NaN or infinity, the first is {names[0]}{hint}",
        where=str(folder),
        problems=names[:20],
        fix="Take the weights again from where they were made.",
    )


def describe_size(model: nn.Module) -> str:
    """`4.1 GiB`: what the model's weights occupy."""
    return format_bytes(sum(tensor.numel() * tensor.element_size() for tensor in model.parameters()))
