"""Train a tokenizer for a model that starts from nothing (`method: scratch`).

The tokenizer is Qwen2's in all but its merges: NFC, Qwen2's word-splitting regex, byte-level BPE. Transformers
rebuilds exactly these for a folder whose model_type is qwen2, whatever its tokenizer.json says, and llama.cpp
has them as the `qwen2` pre-tokenizer: any other choice would be silently replaced on loading. Knows nothing of
models or of files.
"""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from luthier.floor.errors import DataError

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)

BYTE_SYMBOLS = 256  # every byte has a symbol of its own, so no text is unknown

# ChatML, one turn a block; unlike Qwen2.5's it invents no system message that nobody wrote.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}\n"
)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer of exactly `vocab_size` tokens, the three special tokens included.

    The special tokens take the last ids, as on Qwen2. `<|endoftext|>` ends and pads; nothing begins a text.
    The same texts in the same order give the same tokenizer. Raises DataError (`tokenizer-train`) where
    `vocab_size` has no room for the bytes and special tokens, or where the texts repeat too few pairs of
    symbols to fill it.
    """
    wanted = vocab_size - len(SPECIAL_TOKENS)
    if wanted < BYTE_SYMBOLS:
        raise DataError(
            "tokenizer-train",
            f"a vocabulary of {vocab_size} tokens is too small",
            why=f"{BYTE_SYMBOLS} tokens stand for the bytes and {len(SPECIAL_TOKENS)} are special.",
            fix=f"Ask for at least {BYTE_SYMBOLS + len(SPECIAL_TOKENS)} tokens.",
        )
    bpe = untrained_bpe()
    bpe.train_from_iterator(texts, trainer=bpe_trainer(wanted))
    learned = bpe.get_vocab_size()
    if learned != wanted:
        reachable = learned + len(SPECIAL_TOKENS)
        raise DataError(
            "tokenizer-train",
            f"the texts give {reachable} tokens, and the vocabulary should have {vocab_size}",
            why="A merge is learned from a pair of symbols that occurs twice; the texts have no more of them.",
            fix=f"Give more text, or ask for at most {reachable} tokens.",
        )
    return as_qwen2(bpe)


def untrained_bpe() -> Tokenizer:
    """Qwen2's text pipeline around a BPE that has learned nothing yet."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    return bpe


def bpe_trainer(learned_tokens: int) -> trainers.BpeTrainer:
    """The trainer, with every byte in the alphabet whether the texts hold it or not."""
    return trainers.BpeTrainer(
        vocab_size=learned_tokens,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )


def as_qwen2(bpe: Tokenizer) -> Qwen2Tokenizer:
    """The trained BPE in the class that AutoTokenizer loads for model_type qwen2, template and all."""
    learned = json.loads(bpe.to_str())["model"]  # the one place where tokenizers gives the merges away
    # Transformers' hint says lines of text; its BPE wants pairs.
    merges: list[Any] = [(left, right) for left, right in learned["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=merges,
        extra_special_tokens=[TURN_START, TURN_END],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
