"""Tiny models for tests, made in memory in well under a second: two layers, a byte-level tokenizer of 300 tokens.

The tokenizer follows the rules that Transformers imposes on Qwen2 folders (NFC, the Qwen2 pre-tokenizer regex, a byte-level
BPE), so a folder reads back with the very ids it was saved with. Llama folders carry the same tokenizer.
"""

from pathlib import Path
from typing import Literal

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_utils import PreTrainedModel

Family = Literal["qwen2", "llama"]

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_WITH_GENERATION = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}\n"
    "{% else %}{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Transformers rebuilds exactly this for model_type qwen2 and ignores what tokenizer.json says.
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SAMPLE_TEXTS = (
    "The restaurant near the river serves cheap Italian food and has a high customer rating.",
    "name: The Mill | food: English | area: riverside | price: moderate",
    "What is the capital of France? The capital of France is Paris.",
)


def make_tiny_tokenizer(
    vocabulary_size: int = 300,
    *,
    chat_template: str | None = CHATML,
    eos: str | None = END_OF_TEXT,
    bos: str | None = None,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: 256 bytes, a few merges, then the three special tokens. Takes no time; the same every time."""
    special = [END_OF_TEXT, TURN_START, TURN_END]
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE_TEXTS * 3, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=eos,
        pad_token=END_OF_TEXT,
        bos_token=bos,
        chat_template=chat_template,
    )


def make_tiny(
    family: Family = "qwen2",
    *,
    hidden_size: int = 64,
    layers: int = 2,
    vocabulary_size: int = 300,
    tie_embeddings: bool = True,
    seed: int = 0,
    weight_scale: float = 4.0,
) -> PreTrainedModel:
    """A random model in memory, fp32, in evaluation mode.

    `weight_scale` multiplies every matrix: with the usual initialisation the logits are so flat that attention hardly matters.
    """
    shape = {
        "hidden_size": hidden_size,
        "intermediate_size": hidden_size * 2,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary_size,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tie_embeddings,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel
        if family == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**shape))
        else:
            model = LlamaForCausalLM(LlamaConfig(**shape))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2:
                    parameter.mul_(weight_scale)
                elif name.endswith("bias"):
                    parameter.normal_(std=0.1)
    return model.eval()


def make_tiny_model(
    folder: Path,
    family: Family = "qwen2",
    *,
    hidden_size: int = 64,
    layers: int = 2,
    vocabulary_size: int = 300,
    tie_embeddings: bool = True,
    chat_template: str | None = CHATML,
    eos: str | None = END_OF_TEXT,
    bos: str | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a tiny model with its tokenizer to `folder`, as a downloaded base would lie there, and return the folder."""
    tokenizer = make_tiny_tokenizer(vocabulary_size, chat_template=chat_template, eos=eos, bos=bos)
    model = make_tiny(
        family,
        hidden_size=hidden_size,
        layers=layers,
        vocabulary_size=vocabulary_size,
        tie_embeddings=tie_embeddings,
        seed=seed,
    )
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
