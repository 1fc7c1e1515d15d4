"""Judge the characters of a text: wrong decodings, what nobody sees, what was lost, and tokens that only a template writes."""

import re
from collections.abc import Callable, Iterator
from functools import cache

from luthier.data.check.kinds import Fault
from luthier.data.check.places import Text, spell
from luthier.data.check.view import View
from luthier.data.clean.characters import remove_invisible
from luthier.data.clean.repair import repair_filter
from luthier.floor.errors import EnvironmentFault

# Tokens by which the chat templates of these families mark turns and texts; they are no words of any language.
FAMILIES: dict[str, tuple[str, ...]] = {
    "ChatML, Qwen": ("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
    "GPT": ("<|endoftext|>", "<|endofprompt|>"),
    "gpt-oss": ("<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>"),
    "Llama 3": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>"),
    "Llama 4": ("<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"),
    "Llama 2, Mistral": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]"),
    "Gemma": ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<|turn>", "<turn|>"),
    "Phi, Zephyr, Granite": ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|start_of_role|>", "<|end_of_role|>"),
    "DeepSeek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    "Command R": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
}  # fmt: skip
FAMILY_OF = {token: family for family, tokens in FAMILIES.items() for token in tokens}
# The start token of Llama 2 is also HTML's struck text: it counts where a text begins with it.
_TEMPLATE = re.compile(r"\A<s>|" + "|".join(map(re.escape, sorted(FAMILY_OF, key=len, reverse=True))))
# Whether one may be there at all, at the speed of memory.
_HINTS = (
    "<|",
    "|>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "s>",
    "_of_turn>",
    "<bos>",
    "<eos>",
    "[AVAIL",
    "[TOOL",
    "[SYSTEM_",
    "<｜",
    "_TOKEN",
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
SHOWN_CHARACTERS = 40


def check_characters(view: View) -> Iterator[Fault]:
    """What is wrong with the characters of each text, one finding a kind and row."""
    told: set[str] = set()
    for text in view.texts:
        for fault in _look(text):
            if fault.kind not in told:
                told.add(fault.kind)
                yield fault


def _look(text: Text) -> Iterator[Fault]:
    said = text.text
    if not (said.isascii() and said.isprintable()):
        yield from _unprintable(text)
    if any(hint in said for hint in _HINTS) and (found := _TEMPLATE.search(said)):
        family = FAMILY_OF.get(found[0], "Llama 2, Mistral")
        yield Fault("template-token", f"{spell(text.path)} spells {found[0]!r}, a token of {family}")


def _unprintable(text: Text) -> Iterator[Fault]:
    said, place = text.text, spell(text.path)
    repair = mojibake_repair()
    mended = said if repair is None or said.isascii() else repair(said)
    if mended != said:
        at = next((i for i, (a, b) in enumerate(zip(said, mended, strict=False)) if a != b), len(mended))
        yield Fault("mojibake", f"{place} reads {_around(said, at)}, meant as {_around(mended, at)}")
    # A wrong decoding makes C1 controls of its own: those go with it.
    if found := _CONTROL.search(mended):
        yield Fault(
            "control-characters",
            f"{place} holds U+{ord(found[0]):04X} at character {mended.index(found[0]) + 1}",
        )
    if said.isascii():
        return
    if "\ufffd" in said:
        yield Fault("lost-characters", f"{place} holds U+FFFD at character {said.index(chr(0xFFFD)) + 1}: {_around(said, said.index(chr(0xFFFD)))}")  # fmt: skip
    without = _CONTROL.sub("", said)
    if (seen := remove_invisible(without)) != without:
        at = next((i for i, (a, b) in enumerate(zip(without, seen, strict=False)) if a != b), len(seen))
        yield Fault("invisible-characters", f"{place} holds U+{ord(without[at]):04X} at character {at + 1}, {len(without) - len(seen):,} such in all")  # fmt: skip


@cache
def mojibake_repair() -> Callable[[str], str] | None:
    """What mends a text by ftfy, or None where ftfy is not installed: the stage says so."""
    try:
        return repair_filter().edit
    except EnvironmentFault:
        return None


def _around(text: str, at: int) -> str:
    start = max(0, at - SHOWN_CHARACTERS // 4)
    return repr(text[start : start + SHOWN_CHARACTERS])
