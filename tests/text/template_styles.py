"""Chat templates in the styles of six model families, and of one that thinks, written for these tests; each with its tokens.

The files mark what the assistant writes with `generation`, which Transformers can make a mask of; `stock` templates come without
the marks, as most models are published.
"""

import re
from dataclasses import replace
from pathlib import Path

from tests.text.chat_styles import CHATML, GEMMA, LLAMA_3, Style

TEMPLATES = Path(__file__).with_name("templates")
MARKS = re.compile(r"^ *\{%- (?:end)?generation %\}\n", re.MULTILINE)


def marked(name: str) -> str:
    """The template with its marks."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def stock(name: str) -> str:
    """The template as a model would bring it."""
    return MARKS.sub("", marked(name))


MISTRAL = Style(
    special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    bos="<s>",
    eos="</s>",
    template=stock("mistral"),
    end="</s>",
    is_metaspace=True,
)  # fmt: skip
PHI = Style(
    special=("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>"),
    bos=None,
    eos="<|endoftext|>",
    template=stock("phi"),
    end="<|end|>",
)  # fmt: skip
HARMONY = Style(
    special=("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"),
    bos="<|startoftext|>",
    eos="<|return|>",
    template=stock("harmony"),
    end="<|return|>",
)  # fmt: skip
SIX: dict[str, Style] = {
    "llama_3": replace(LLAMA_3, template=stock("llama_3")),
    "qwen": replace(CHATML, template=stock("qwen")),
    "gemma": replace(GEMMA, template=stock("gemma")),
    "mistral": MISTRAL,
    "phi": PHI,
    "harmony": HARMONY,
}
THINKING = replace(CHATML, template=stock("qwen_thinking"))
# Its last answer ends in another token than the ones before it, so only the last can be learnt as it is used.
LAST_ONLY = ("harmony",)
