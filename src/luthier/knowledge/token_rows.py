"""Whether the rows of a chat's control tokens were trained, read from the weights without loading them.

A token that no text holds is only ever pushed away from what is right, as all such tokens are, and so their rows come to lie alike
(Land and Bartolo 2024, "Fishing for Magikarp", find under-trained tokens by that). Two control tokens of a chat that lie nearly in one
direction were not told apart by training.
"""

import json
from pathlib import Path

import numpy as np

from luthier.floor.errors import ModelError
from luthier.knowledge.model_folder import find_weight_files
from luthier.knowledge.safetensors_header import read_header

# What begins and ends a turn, in the families that mark turns by tokens of their own.
PAIRS = (
    ("<|im_start|>", "<|im_end|>"),
    ("<|start_header_id|>", "<|eot_id|>"),
    ("<start_of_turn>", "<end_of_turn>"),
    ("<|assistant|>", "<|end|>"),
    ("<|user|>", "<|assistant|>"),
)
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
ALIKE = 0.9
MOST_TOKENIZER_BYTES = 256 * 2**20
Floats = np.ndarray


def control_token_rows_are_trained(folder: Path) -> tuple[bool, str] | None:
    """Whether begin and end of a turn have rows of their own, and how that was told; None where there are no such tokens or weights."""
    ids = _ids_of_pair(folder)
    if ids is None:
        return None
    (first, second), (begin, end) = ids
    rows = _rows(folder, [begin, end])
    if rows is None:
        return None
    norms = np.linalg.norm(rows, axis=1)
    if not norms.all():
        return False, f"the rows of {first} and {second} are zero: no text of the training held them"
    cosine = float(rows[0] @ rows[1] / (norms[0] * norms[1]))
    if cosine >= ALIKE:
        return False, f"the rows of {first} and {second} are alike (cosine {cosine:.2f}): no text of the training held them"  # fmt: skip
    return True, f"the rows of {first} and {second} differ (cosine {cosine:.2f}): they were trained"


def _ids_of_pair(folder: Path) -> tuple[tuple[str, str], tuple[int, int]] | None:
    path = folder / "tokenizer.json"
    try:
        if path.stat().st_size > MOST_TOKENIZER_BYTES:
            return None
        added = json.loads(path.read_bytes())["added_tokens"]
        ids = {str(token["content"]): int(token["id"]) for token in added}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return next((((a, b), (ids[a], ids[b])) for a, b in PAIRS if a in ids and b in ids), None)


def _rows(folder: Path, ids: list[int]) -> Floats | None:
    """Rows of the input embedding, in fp32; None where the weights are not here or in another format."""
    try:
        files = find_weight_files(folder)
    except ModelError:
        return None
    for file in files:
        header_bytes = 8 + int.from_bytes(_head(file), "little")
        for tensor in read_header(file):
            if not tensor.name.endswith(EMBEDDINGS) or len(tensor.shape) != 2:
                continue
            size = {"F32": 4, "BF16": 2, "F16": 2}.get(tensor.format)
            if size is None or max(ids) >= tensor.shape[0]:
                return None
            width = tensor.shape[1] * size
            with file.open("rb") as opened:
                found = []
                for id in ids:
                    opened.seek(header_bytes + tensor.start + id * width)
                    found.append(_as_floats(opened.read(width), tensor.format))
            return np.stack(found)
    return None


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(8)


def _as_floats(raw: bytes, format: str) -> Floats:
    if format == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if format == "F32" else "<f2").astype(np.float32)
