"""Chat templates in the styles of more families, beside those of tests/text: each written for these tests, with its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

from luthier.export.ollama.dialect import Dialect, dialect_of
from luthier.text.template import TemplateRenderer
from tests.text.chat_styles import CHATML, STYLES, Style, make_tokenizer
from tests.text.template_styles import MISTRAL, SIX

SMOLLM = Style(
    special=CHATML.special,
    bos=None,
    eos="<|im_end|>",
    template=(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a small model.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    end="<|im_end|>",
)
OLMO = Style(
    special=("<|endoftext|>", "<|pad|>"),
    bos="<|endoftext|>",
    eos="<|endoftext|>",
    template=(
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}"
        "{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}"
        "{% elif message['role'] == 'assistant' %}{% if not loop.last %}"
        "{{ '<|assistant|>\n' + message['content'] + eos_token + '\n' }}{% else %}"
        "{{ '<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
    ),
    end="<|endoftext|>",
)
GRANITE = Style(
    special=("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
    bos="<|end_of_text|>",
    eos="<|end_of_text|>",
    template=(
        "{%- if messages[0]['role'] == 'system' %}{%- set orders = messages[0]['content'] %}{%- set rest = messages[1:] %}"
        "{%- else %}{%- set orders = 'Knowledge ends in: April 2024.\nYou are Stone.' %}{%- set rest = messages %}{%- endif %}"
        "{{- '<|start_of_role|>system<|end_of_role|>' + orders + '<|end_of_text|>\n' }}"
        "{%- for message in rest %}"
        "{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}"
    ),
    end="<|end_of_text|>",
)
LLAMA_2 = Style(
    special=("<unk>", "<s>", "</s>"),
    bos="<s>",
    eos="</s>",
    template=(
        "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set orders = messages[0]['content'] %}"
        "{% else %}{% set rest = messages %}{% set orders = false %}{% endif %}{% for message in rest %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
        "{% if loop.index0 == 0 and orders != false %}"
        "{% set said = '<<SYS>>\n' + orders + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set said = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    end="</s>",
    is_metaspace=True,
)
MISTRAL_LAST = Style(
    special=MISTRAL.special,
    bos="<s>",
    eos="</s>",
    template=(
        "{%- if messages[0]['role'] == 'system' %}{%- set orders = messages[0]['content'] %}{%- set rest = messages[1:] %}"
        "{%- else %}{%- set rest = messages %}{%- endif %}{{- bos_token }}{%- for message in rest %}"
        "{%- if message['role'] == 'user' %}{%- if loop.last and orders is defined %}"
        "{{- '[INST] ' + orders + '\n\n' + message['content'] + '[/INST]' }}{%- else %}"
        "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
        "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}"
    ),
    end="</s>",
    is_metaspace=True,
)
GEMMA_3 = Style(
    special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    template=(
        "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set orders = messages[0]['content'] + '\n\n' -%}"
        "{%- set rest = messages[1:] -%}{%- else -%}{%- set orders = '' -%}{%- set rest = messages -%}{%- endif -%}"
        "{%- for message in rest -%}{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
        "{{ '<start_of_turn>' + role + '\n' + (orders if loop.first else '') + message['content'] | trim }}"
        "{{ '<end_of_turn>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
    ),
    end="<end_of_turn>",
)
# Collects every system text at the top, as DeepSeek's do.
HOISTING = Style(
    special=("<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"),
    bos="<|begin|>",
    eos="<|end|>",
    template=(
        "{% set ns = namespace(orders='') %}{% for message in messages %}{% if message['role'] == 'system' %}"
        "{% set ns.orders = ns.orders + ('\n\n' if ns.orders else '') + message['content'] %}{% endif %}{% endfor %}"
        "{{ bos_token + ns.orders }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
        "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    end="<|end|>",
)
# Drops all system texts but the first, which it writes in its own way.
FIRST_ONLY = Style(
    special=CHATML.special,
    bos=None,
    eos="<|im_end|>",
    template=(
        "{% for message in messages %}{% if message['role'] == 'system' %}{% if loop.first %}"
        "{{ '<|im_start|>system\nRules: ' + message['content'] + '<|im_end|>\n' }}{% endif %}{% else %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    end="<|im_end|>",
)
ALL: dict[str, Style] = {
    **SIX,
    "chatml": STYLES["chatml"],
    "llama_3_plain": STYLES["llama_3"],
    "smollm": SMOLLM,
    "olmo": OLMO,
    "granite": GRANITE,
    "llama_2": LLAMA_2,
    "mistral_last": MISTRAL_LAST,
    "gemma_3": GEMMA_3,
    "hoisting": HOISTING,
    "first_only": FIRST_ONLY,
}


@contextmanager
def dialect(style: Style) -> Iterator[Dialect]:
    """The dialect of a run with such a tokenizer, in a file before whose prompts llama.cpp puts BOS where the template writes one."""
    tokenizer = make_tokenizer(style)
    with TemplateRenderer(tokenizer) as renderer:
        found = dialect_of("chat", tokenizer, renderer, puts_bos=begins_with_bos(style))
        yield found


def begins_with_bos(style: Style) -> bool:
    return style.bos is not None and "bos_token" in style.template
