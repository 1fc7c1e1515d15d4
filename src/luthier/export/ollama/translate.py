"""Write a template in Go's syntax, as Ollama wants it, that says what a style says.

White space is part of what a model reads, so no trim marker stands beside a text that has any; and what Ollama's reader of
Modelfiles would drop (signs that are not printable) is spelt out in an action.
"""

from typing import NamedTuple

from luthier.export.ollama.go_parse import quoted
from luthier.export.ollama.style import Style
from luthier.export.ollama.tool_style import ToolStyle, ToolText


class _Opening(NamedTuple):
    """What comes before the first message: before the loop, or inside of it."""

    outside: str = ""
    inside: str = ""


_Branches = list[tuple[str, str]]


def single_prompts(begin: str, *, end: str) -> str:
    """The last question alone, with what ends a prompt: for models that were trained on single prompts, or on texts."""
    last = "{{ if eq (len (slice $.Messages $i)) 1 }}"
    return f"{literal(begin)}{{{{ range $i, $_ := .Messages }}}}{last}{{{{ .Content }}}}{end}{{{{ end }}}}{{{{ end }}}}"


def tagged_turns(begin: str) -> str:
    """The tags of `data.template=guide_chat`."""
    user = '{{ if eq .Role "user" }}<user>{{ .Content }}</user>'
    answer = '{{ else if eq .Role "assistant" }}<assistant>{{ .Content }}</assistant>'
    return f"{literal(begin)}{{{{ range .Messages }}}}{user}{answer}{{{{ end }}}}{{{{ end }}}}<assistant>"


def literal(text: str) -> str:
    """Text that a template writes as it stands; what could open an action, and signs that get lost on the way, go into one."""
    written: list[str] = []
    follows_action = True  # what comes behind the text may be one
    for place in range(len(text) - 1, -1, -1):
        sign = text[place]
        is_lost = not (sign.isprintable() or sign in "\n\t")
        is_quote = text[place : place + 3] == '"""'
        opens = sign == "{" and (follows_action or text[place + 1] == "{")
        follows_action = is_lost or is_quote or opens
        written.append(f"{{{{ {_spelt(sign)} }}}}" if follows_action else sign)
    return "".join(reversed(written))


def _spelt(sign: str) -> str:
    if sign == '"':
        return '`"`'
    if sign.isprintable():
        return quoted(sign)
    code = ord(sign)
    return f'"\\u{code:04x}"' if code < 0x10000 else f'"\\U{code:08x}"'


def translate(style: Style, tools: ToolStyle | None = None, *, begin: str) -> str:
    """The template of a style; `begin` is the BOS token where llama.cpp adds none, else nothing."""
    opening, system, user = _PARTS[style.system](style, tools)
    loop, close_results = "{{ range $i, $_ := .Messages }}", ""
    results: _Branches = []
    answer = f"{literal(style.answer_before)}{{{{ .Content }}}}{literal(style.answer_after)}"
    if tools is not None:
        loop = f'{{{{ $before := "" }}}}{loop}'
        closed = literal(tools.results_close)
        close_results = f'{{{{ if and (eq $before "tool") (ne .Role "tool") }}}}{closed}{{{{ end }}}}'
        answer = _calling_answer(style, tools)
        results = _result(tools)
    branches = [*system, ("user", user), ("assistant", answer), *results]
    said = "".join(
        f'{{{{ {"else " if place else ""}if eq .Role "{role}" }}}}{text}'
        for place, (role, text) in enumerate(branches)
    )
    last = ""
    if tools is not None:
        said += "{{ end }}{{ $before = .Role }}"
        last = f'{{{{ if eq $before "tool" }}}}{literal(tools.results_close)}{{{{ end }}}}'
    else:
        said += "{{ end }}"
    body = f"{loop}{close_results}{opening.inside}{said}{{{{ end }}}}{last}"
    if tools is None and "$i" not in body.replace(loop, ""):
        body = body.replace(loop, "{{ range .Messages }}")
    return f"{literal(begin)}{opening.outside}{body}{literal(style.header)}"


