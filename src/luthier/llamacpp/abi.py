"""The C interface of llama.cpp that Luthier calls, for the one version whose layout is written down here.

After `include/llama.h` of llama.cpp 0.5.0. C tells nobody how its structs lie in memory: a library of another version would read
our numbers at wrong places and answer nonsense. So the version must be this one, and the defaults that the library fills in must
read back as its source has them, before anything else is called.
"""

import ctypes
from ctypes import c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any

VERSION = "0.5.0"
SUFFIXES = ("", "-dev")
"""What builds of the version put behind its number."""
TYPE_COUNT = 43
"""GGML_TYPE_COUNT of the version: the value that stands for `choose yourself` in quantization."""
FLASH_ATTENTION_OFF = 0
F32_CACHE = 0
"""GGML_TYPE_F32 for keys and values: what is compared is the file, not the cache's rounding."""

LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)


class ModelParams(ctypes.Structure):
    """struct llama_model_params"""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(ctypes.Structure):
    """struct llama_context_params"""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class ImportanceEntry(ctypes.Structure):
    """struct llama_model_imatrix_data"""

    _fields_ = (("name", c_char_p), ("data", ctypes.POINTER(c_float)), ("size", c_size_t))


class QuantizeParams(ctypes.Structure):
    """struct llama_model_quantize_params"""

    _fields_ = (
        ("nthread", c_int32),
        ("ftype", c_int32),
        ("output_tensor_type", c_int32),
        ("token_embedding_type", c_int32),
        ("allow_requantize", c_bool),
        ("quantize_output_tensor", c_bool),
        ("only_copy", c_bool),
        ("pure", c_bool),
        ("keep_split", c_bool),
        ("dry_run", c_bool),
        ("imatrix", ctypes.POINTER(ImportanceEntry)),
        ("kv_overrides", c_void_p),
        ("tt_overrides", c_void_p),
        ("prune_layers", c_void_p),
        ("max_buf_size", c_size_t),
    )


class Batch(ctypes.Structure):
    """struct llama_batch"""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", ctypes.POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", ctypes.POINTER(c_int32)),
        ("n_seq_id", ctypes.POINTER(c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(c_int32))),
        ("logits", ctypes.POINTER(c_int8)),
    )


# Result and arguments of every function that is called.
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_version": (c_char_p, ()),
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LogCallback, c_void_p)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_quantize_default_params": (QuantizeParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, c_size_t)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, ctypes.POINTER(c_int32), c_int32, c_bool, c_bool),
    ),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (ctypes.POINTER(c_float), (c_void_p, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_set_adapters_lora": (
        c_int32,
        (c_void_p, ctypes.POINTER(c_void_p), c_size_t, ctypes.POINTER(c_float)),
    ),
    "llama_model_quantize": (c_uint32, (c_char_p, c_char_p, ctypes.POINTER(QuantizeParams))),
}

# Sizes on a 64-bit machine, and defaults of the version's source that lie at the beginning, in the middle and at the end.
LAYOUT: dict[str, tuple[type[ctypes.Structure], int, dict[str, Any]]] = {
    "llama_model_default_params": (
        ModelParams,
        80,
        {
            "n_gpu_layers": -1,
            "split_mode": 1,
            "load_mode": -1,
            "lazy_mode": 1,
            "main_gpu": 0,
            "check_tensors": False,
            "use_extra_bufts": True,
            "no_host": False,
            "load_mtp": False,
        },
    ),
    "llama_context_default_params": (
        ContextParams,
        160,
        {
            "n_ctx": 512,
            "n_batch": 2048,
            "n_ubatch": 512,
            "n_seq_max": 1,
            "n_outputs_max": 0,
            "n_outputs_max_per_seq": 1,
            "rope_scaling_type": -1,
            "flash_attn_type": -1,
            "yarn_ext_factor": -1.0,
            "defrag_thold": -1.0,
            "type_k": 1,
            "type_v": 1,
            "embeddings": False,
            "offload_kqv": True,
            "no_perf": True,
            "swa_full": True,
            "kv_unified": False,
            "n_samplers": 0,
        },
    ),
    "llama_model_quantize_default_params": (
        QuantizeParams,
        64,
        {
            "nthread": 0,
            "ftype": 7,
            "output_tensor_type": TYPE_COUNT,
            "token_embedding_type": TYPE_COUNT,
            "allow_requantize": False,
            "quantize_output_tensor": True,
            "pure": False,
            "dry_run": False,
            "max_buf_size": 8 * 2**30,
        },
    ),
}
