"""Tokenizers of every kind that Luthier writes, trained on the hard texts: rules as published models have them, vocabularies of our own."""

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from luthier.export.gguf.hard_texts import TEXTS
from luthier.knowledge.pretokenizers import DIGITS, GPT2, PRE_TOKENIZERS, PreTokenizer

SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
CORPUS = [text for text in TEXTS for _ in range(3)]
VOCABULARY = 700
BLANK = "▁"


def byte_level(rule: PreTokenizer, *, nfc: bool = False, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that cuts by `rule`."""
    backend = Tokenizer(models.BPE(ignore_merges=rule.ignores_merges))
    backend.normalizer = normalizers.NFC() if nfc else None
    steps = {
        DIGITS: pre_tokenizers.Digits(individual_digits=True),
        GPT2: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    }
    chosen = [
        steps.get(step) or pre_tokenizers.Split(Regex(step), behavior="isolated") for step in rule.steps
    ]
    last = [] if GPT2 in rule.steps else [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*chosen, *last])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return _finish(backend, bos=bos)


def character_level(*, prepends: bool, bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer as those converted from SentencePiece: Llama 2's rules, or Gemma's, which puts no blank before a text."""
    pieces = ["<unk>", *SPECIAL[:2], *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=pieces, show_progress=False, max_token_length=12
    )
    trained.train_from_iterator(CORPUS, trainer)
    backend = Tokenizer.from_str(trained.to_str())
    backend.pre_tokenizer = None
    blanks = normalizers.Replace(" ", BLANK)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), blanks]) if prepends else blanks
    steps = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prepends else steps)
    return _finish(backend, bos=bos, unk="<unk>")


def _finish(backend: Tokenizer, *, bos: bool, unk: str | None = None) -> PreTrainedTokenizerFast:
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    backend.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token=unk,
        clean_up_tokenization_spaces=False,
    )


KINDS = {
    **{rule.name: lambda rule=rule: byte_level(rule) for rule in PRE_TOKENIZERS},
    "qwen2 with NFC": lambda: byte_level(PRE_TOKENIZERS[0], nfc=True),
    "llama-bpe with BOS": lambda: byte_level(PRE_TOKENIZERS[2], bos=True),
    "characters, blank first": lambda: character_level(prepends=True),
    "characters": lambda: character_level(prepends=False),
}
