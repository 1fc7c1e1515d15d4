"""Write a template in Go's syntax, as Ollama wants it, that says what a style says.

White space is part of what a model reads, so no trim marker stands beside a text that has any; and what Ollama's reader of
Modelfiles would drop (signs that are not printable) is spelt out in an action.
"""

from luthier.export.ollama.go_parse import quoted
from luthier.export.ollama.style import Style


def single_prompts(begin: str) -> str:
    """The last question alone, with the newline that ends a prompt: for models that were trained on single prompts."""
    last = "{{ if eq (len (slice $.Messages $i)) 1 }}"
    return f"{literal(begin)}{{{{ range $i, $_ := .Messages }}}}{last}{{{{ .Content }}}}\n{{{{ end }}}}{{{{ end }}}}"


def tagged_turns(begin: str) -> str:
    """The tags of `data.template=guide_chat`."""
    user = '{{ if eq .Role "user" }}<user>{{ .Content }}</user>'
    answer = '{{ else if eq .Role "assistant" }}<assistant>{{ .Content }}</assistant>'
    return f"{literal(begin)}{{{{ range .Messages }}}}{user}{answer}{{{{ end }}}}{{{{ end }}}}<assistant>"


def translate(style: Style, *, begin: str) -> str:
    """The template of a style; `begin` is the BOS token where llama.cpp adds none, else nothing."""
    write = _WRITERS[style.system]
    return literal(begin) + write(style) + literal(style.header)


def literal(text: str) -> str:
    """Text that a template writes as it stands; what could open an action, and signs that get lost on the way, go into one."""
    written = ""
    for place, sign in enumerate(text):
        opens = sign == "{" and (
            place + 1 == len(text) or text[place + 1] == "{" or text[place - 1 : place] == "{"
        )
        if (
            opens
            or not (sign.isprintable() or sign in "\n\t")
            or (sign in '"' and text[place : place + 3] == '"""')
        ):
            written += f"{{{{ {_spelt(sign)} }}}}"
        else:
            written += sign
    return written


def _spelt(sign: str) -> str:
    if sign == '"':
        return '`"`'
    if sign.isprintable():
        return quoted(sign)
    code = ord(sign)
    return f'"\\u{code:04x}"' if code < 0x10000 else f'"\\U{code:08x}"'


def _answer(style: Style) -> str:
    said = f"{literal(style.answer_before)}{{{{ .Content }}}}{literal(style.answer_after)}"
    return f'{{{{ else if eq .Role "assistant" }}}}{said}'


def _write_turns(style: Style) -> str:
    """Every message is a turn, wherever it stands."""
    begin, loop = "", "{{ range .Messages }}"
    if style.begin:
        loop = "{{ range $i, $_ := .Messages }}"
        begin = f'{{{{ if and (eq $i 0) (ne .Role "system") }}}}{literal(style.begin)}{{{{ end }}}}'
    system = f"{literal(style.system_before)}{{{{ .Content }}}}{literal(style.system_after)}"
    user = f"{literal(style.user_before)}{{{{ .Content }}}}{literal(style.user_after)}"
    return (
        f'{loop}{begin}{{{{ if eq .Role "system" }}}}{system}{{{{ else if eq .Role "user" }}}}{user}{_answer(style)}'
        "{{ end }}{{ end }}"
    )


def _write_without_system(style: Style) -> str:
    """System texts have no place."""
    user = f"{literal(style.user_before)}{{{{ .Content }}}}{literal(style.user_after)}"
    return (
        f'{literal(style.begin)}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user}{_answer(style)}'
        "{{ end }}{{ end }}"
    )


def _write_first(style: Style) -> str:
    """All system texts go before the first question."""
    with_system = f"{literal(style.system_before)}{{{{ $.System }}}}{literal(style.system_after)}"
    without = literal(style.begin + style.user_before)
    user = (
        f"{{{{ if not $first }}}}{literal(style.user_before)}{{{{ else if $.System }}}}{with_system}"
        f"{{{{ else }}}}{without}{{{{ end }}}}{{{{ $first = false }}}}{{{{ .Content }}}}{literal(style.user_after)}"
    )
    return (
        f'{{{{ $first := true }}}}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user}{_answer(style)}'
        "{{ end }}{{ end }}"
    )


def _write_last(style: Style) -> str:
    """All system texts go before the last message, which is a question."""
    with_system = f"{literal(style.system_before)}{{{{ $.System }}}}{literal(style.system_after)}"
    user = (
        f"{{{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}}}{with_system}{{{{ else }}}}"
        f"{literal(style.user_before)}{{{{ end }}}}{{{{ .Content }}}}{literal(style.user_after)}"
    )
    return (
        f'{literal(style.begin)}{{{{ range $i, $_ := .Messages }}}}{{{{ if eq .Role "user" }}}}{user}{_answer(style)}'
        "{{ end }}{{ end }}"
    )


_WRITERS = {
    "turn": _write_turns,
    "none": _write_without_system,
    "first question": _write_first,
    "last question": _write_last,
}
