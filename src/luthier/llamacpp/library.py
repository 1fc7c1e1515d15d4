"""llama.cpp in this process: load its library, load a GGUF file, turn text into ids, ids into logits, files into smaller ones.

A GGUF file is a stranger's input and llama.cpp aborts on some damaged ones, so Luthier calls this from a process of its own
(worker.py) wherever the file is not one that it has just checked. Knows paths, texts and ids; nothing of runs or recipes.

Axes: T positions, V vocabulary.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.llamacpp import abi
from luthier.llamacpp.batch import make_batch

Logits = npt.NDArray[np.float32]

WARNING_LEVEL, CONTINUED_LEVEL = 3, 5  # enum ggml_log_level
BATCH_TOKENS = 512
CACHE_STEP = 256  # llama.cpp pads the context to it (llama-context.cpp), and would take it from the rows
QUANTIZE_BUFFER_BYTES = 2**30
REFUSED = "llama.cpp does not load the file"


class Library:
    """The functions of one libllama, checked against the layout that is written down in abi.py."""

    def __init__(self, path: Path) -> None:
        """Load `path` and the ggml libraries beside it. Raises EnvironmentFault (env-extra) if it is another version or broken."""
        try:
            for companion in _companions(path):
                ctypes.CDLL(str(companion), mode=ctypes.RTLD_GLOBAL)
            self.c: Any = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            for name, (result, arguments) in abi.FUNCTIONS.items():
                function = getattr(self.c, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as fault:
            raise _other_library(path, str(fault)) from fault
        self._check(path)
        self.c.llama_log_set(_LOG_CALLBACK, None)
        _load_backends(path)
        self.c.llama_backend_init()

    def _check(self, path: Path) -> None:
        version = self.c.llama_version().decode()
        if version not in [abi.VERSION + suffix for suffix in abi.SUFFIXES]:
            raise _other_library(path, f"it is version {version[:40]}")
        for name, (layout, layout_bytes, defaults) in abi.LAYOUT.items():
            assert ctypes.sizeof(layout) == layout_bytes, f"{layout.__name__} of another size than in C"
            found = getattr(self.c, name)()
            wrong = [field for field, value in defaults.items() if getattr(found, field) != value]
            if wrong:
                raise _other_library(path, f"{name} does not say what version {abi.VERSION} says: {wrong[0]}")

    def quantize(
        self,
        source: Path,
        target: Path,
        *,
        file_type: int,
        threads: int,
        importance: dict[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        """Write `source` in another type (a number of enum llama_ftype) to `target`; `importance` weighs the columns of tensors.

        Raises ModelError gguf-load if llama.cpp refuses.
        """
        params = self.c.llama_model_quantize_default_params()
        params.nthread, params.ftype, params.max_buf_size = threads, file_type, QUANTIZE_BUFFER_BYTES
        entries = _importance_entries(importance or {})
        if importance:
            params.imatrix = entries
        if self.c.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
            raise ModelError("gguf-load", f"llama.cpp did not quantize {source.name}", where=str(source))


def _importance_entries(importance: dict[str, npt.NDArray[np.float32]]) -> Any:
    entries = (abi.ImportanceEntry * (len(importance) + 1))()  # the last one, empty, ends the list
    for entry, (name, weights) in zip(entries, importance.items(), strict=False):
        entry.name = name.encode()
        assert weights.dtype == np.float32 and weights.flags.c_contiguous, "C reads the caller's own array"
        entry.data = weights.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = weights.size
    return entries


class LoadedModel:
    """A GGUF file in memory; `open_model` makes one."""

    def __init__(
        self, library: Library, path: Path, *, vocabulary_only: bool = False, is_for_speed: bool = False
    ) -> None:
        """`is_for_speed` lets llama.cpp lay weights out anew and round its cache, by which it computes a little otherwise."""
        self._is_for_speed = is_for_speed
        self.library, self.path, self._c = library, path, library.c
        params = self._c.llama_model_default_params()
        params.vocab_only = vocabulary_only
        params.n_gpu_layers = 0
        params.check_tensors = not vocabulary_only
        params.use_extra_bufts = is_for_speed  # what is measured is the file, as it lies there
        self._model = self._c.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise ModelError("gguf-load", REFUSED, where=str(path))
        self._vocabulary = self._c.llama_model_get_vocab(self._model)
        self._context: int | None = None

    @property
    def vocabulary_tokens(self) -> int:
        """V: how many tokens the file knows."""
        return int(self._c.llama_vocab_n_tokens(self._vocabulary))

    @property
    def context_tokens(self) -> int:
        """Tokens that the model was trained to look at."""
        return int(self._c.llama_model_n_ctx_train(self._model))

    @property
    def file_type(self) -> int | None:
        """The number in enum llama_ftype that the file gives itself, or None."""
        text = ctypes.create_string_buffer(32)
        if self._c.llama_model_meta_val_str(self._model, b"general.file_type", text, len(text)) < 0:
            return None
        return int(text.value) if text.value.isdigit() else None

    @property
    def chat_template(self) -> str | None:
        """The template of conversations that the file brings; bytes in it that are no UTF-8 are marked."""
        found = self._c.llama_model_chat_template(self._model, None)
        return found.decode(errors="replace") if found else None

    @property
    def begin(self) -> list[int]:
        """What is put before every prompt: a BOS, if the file asks for one."""
        bos = int(self._c.llama_vocab_bos(self._vocabulary))
        return [bos] if self._c.llama_vocab_get_add_bos(self._vocabulary) and bos >= 0 else []

    def tokenize(self, text: str, *, add_special: bool = False) -> list[int]:
        """The ids of `text`, special tokens in it recognised; with `add_special` as a prompt begins (a BOS, if the file says so)."""
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._c.llama_tokenize(self._vocabulary, data, len(data), ids, room, add_special, True)
        if count < 0:
            raise ModelError(
                "gguf-load", f"llama.cpp gives {-count} tokens for {len(data)} bytes", where=str(self.path)
            )
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for, special tokens by their name."""
        buffer = ctypes.create_string_buffer(256)
        count = self._c.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, True)
        if count < 0:
            buffer = ctypes.create_string_buffer(-count)
            count = self._c.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, True)
        return buffer.raw[:count]

    @property
    def end_of_text(self) -> int:
        """The id of the end-of-text token, -1 if the file names none."""
        return int(self._c.llama_vocab_eos(self._vocabulary))

    def is_end(self, token: int) -> bool:
        """Whether generation ends at this token."""
        return bool(self._c.llama_vocab_is_eog(self._vocabulary, token))

    def start(self, *, context_tokens: int, threads: int, rows: int = 1) -> None:
        """Make room for `rows` rows of `context_tokens` tokens. Unless it is for speed, keys and values stay in F32 and attention is the plain one."""
        params = self._c.llama_context_default_params()
        if rows > 1:
            context_tokens = -(-context_tokens // CACHE_STEP) * CACHE_STEP
        params.n_ctx, params.n_seq_max = context_tokens * rows, rows
        params.n_batch = params.n_ubatch = min(BATCH_TOKENS, context_tokens * rows)
        params.n_outputs_max = params.n_outputs_max_per_seq = params.n_batch
        params.n_threads = params.n_threads_batch = threads
        if not self._is_for_speed:
            params.flash_attn_type = abi.FLASH_ATTENTION_OFF
            params.type_k = params.type_v = abi.F32_CACHE
        self.stop()
        self._context = self._c.llama_init_from_model(self._model, params)
        if not self._context:
            raise EnvironmentFault(
                "env-memory",
                f"llama.cpp has no memory for {rows:,} times a context of {context_tokens:,} tokens",
                where=str(self.path),
            )

    def use_adapter(self, path: Path, *, scale: float = 1.0) -> None:
        """Put a LoRA adapter over the model. Raises ModelError gguf-load if llama.cpp refuses it."""
        assert self._context is not None, "start() comes first"
        adapter = self._c.llama_adapter_lora_init(self._model, str(path).encode())
        if not adapter:
            raise ModelError("gguf-load", "llama.cpp does not load the adapter", where=str(path))
        adapters, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(scale)
        if self._c.llama_set_adapters_lora(self._context, adapters, 1, scales) != 0:
            raise ModelError("gguf-load", "llama.cpp does not apply the adapter", where=str(path))

    def logits(self, ids: Sequence[int], positions: Sequence[int]) -> Iterator[Logits]:
        """[V] the logits after each of `positions` of the row `ids`, in order; what was computed before is forgotten."""
        self.forget()
        wanted = set(positions)
        for start in range(0, len(ids), BATCH_TOKENS):
            piece = ids[start : start + BATCH_TOKENS]
            places = [start + place for place in range(len(piece)) if start + place in wanted]
            self._decode(piece, start, outputs=places)
            for place in places:
                yield self.logits_at(place - start)

    def continue_greedily(
        self, prompt: Sequence[int], *, new_tokens: int, stop_ids: Sequence[int]
    ) -> list[int]:
        """The likeliest continuation of `prompt`, up to `new_tokens`; a token of `stop_ids` ends it and is left out."""
        self.forget()
        for start in range(0, len(prompt), BATCH_TOKENS):
            piece = prompt[start : start + BATCH_TOKENS]
            self._decode(piece, start, outputs=[start + len(piece) - 1])
        answer: list[int] = []
        last = (len(prompt) - 1) % BATCH_TOKENS
        while True:
            token = int(self.logits_at(last).argmax())
            if token in stop_ids or len(answer) == new_tokens:
                return answer
            answer.append(token)
            place = len(prompt) + len(answer) - 1
            self._decode([token], place, outputs=[place])
            last = 0

    def forget(self) -> None:
        """Empty the cache of keys and values."""
        assert self._context is not None, "start() comes first"
        self._c.llama_memory_clear(self._c.llama_get_memory(self._context), True)

    def stop(self) -> None:
        """Give back what `start` took."""
        if self._context is not None:
            self._c.llama_free(self._context)
            self._context = None

    def close(self) -> None:
        """Give everything back."""
        self.stop()
        if self._model:
            self._c.llama_model_free(self._model)
            self._model = None

    def decode(
        self, ids: Sequence[int], positions: Sequence[int], rows: Sequence[int], wanted: Sequence[bool]
    ) -> None:
        """Compute tokens at their positions of their rows; `logits_at` has those that are `wanted`, by their place among `ids`.

        Raises ModelError gguf-load if llama.cpp does not.
        """
        status = self._c.llama_decode(self._context, make_batch(ids, positions, rows, wanted))
        if status != 0:
            raise ModelError(
                "gguf-load", f"llama.cpp does not compute the file (status {status})", where=str(self.path)
            )

    def forget_row(self, row: int) -> None:
        """Empty one row's part of the cache."""
        self._c.llama_memory_seq_rm(self._c.llama_get_memory(self._context), row, -1, -1)

    def logits_at(self, place: int) -> Logits:
        """[V] the logits of a token of the last batch."""
        pointer = self._c.llama_get_logits_ith(self._context, place)
        if not pointer:
            raise ModelError("gguf-load", "llama.cpp gives no logits", where=str(self.path))
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary_tokens,)).copy()

    def _decode(self, ids: Sequence[int], start: int, *, outputs: Sequence[int]) -> None:
        places, wanted = range(start, start + len(ids)), set(outputs)
        self.decode(ids, places, [0] * len(ids), [place in wanted for place in places])