def _turns(style: Style, tools: ToolStyle | None) -> tuple[_Opening, _Branches, str]:
    """Every message is a turn, wherever it stands."""
    inside = ""
    begin = _either(tools.begin if tools else None, style.begin)
    if begin:
        condition = "(not $.System)" if style.begins_unless_any else '(ne .Role "system")'
        inside = f"{{{{ if and (eq $i 0) {condition} }}}}{begin}{{{{ end }}}}"
    before, after = style.system_before, style.system_after
    system = f"{literal(before)}{{{{ .Content }}}}{literal(after)}"
    if style.later_system != (before, after):
        later = "{{ .Content }}".join(map(literal, style.later_system)) if style.later_system else ""
        system = f"{{{{ if eq $i 0 }}}}{system}{{{{ else }}}}{later}{{{{ end }}}}"
    if tools is not None:
        listed = f"{_listed(tools.system_before)}{{{{ .Content }}}}{_listed(tools.system_after)}"
        system = f"{{{{ if and $.Tools (eq $i 0) }}}}{listed}{{{{ else }}}}{system}{{{{ end }}}}"
    user = f"{literal(style.user_before)}{{{{ .Content }}}}{literal(style.user_after)}"
    return _Opening(inside=inside), [("system", system)], user


def _at_top(style: Style, tools: ToolStyle | None) -> tuple[_Opening, _Branches, str]:
    """All system texts come before everything else."""
    with_system = f"{literal(style.system_before)}{{{{ $.System }}}}{literal(style.system_after)}"
    if tools is not None:
        listed = f"{_listed(tools.system_before)}{{{{ $.System }}}}{_listed(tools.system_after)}"
        with_system = f"{{{{ if $.Tools }}}}{listed}{{{{ else }}}}{with_system}{{{{ end }}}}"
    without = _either(tools.begin if tools else None, style.begin)
    otherwise = f"{{{{ else }}}}{without}" if without else ""
    user = f"{literal(style.user_before)}{{{{ .Content }}}}{literal(style.user_after)}"
    return _Opening(outside=f"{{{{ if .System }}}}{with_system}{otherwise}{{{{ end }}}}"), [], user


def _no_system(style: Style, tools: ToolStyle | None) -> tuple[_Opening, _Branches, str]:
    """System texts have no place."""
    user = f"{literal(style.user_before)}{{{{ .Content }}}}{literal(style.user_after)}"
    return _Opening(outside=_either(tools.begin if tools else None, style.begin)), [], user


def _first_question(style: Style, tools: ToolStyle | None) -> tuple[_Opening, _Branches, str]:
    """All system texts go before the first question."""
    with_system = f"{literal(style.system_before)}{{{{ $.System }}}}{literal(style.system_after)}"
    if tools is not None:
        listed = f"{_listed(tools.system_before)}{{{{ $.System }}}}{_listed(tools.system_after)}"
        with_system = f"{{{{ if $.Tools }}}}{listed}{{{{ else }}}}{with_system}{{{{ end }}}}"
    user = (
        f"{{{{ if not $first }}}}{literal(style.user_before)}{{{{ else if $.System }}}}{with_system}"
        f"{{{{ else }}}}{_either(tools.begin if tools else None, style.begin)}{literal(style.user_before)}{{{{ end }}}}"
        f"{{{{ $first = false }}}}{{{{ .Content }}}}{literal(style.user_after)}"
    )
    return _Opening(outside="{{ $first := true }}"), [], user


def _last_question(style: Style, tools: ToolStyle | None) -> tuple[_Opening, _Branches, str]:
    """All system texts go before the last message, which is a question."""
    assert tools is None, "such a style has no tools"
    with_system = f"{literal(style.system_before)}{{{{ $.System }}}}{literal(style.system_after)}"
    user = (
        f"{{{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}}}{with_system}{{{{ else }}}}"
        f"{literal(style.user_before)}{{{{ end }}}}{{{{ .Content }}}}{literal(style.user_after)}"
    )
    return _Opening(outside=literal(style.begin)), [], user


