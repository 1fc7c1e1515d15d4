"""Templates with values, on which Luthier's reader of Go templates is held against Go itself (bench/ollama/ask_go.py asks it)."""

import json
import random
from collections.abc import Iterator
from typing import Any

from luthier.export.ollama.messages import collate
from luthier.text.row import Message

# The examples of pkg.go.dev/text/template, "Text and spaces" and "Examples", which says what each makes.
DOCUMENTED = {
    "{{23 -}} < {{- 45}}": "23<45",
    r'{{"\"output\""}}': '"output"',
    '{{`"output"`}}': '"output"',
    '{{printf "%q" "output"}}': '"output"',
    '{{"output" | printf "%q"}}': '"output"',
    '{{printf "%q" (print "out" "put")}}': '"output"',
    '{{"put" | printf "%s%s" "out" | printf "%q"}}': '"output"',
    '{{"output" | printf "%s" | printf "%q"}}': '"output"',
    '{{with "output"}}{{printf "%q" .}}{{end}}': '"output"',
    '{{with $x := "output" | printf "%q"}}{{$x}}{{end}}': '"output"',
    '{{with $x := "output"}}{{printf "%q" $x}}{{end}}': '"output"',
    '{{with $x := "output"}}{{$x | printf "%q"}}{{end}}': '"output"',
}
# docs/template.md of github.com/ollama/ollama (MIT): its examples of ChatML and of Mistral with tools.
OLLAMA = (
    "{{- range .Messages }}\n{{ .Role }}: {{ .Content }}\n{{- end }}\n",
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
    """{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 2) $.Tools }}[AVAILABLE_TOOLS] {{ json $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ json .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}""",
)
TALK = (
    Message("system", "You are a helpful assistant."),
    Message("user", "Hello, <b>how</b> are you? Größe 👩‍👩‍👧‍👦"),
    Message("assistant", "I'm doing great."),
    Message("user", "I'd like to show off & more!"),
)
ODD_ONES = (
    '{{ json .Map }} {{ .Map }} {{ json .List }} {{ .List }} {{ json .Text }} {{ .No }} {{ .Map.no }}',
    '{{ len .Text }} {{ slice .Text 1 3 }} {{ index .List 1 }} {{ (index .Maps 0).a }} {{ index .Map "b" }}',
    '{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ else }}none{{ end }}{{ range .Empty }}x{{ else }}none{{ end }}',
    '{{ range $i, $v := .List }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ if eq $i 3 }}{{ break }}{{ end }}{{ $v }},{{ end }}',
    '{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}{{ range .List }}{{ $x = . }}{{ end }}{{ $x }}',
    '{{ and 0 .No }}|{{ or "" "b" }}|{{ not .Empty }}|{{ and "a" "b" }}|{{ or .No .Empty "c" | json }}|{{ if .Zero }}t{{ else }}f{{ end }}',
    '{{ eq "a" "b" "a" }} {{ ne 1 2 }} {{ lt "a" "b" }} {{ le 2 2 }} {{ gt 1.5 1.0 }} {{ ge "b" "c" }} {{ eq true false }}',
    '{{ 1.5 }} {{ 100000.0 }} {{ 0.00001 }} {{ true }} {{ print 1 2 "a" 3 }} {{ println "a" 1 }} {{ printf "%d%%%v" 7 "x" }}',
    "{{/* a comment */}}a{{- /* another */ -}} b {{with .Map}}{{.b}}{{else}}no{{end}}{{with .Empty}}x{{else with .Text}}{{.}}{{end}}",
    "{{ . }", "{{ if }}a{{ end }}", "{{ end }}", "{{ range .List }}", "{{ nothing 1 }}", "{{ eq 1 \"a\" }}", "{{ index .List 9 }}",
    "{{ slice .List 3 1 }}", "{{ .Text.more }}", "{{ $y }}", "{{ break }}", "{{ len 3 }}", '{{ "a" "b" }}', "{{ .List | len | json }}",
)  # fmt: skip
MORE = {
    "Map": {"b": 2, "a": "<x>"},
    "List": [1, "two", None, 4.5],
    "Maps": [{"a": "é"}],
    "Text": "a<é>\u2028",
    "Empty": [],
    "Zero": 0,
}
SPACES = ("", " ", "\n", "  \n\t", "x", " y ", "z\n", "\r\n w")


def random_templates(count: int) -> Iterator[str]:
    """Texts with white space of every kind between actions with and without trim markers, nested."""
    rolls = random.Random(1)
    for _ in range(count):
        yield _random(rolls, depth=3)


def _random(rolls: random.Random, depth: int) -> str:
    parts = []
    for _ in range(rolls.randint(1, 4)):
        parts.append(rolls.choice(SPACES) + rolls.choice(SPACES))
        kind = rolls.choice(("value", "if", "range", "with", "comment") if depth else ("value", "comment"))
        open, close = rolls.choice(("{{", "{{- ")), rolls.choice(("}}", " -}}"))
        if kind == "value":
            parts.append(f"{open}{rolls.choice(('.Text', '1', '`raw`', '$.Zero', 'len .Text'))}{close}")
        elif kind == "comment":
            parts.append(f"{open}/* {{}} */{close}")
        else:
            of = (
                {"if": ".Zero", "range": "$.Maps", "with": "$.Text"}[kind]
                if rolls.random() < 0.7
                else "$.Empty"
            )
            inner = _random(rolls, depth - 1).replace(".Text", "$.Text").replace("$$", "$")
            other = f"{open}else{close}{rolls.choice(SPACES)}" if rolls.random() < 0.5 else ""
            parts.append(f"{open}{kind} {of}{close}{inner}{other}{open}end{close}")
    return "".join([*parts, rolls.choice(SPACES)])


def asked(
    template: str, *, messages: tuple[Message, ...] = (), tools: str = "", more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A template with values, as judge.go takes them."""
    system, joined = collate(messages)
    return {
        "template": template,
        "system": system,
        "messages": [_message(message) for message in joined],
        "tools": json.loads(tools or "[]"),
        "more": more or {},
    }


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {"ID": call.id, "Function": {"Index": 0, "Name": call.name, "Arguments": json.loads(call.arguments)}}
        for call in message.tool_calls
    ]
    return {
        "Role": message.role,
        "Content": message.content,
        "ToolCalls": calls,
        "ToolName": message.name,
        "ToolCallID": message.tool_call_id,
    }