@contextmanager
def open_model(library: Library, path: Path, *, vocabulary_only: bool = False) -> Iterator[LoadedModel]:
    """A GGUF file, loaded for the block. Raises ModelError gguf-load if llama.cpp refuses it."""
    model = LoadedModel(library, path, vocabulary_only=vocabulary_only)
    try:
        yield model
    finally:
        model.close()


def _companions(path: Path) -> list[Path]:
    """The ggml libraries that libllama needs, in the order in which they need each other."""
    names = ("libggml-base*.so", "libggml[.]*so") if list(path.parent.glob("libggml-base*.so")) else ()
    return [found for name in names for found in sorted(path.parent.glob(name))]


def _load_backends(path: Path) -> None:
    """Let ggml choose the code for this machine's processor among the libraries beside it."""
    for companion in _companions(path):
        load = getattr(ctypes.CDLL(str(companion)), "ggml_backend_load_all_from_path", None)
        if load is not None:
            load.restype, load.argtypes = None, (ctypes.c_char_p,)
            load(str(path.parent).encode())


def _log(level: int, text: bytes, _: object) -> None:
    """llama.cpp's warnings and errors go to standard error, which the parent keeps; the rest is left out."""
    if level >= WARNING_LEVEL and level != CONTINUED_LEVEL:
        sys.stderr.write(text.decode(errors="replace"))
        sys.stderr.flush()


# One for as long as the process lives: C keeps the address of the last one that was set, whichever object set it.
_LOG_CALLBACK = abi.LogCallback(_log)


def _other_library(path: Path, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        "env-extra",
        f"{path.name} is not the llama.cpp that Luthier knows: {what}",
        where=str(path),
        why=f"Luthier calls llama.cpp {abi.VERSION}; the structs of another version lie otherwise in memory.",
        fix="Fetch the one that fits: luthier env make gguf",
    )
