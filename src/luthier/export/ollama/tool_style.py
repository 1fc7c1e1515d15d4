"""Find out how a chat template writes tools, calls of them and their answers, by what it renders.

Told from conversations of placeholders, as in style.py. Tools must be JSON on one line with blanks behind commas and colons, as
Transformers' `tojson` writes it, and calls a name with such JSON for the arguments; templates that write them otherwise have no form
here, and their Modelfile has no tools.
"""

import json
from dataclasses import dataclass

from luthier.export.ollama.style import NoStyle, Style, StyleProbe
from luthier.text.outline import placeholder
from luthier.text.row import Message, ToolCall
from luthier.text.template import Conversation, TemplateRefusal


@dataclass(frozen=True)
class ToolText:
    """Text with a list of tools in it, one or several."""

    before: str
    between: str
    after: str


@dataclass(frozen=True)
class ToolStyle:
    """What stands around tools, calls and answers where a conversation has tools."""

    begin: ToolText
    """In place of a style's `begin`."""
    system_before: str | ToolText
    system_after: str | ToolText
    """In place of a style's; the tools are in one of the two."""
    call_before: str
    """In place of a style's `answer_before`."""
    after_content: str
    """Behind a text that is said before calls."""
    calls_open: str
    name_before: str
    arguments_before: str
    arguments_after: str
    calls_between: str
    calls_close: str
    results_open: str
    """Before the first answer of a tool."""
    results_between: str
    results_close: str