_PARTS = {
    "turn": _turns,
    "top": _at_top,
    "none": _no_system,
    "first question": _first_question,
    "last question": _last_question,
}


def _calling_answer(style: Style, tools: ToolStyle) -> str:
    """An answer, or calls. Ollama's search for calls begins with the first text behind `if .ToolCalls` (its tools/template.go)."""
    call = (
        f"{literal(tools.name_before)}{{{{ .Function.Name }}}}{literal(tools.arguments_before)}{ARGUMENTS}"
        f"{literal(tools.arguments_after)}"
    )
    between = (
        f"{{{{ if gt (len (slice $calls $n)) 1 }}}}{literal(tools.calls_between)}{{{{ end }}}}"
        if tools.calls_between
        else ""
    )
    said = f"{{{{ if and .Content $calls }}}}{{{{ {quoted(tools.after_content)} }}}}{{{{ end }}}}"
    header = literal(style.answer_before)
    if tools.call_before != style.answer_before:
        header = f"{{{{ if not $calls }}}}{header}{{{{ end }}}}{literal(tools.call_before)}"
    return (
        f"{{{{ $calls := .ToolCalls }}}}{header}{{{{ .Content }}}}{said if tools.after_content else ''}"
        f"{{{{ if .ToolCalls }}}}{literal(tools.calls_open)}{{{{ range $n, $_ := $calls }}}}{call}{between}{{{{ end }}}}"
        f"{literal(tools.calls_close)}{{{{ else }}}}{literal(style.answer_after)}{{{{ end }}}}"
    )


def _result(tools: ToolStyle) -> _Branches:
    opened = (
        f'{{{{ if eq $before "tool" }}}}{literal(tools.results_between)}{{{{ else }}}}'
        f"{literal(tools.results_open)}{{{{ end }}}}{{{{ .Content }}}}"
    )
    return [("tool", opened)]


def _either(listed: ToolText | None, plain: str) -> str:
    """A text with the tools where there are some, else the one without."""
    if listed is None:
        return literal(plain)
    otherwise = f"{{{{ else }}}}{literal(plain)}" if plain else ""
    return f"{{{{ if $.Tools }}}}{_listed(listed)}{otherwise}{{{{ end }}}}"


def _listed(text: str | ToolText) -> str:
    """A text with the list of tools in it."""
    if isinstance(text, str):
        return literal(text)
    between = f"{{{{ if $t }}}}{literal(text.between)}{{{{ end }}}}"
    return f"{literal(text.before)}{{{{ range $t, $_ := $.Tools }}}}{between}{TOOL}{{{{ end }}}}{literal(text.after)}"


def _items(of: str) -> str:
    return (
        f"[{{{{ range $k, $item := {of} }}}}{{{{ if $k }}}}, {{{{ end }}}}{{{{ json $item }}}}{{{{ end }}}}]"
    )


# JSON as Python writes it, blanks behind commas and colons; Ollama's own `json` writes none.
_PROPERTY = (
    '{"type": {{ json $property.Type }}{{ if $property.Description }}, "description": {{ json $property.Description }}{{ end }}'
    '{{ if $property.Enum }}, "enum": ' + _items("$property.Enum") + "{{ end }}}"
)
TOOL = (
    '{"type": {{ json .Type }}, "function": {"name": {{ json .Function.Name }}, "description": {{ json .Function.Description }}, '
    '"parameters": {"type": {{ json .Function.Parameters.Type }}, "properties": {{ "{" }}{{ $more := false }}'
    "{{ range $name, $property := .Function.Parameters.Properties }}{{ if $more }}, {{ end }}{{ $more = true }}{{ json $name }}: "
    + _PROPERTY
    + '{{ end }}}{{ if .Function.Parameters.Required }}, "required": '
    + _items(".Function.Parameters.Required")
    + "{{ end }}}}}"
)
ARGUMENTS = (
    '{{ "{" }}{{ $more := false }}{{ range $key, $value := .Function.Arguments }}{{ if $more }}, {{ end }}{{ $more = true }}'
    "{{ json $key }}: {{ json $value }}{{ end }}}"
)
