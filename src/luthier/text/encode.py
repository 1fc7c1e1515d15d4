"""Turn many texts into ids in one call of the Rust tokenizer, which uses every core and needs no Python a token."""

import re
from collections.abc import Sequence

from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    control_tokens: bool = False,
    offsets: bool = False,
) -> list[Encoding]:
    """Encode each text by itself, nothing put before or after it; character offsets are there only where asked for.

    With `control_tokens`, `<|im_end|>` and the like in a text become control tokens: only for texts that a template wrote.
    """
    backend = tokenizer.backend_tokenizer
    # A tokenizer.json may bring truncation and padding along, and other callers leave theirs behind.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = not control_tokens
    # Leaving the offsets out saves a fifth of the time (measured: 1.39 s instead of 1.71 s for 2.2 MB).
    encode = backend.encode_batch if offsets else backend.encode_batch_fast
    encoded: list[Encoding] = encode(list(texts), add_special_tokens=False)
    return encoded


def encode_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, control_tokens: bool = False
) -> list[list[int]]:
    """The ids of each text; a text that occurs twice is encoded once."""
    distinct = list(dict.fromkeys(texts))
    encoded = encode_texts(tokenizer, distinct, control_tokens=control_tokens)
    ids_of = {text: encoding.ids for text, encoding in zip(distinct, encoded, strict=True)}
    return [ids_of[text] for text in texts]


def control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """A pattern that finds the text of a control token."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(special, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
