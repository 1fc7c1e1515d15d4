"""Render chat templates in a process of its own, which dies rather than hang or eat the memory.

Started by template.py as a script; imports Jinja and the standard library only. A template comes with a model folder, so it is
a stranger's program: two nested loops run for ever and 'a' * 3000000000 takes 3 GB, sandbox or not. Here a render that takes
more than its seconds is ended by the kernel's alarm, and memory is bounded by a resource limit.

Speaks JSON lines. In: {"template", "variables", "seconds", "memory_bytes"}, then {"conversations": [[messages, add_generation_prompt, tools], ...]}.
Out: {"ready": true} or {"error"}; then one line a conversation, {"text"} or {"error"}.

The environment is that of Transformers' apply_chat_template (5.17 to 5.23): a test renders both and compares.
"""

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_TEXT = 16 * 2**20  # characters; a line of data has at most 10 MiB


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`, which some templates put around what the assistant says; here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012  (the base class declares it without ClassVar)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_pass_on")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _pass_on(self, caller: jinja2.runtime.Macro) -> str:
        return str(caller())


class TemplateNamespace(jinja2.utils.Namespace):
    """A namespace without underscored names, as Transformers has it."""

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")
        super().__setitem__(name, value)


def make_environment() -> ImmutableSandboxedEnvironment:
    """The sandbox with the names that chat templates expect."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    environment.globals["namespace"] = TemplateNamespace
    return environment


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def raise_exception(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def limit_memory(more_bytes: int) -> None:
    """Allow so many bytes beyond what the process has mapped already."""
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more_bytes, mapped + more_bytes))


def answer(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default ends the process, whatever it is busy with
    job = json.loads(sys.stdin.readline())
    limit_memory(job["memory_bytes"])
    try:
        signal.setitimer(signal.ITIMER_REAL, job["seconds"])
        template = make_environment().from_string(job["template"])
        answer('{"ready": true}')
    except jinja2.exceptions.TemplateError as fault:
        answer(json.dumps({"error": f"{type(fault).__name__}: {fault}"}))
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.flush()
    for request in sys.stdin:
        for messages, wants_prompt, tools in json.loads(request)["conversations"]:
            signal.setitimer(signal.ITIMER_REAL, job["seconds"])
            given = {"messages": messages, "tools": tools, "add_generation_prompt": wants_prompt}
            answer(render(template, given, job["variables"]))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.flush()


def render(template: jinja2.Template, given: dict[str, Any], variables: dict[str, str]) -> str:
    """One answer line. A template may fail in as many ways as a program can, so what it raises is told, not judged."""
    try:
        text = template.render(**given, documents=None, **variables)
    except (
        jinja2.exceptions.TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as fault:
        return json.dumps({"error": str(fault) or type(fault).__name__})
    except RecursionError:
        return json.dumps({"error": "the template calls itself without end"})
    except MemoryError:
        return json.dumps({"error": "the template asks for more memory than any text needs"})
    if len(text) > LONGEST_TEXT:
        return json.dumps({"error": f"the template wrote {len(text)} characters"})
    return json.dumps({"text": text})


if __name__ == "__main__":
    main()