def _tool(name: str, value: str) -> dict[str, object]:
    """A tool of every field that Ollama's own types keep."""
    properties = {
        "city": {"type": "string", "description": value},
        "unit": {"type": "string", "enum": ["C", "F"]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Look at {value}.", "parameters": parameters},
    }


TOOLS = (_tool("look", "Where"), _tool("see", "Whither"))
ARGUMENTS = {"city": "Rome", "days": 3}
NAMES = ("f_one", "f_two")


def read_tool_style(probe: StyleProbe, style: Style) -> ToolStyle:
    """The template's way with tools. Raises NoStyle, saying what has no form."""
    if probe.ask("U", tools=_json(TOOLS)) == probe.ask("U"):
        raise NoStyle("the run's chat template has none")
    if style.system == "last question":
        raise NoStyle("the system text goes before the last question, and so may the tools")
    first = _pieces(probe, "U")[0].removeprefix(style.bos)
    if _pieces(probe, "UAU")[0].removeprefix(style.bos) != first or not first.endswith(style.user_before):
        raise NoStyle("it writes the tools elsewhere once more turns follow")
    begin = _tool_text(first.removesuffix(style.user_before), probe, style, "U", 0)
    before: str | ToolText = ""
    after: str | ToolText = ""
    if style.system != "none":
        pieces = _pieces(probe, "SU")
        before, after = pieces[0].removeprefix(style.bos), pieces[1]
        cut = style.user_before if style.system in ("turn", "top") else ""
        if not after.endswith(cut):
            raise NoStyle("it writes a question otherwise where there are tools")
        if _json(TOOLS[0]) in before:
            before, after = _tool_text(before, probe, style, "SU", 0), after.removesuffix(cut)
        else:
            after = _tool_text(after.removesuffix(cut), probe, style, "SU", 1, cut=cut)
    return _with_calls(probe, style, begin, before, after)


def _pieces(probe: StyleProbe, roles: str, *, tools: int = 1) -> list[str]:
    return probe.pieces(roles, tools=json.dumps(TOOLS[:tools], ensure_ascii=False))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tool_text(
    text: str, probe: StyleProbe, style: Style, roles: str, piece: int, *, cut: str | None = None
) -> ToolText:
    """A text with one tool, taken apart with the help of the same with two."""
    one, two = _json(TOOLS[0]), _json(TOOLS[1])
    before, found, after = text.partition(one)
    if not found:
        raise NoStyle("it does not write tools as JSON on one line")
    both = _pieces(probe, roles, tools=2)[piece]
    both = both.removeprefix(style.bos) if piece == 0 else both
    ends = cut if cut is not None else style.user_before if roles == "U" else ""
    both = both.removesuffix(ends)
    middle = both.removeprefix(before + one).removesuffix(two + after)
    if before + one + middle + two + after != both:
        raise NoStyle("it writes two tools otherwise than one after the other")
    return ToolText(before, middle, after)


def _with_calls(
    probe: StyleProbe, style: Style, begin: ToolText, before: str | ToolText, after: str | ToolText
) -> ToolStyle:
    """The rest: calls and answers, told from one call and two, one answer and two."""
    one = _after_question(probe, style, _calling(1), results=1)
    two = _after_question(probe, style, _calling(2), results=2)
    arguments = _json(ARGUMENTS)
    open_one, _, rest = one.partition(NAMES[0])
    between_name, _, tail_one = rest.partition(arguments)
    head_two, _, rest_two = two.partition(arguments)
    middle, _, rest_two = rest_two.partition(NAMES[1])
    name_again, _, tail_two = rest_two.partition(arguments)
    if head_two != open_one + NAMES[0] + between_name or name_again != between_name or not tail_one:
        raise NoStyle("it does not write calls as names with their arguments in JSON")
    call_before = style.answer_before if open_one.startswith(style.answer_before) else ""
    opened = open_one.removeprefix(call_before)
    name_before = probe.shared_end(opened, middle)
    calls_open = opened.removesuffix(name_before)
    alone = _after_question(probe, style, _calling(1), results=0, wants_prompt=False).partition(arguments)[2]
    closing = probe.shared_start(alone, tail_one.partition(placeholder(1))[0])
    ended = middle.removesuffix(name_before)
    arguments_after = probe.shared_start(ended, closing) if ended and closing else ""
    result_one = tail_one.removeprefix(closing)
    results_open, _, last = result_one.partition(placeholder(1))
    results = tail_two.removeprefix(closing).removeprefix(results_open)
    between = results.removeprefix(placeholder(1)).partition(placeholder(2))[0]
    if not last.endswith(style.header) or results != placeholder(1) + between + placeholder(2) + last:
        raise NoStyle("it writes the answers of several tools otherwise than one after the other")
    said = _after_question(probe, style, _calling(1, content="SAID"), results=1)
    after_content = said.removeprefix(call_before + "SAID").removesuffix(one.removeprefix(call_before))
    if said != f"{call_before}SAID{after_content}{one.removeprefix(call_before)}":
        after_content = ""
    return ToolStyle(
        begin=begin,
        system_before=before,
        system_after=after,
        call_before=call_before,
        after_content=after_content,
        calls_open=calls_open,
        name_before=name_before,
        arguments_before=between_name,
        arguments_after=arguments_after,
        calls_between=ended.removeprefix(arguments_after),
        calls_close=closing.removeprefix(arguments_after),
        results_open=results_open,
        results_between=between,
        results_close=last.removesuffix(style.header),
    )


def _calling(count: int, *, content: str = "") -> Message:
    calls = tuple(ToolCall(name, _json(ARGUMENTS), f"call{name[-3:]}00") for name in NAMES[:count])
    return Message("assistant", content, tool_calls=calls)


def _after_question(
    probe: StyleProbe, style: Style, calling: Message, *, results: int, wants_prompt: bool = True
) -> str:
    """What follows a question where it is answered by calls, and these by `results` answers of tools."""
    messages = [Message("user", placeholder(0)), calling]
    messages += [
        Message("tool", placeholder(place + 1), tool_call_id=call.id, name=call.name)
        for place, call in enumerate(calling.tool_calls[:results])
    ]
    tools = json.dumps(TOOLS[:1], ensure_ascii=False)
    text = probe.render([Conversation(messages, wants_prompt, tools)])[0]
    if isinstance(text, TemplateRefusal):
        raise NoStyle(f"it refuses calls of tools: {text}")
    after = text.partition(placeholder(0))[2]
    if not after.startswith(style.user_after):
        raise NoStyle("it ends a question otherwise before a call")
    return after.removeprefix(style.user_after)
