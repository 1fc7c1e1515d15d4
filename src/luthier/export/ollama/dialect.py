"""A run's way to write conversations, as a template for Ollama and as the run itself writes it.

Four ways: the tokenizer's chat template, the guide's single prompts and its tags (`data.template`), and plain texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from luthier.export.ollama.conversations import Asked, tool_conversations
from luthier.export.ollama.go_parse import GoTemplateError, parse
from luthier.export.ollama.messages import render
from luthier.export.ollama.style import NoStyle, Style, StyleProbe, read_style
from luthier.export.ollama.tool_style import TOOLS, read_tool_style
from luthier.export.ollama.translate import single_prompts, tagged_turns, translate
from luthier.floor.errors import GateError
from luthier.text.encode import control_pattern
from luthier.text.guide_chat import ANSWER, parts_of
from luthier.text.render import Template
from luthier.text.template import Conversation, TemplateRefusal, TemplateRenderer, chat_template

Written = str | TemplateRefusal
Form = Template | Literal["text"]
"""A template of the recipe, or `text` for a run on plain texts, which goes on with what it is given."""
SINGLE = {"guide": ("single prompts", "\n"), "text": ("plain texts", "")}
DAY = "strftime_now"


@dataclass(frozen=True)
class Dialect:
    """A template in Go's syntax, and what it has to write."""

    name: str
    """What it is, for people."""
    go: str
    wanted: Callable[[Sequence[Asked]], list[Written]]
    """What the run writes of each conversation, without the BOS that llama.cpp puts first."""
    has_system: bool
    has_history: bool
    trims: tuple[str, ...] = ()
    """The roles whose texts the run strips of the white space around them, which no template of Ollama's can."""
    tools: str = "the run's form of conversations has none"
    """Why there are no tools; empty where there are."""
    writes_day: bool = False
    """The run's template writes the day's date, and the translation keeps today's."""


def dialect_of(
    form: Form,
    tokenizer: PreTrainedTokenizerBase,
    renderer: TemplateRenderer | None,
    *,
    puts_bos: bool,
) -> Dialect:
    """The dialect of a run. `renderer` is needed for chat templates alone; `puts_bos` says whether llama.cpp begins with BOS.

    Raises GateError gate-template for a chat template whose style has no form in Ollama.
    """
    bos = tokenizer.bos_token or ""
    begin = "" if puts_bos else bos
    if form in SINGLE:
        name, end = SINGLE[form]
        return Dialect(name, single_prompts(begin, end=end), _single(begin, end), False, False)
    if form == "guide_chat":
        return Dialect("the guide's tags", tagged_turns(begin), _tagged(begin), False, True)
    assert renderer is not None, "a chat template has a renderer"
    return _of_chat_template(tokenizer, renderer, bos=bos, puts_bos=puts_bos)


def _of_chat_template(
    tokenizer: PreTrainedTokenizerBase, renderer: TemplateRenderer, *, bos: str, puts_bos: bool
) -> Dialect:
    probe = StyleProbe(renderer.render, control_pattern(tokenizer))
    try:
        style = read_style(probe, bos=bos)
    except NoStyle as fault:
        where = str(tokenizer.name_or_path)
        raise refusal(f"Ollama has no form for the run's chat template: {fault}", where=where) from fault
    if puts_bos and not style.bos:
        raise refusal(
            f"llama.cpp puts {bos} before every prompt of this file, and the run's chat template writes none",
        )
    begin, cut = ("", style.bos) if puts_bos else (style.bos, "")

    def wanted(asked: Sequence[Asked]) -> list[Written]:
        texts = renderer.render([Conversation(each.messages, True, each.tools) for each in asked])
        return [text if isinstance(text, TemplateRefusal) else text.removeprefix(cut) for text in texts]

    go, no_tools = translate(style, begin=begin), ""
    try:
        with_tools = translate(style, read_tool_style(probe, style), begin=begin)
        conversations = list(tool_conversations(TOOLS, with_system=style.system != "none"))
        nodes = parse(with_tools)
        for asked, text in zip(conversations, wanted(conversations), strict=True):
            if not isinstance(text, TemplateRefusal) and render(nodes, asked.messages, asked.tools) != text:
                raise NoStyle("its tools come out otherwise")
        go = with_tools
    except (NoStyle, GoTemplateError) as fault:
        no_tools = str(fault)
    return Dialect(
        f"the run's chat template, {_described(style)}",
        go,
        wanted,
        has_system=style.system != "none",
        has_history=True,
        trims=style.trims,
        tools=no_tools,
        writes_day=DAY in chat_template(tokenizer),
    )


def _described(style: Style) -> str:
    return {
        "turn": "system texts as turns",
        "top": "system texts at the top",
        "first question": "system texts before the first question",
        "last question": "system texts before the last question",
        "none": "without system texts",
    }[style.system]


def _single(begin: str, end: str) -> Callable[[Sequence[Asked]], list[Written]]:
    return lambda asked: [f"{begin}{each.messages[-1].content}{end}" for each in asked]


def _tagged(begin: str) -> Callable[[Sequence[Asked]], list[Written]]:
    return lambda asked: [
        begin + "".join(part.text for part in parts_of(each.messages)) + ANSWER for each in asked
    ]


def refusal(what: str, *, where: str = "", problems: Sequence[str] = ()) -> GateError:
    """Why there is no Modelfile."""
    return GateError(
        "gate-template",
        what,
        where=where,
        problems=problems,
        why="A model that is asked otherwise than it was trained answers worse, and nothing says so.",
        fix="Serve the GGUF file with llama.cpp, which runs the chat template itself: llama-server --jinja -m FILE",
    )
