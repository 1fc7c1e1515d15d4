"""Chat templates in the styles of four model families, each with a tokenizer that has its special tokens."""

from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["The river runs. assistant user system model", "What is it? It is  a word.\n\nYes, hello there."] * 3


@dataclass(frozen=True)
class Style:
    """A family's way to write conversations."""

    special: tuple[str, ...]
    bos: str | None
    eos: str
    template: str
    end: str
    """The token that ends an assistant's turn."""
    is_metaspace: bool = False


CHATML = Style(
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    bos=None,
    eos="<|endoftext|>",
    template=(
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    end="<|im_end|>",
)
LLAMA_3 = Style(
    special=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ),
    bos="<|begin_of_text|>",
    eos="<|end_of_text|>",
    template=(
        "{{- bos_token }}\n"
        "{%- for message in messages %}\n"
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}\n"
    ),
    end="<|eot_id|>",
)
GEMMA = Style(
    special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    template=(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    end="<end_of_turn>",
)
MISTRAL = Style(
    special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
    bos="<s>",
    eos="</s>",
    template=(
        "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
        "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\n\n' %}"
        "{% elif message['role'] == 'user' %}{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}"
        "{% set ns.system = '' %}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
    end="</s>",
    is_metaspace=True,
)
STYLES = {"chatml": CHATML, "llama_3": LLAMA_3, "gemma": GEMMA, "mistral": MISTRAL}

# Qwen3's trait: an answer that is not the last loses what stands before </think>.
FORGETFUL = Style(
    special=CHATML.special,
    bos=None,
    eos=CHATML.eos,
    template=(
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ message['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    end="<|im_end|>",
)


def make_tokenizer(style: Style, template: str | None = "own") -> PreTrainedTokenizerFast:
    """A small tokenizer of a style; `template` replaces the style's own."""
    backend = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    if style.is_metaspace:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
        alphabet = sorted(set("".join(chr(code) for code in range(32, 127)) + "\u2581\n"))
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 60, initial_alphabet=alphabet, show_progress=False, limit_alphabet=1000
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in style.special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=style.eos,
        bos_token=style.bos,
        chat_template=style.template if template == "own" else template,
    )
