"""`luthier chat`: talk with a model in the terminal."""

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson
from luthier.cli.server_key import KeyFrom, key_of

if TYPE_CHECKING:
    from luthier.cli.screen import Screen
    from luthier.serve.talk import Answer, Partner, Question

BASE = "base"
GAP = "   "
Target = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|FOLDER|URL] [serve.KEY=VALUE]...",
        help="Whom to talk with: a run, a model or adapter folder, a GGUF file, `embedded`, a hub id, or the address of a server; "
        "without one, the newest finished run.",
        show_default=False,
    ),
]
System = Annotated[
    str | None,
    typer.Option("--system", metavar="TEXT", help="What the model is told first.", show_default=False),
]
Temperature = Annotated[
    float,
    typer.Option("--temperature", min=0, max=2, help="0 takes the likeliest token, as eval does."),
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", min=1, max=2**20, help="The longest answer, in tokens.")
]
PromptText = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", help="Ask this one question and end.", show_default=False),
]
Both = Annotated[bool, typer.Option("--both", help="Ask the tuned model and its base, and show both.")]


def chat(
    words: Target = None,
    system: System = None,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    prompt: PromptText = None,
    both: Both = False,
    key_from: KeyFrom = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a model; what is piped in is asked line by line.

    /ids shows what the model read at the last question, /quit or the end of the input ends. Ctrl-C ends an answer.
    """
    from luthier.cli.output import show_json
    from luthier.cli.screen import Screen
    from luthier.floor.errors import UsageError
    from luthier.serve.extra import require_server

    if as_json and prompt is None:
        raise UsageError(
            "usage",
            "--json has one answer to give, so it needs --prompt",
            fix="luthier chat --prompt TEXT --json",
        )
    require_server()
    screen = Screen()
    partner = find_partner(words, key_from, screen)
    try:
        talk = Talk(partner, system, temperature, max_tokens, both=both)
        if as_json:
            answers = talk.ask(str(prompt), lambda text: None)
            return show_json({"answers": [vars(answer) for answer in answers]})
        if prompt is not None:
            return show_answers(talk, prompt, screen)
        return converse(talk, screen)
    finally:
        partner.close()


class Talk:
    """A conversation with one model, or with two at once, each remembering its own answers."""

    def __init__(
        self, partner: "Partner", system: str | None, temperature: float, max_tokens: int, *, both: bool
    ) -> None:
        self.partner = partner
        self.models = _both(partner) if both else partner.models[:1]
        self._start = ({"role": "system", "content": system},) if system else ()
        self._said: dict[str, tuple[dict[str, str], ...]] = dict.fromkeys(self.models, self._start)
        self._temperature, self.most_new_tokens = temperature, max_tokens
        self.last: tuple[Question, ...] = ()

    def ask(self, text: str, say: "Callable[[str], None]") -> "list[Answer]":
        """Ask every model; a question that was not answered to its end is forgotten."""
        from luthier.serve.talk import Question

        asked = {"role": "user", "content": text}
        self.last = tuple(
            Question(model, (*self._said[model], asked), self._temperature, self.most_new_tokens)
            for model in self.models
        )
        answers = [self.partner.answer(question, say) for question in self.last]
        if self.partner.remembers:
            for question, answer in zip(self.last, answers, strict=True):
                reply = {"role": "assistant", "content": answer.text}
                self._said[question.model] = (*question.messages, reply)
        return answers


def find_partner(words: Sequence[str] | None, key_from: str | None, screen: "Screen") -> "Partner":
    """The model or server that was named. Raises UsageError, and what loading or reaching it raises."""
    from luthier.cli.serve import recipe_to_serve, serve_target
    from luthier.floor.errors import UsageError
    from luthier.serve.talk import OwnModel, Server

    if words and words[0].startswith(("http://", "https://")):
        if len(words) > 1:
            raise UsageError(
                "usage", f"{words[1]}: a server that runs already takes no settings", where="the command line"
            )
        return Server(words[0], key_of(key_from))
    target, overrides = serve_target(words, screen)
    resolved = recipe_to_serve(target, overrides)
    for warning in resolved.warnings:
        screen.warn(warning)
    return OwnModel(target, resolved.recipe, screen)


def converse(talk: Talk, screen: "Screen") -> None:
    """Ask what is typed or piped in, until it ends. A fault in a terminal is told, and the talk goes on; elsewhere it ends it."""
    from luthier.floor.errors import LuthierError

    is_terminal = sys.stdin.isatty()
    screen.say(f"talking with {' and '.join(talk.models)}; /ids shows what the model read, /quit ends")
    if not talk.partner.remembers:
        screen.say("it was trained on single prompts: every question stands by itself")
    for line in typed_lines() if is_terminal else piped_lines():
        if line == "/quit":
            return
        try:
            show_ids(talk) if line == "/ids" else show_answers(talk, line, screen)
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            screen.say("\nended; the question is forgotten")
        except LuthierError as fault:
            if not is_terminal:
                raise
            screen.say(fault.render())


def show_answers(talk: Talk, text: str, screen: "Screen") -> None:
    """The answer as it comes; of two models, both once they are whole."""
    from luthier.cli.output import show, show_part

    is_one = len(talk.models) == 1
    pieces = 0

    def count(part: str) -> None:
        """Two answers stand beside each other, so both must be whole first; that they come is seen."""
        nonlocal pieces
        pieces += 1
        screen.progress("answering", pieces, talk.most_new_tokens * len(talk.models), "tokens at most")

    answers = talk.ask(text, show_part if is_one else count)
    screen.close()
    show("" if is_one else side_by_side(answers, width=shutil.get_terminal_size().columns))
    for answer in answers:
        if answer.finish == "length":
            screen.say(
                f"{answer.model} was cut off after {answer.completion_tokens} tokens; for more: --max-tokens"
            )


def show_ids(talk: Talk) -> None:
    """What each model read at the last question, as text and as ids."""
    from luthier.cli.output import show

    if not talk.last:
        return show("Nothing was asked yet.")
    for question in talk.last:
        read = talk.partner.rendered(question)
        if read is None:
            return show("A server keeps that to itself; to see it: luthier chat RUN")
        show(f"{question.model} read {len(read.ids)} tokens\n{read.text}\n{' '.join(map(str, read.ids))}")
    return None


def side_by_side(answers: "Sequence[Answer]", *, width: int) -> str:
    """The answers in columns, under the names of who gave them."""
    column = max(20, (width - len(GAP) * (len(answers) - 1)) // len(answers))
    columns = [
        [answer.model, "-" * min(column, len(answer.model)), *_wrapped(answer.text, column)]
        for answer in answers
    ]
    height = max(map(len, columns))
    rows = zip(*(lines + [""] * (height - len(lines)) for lines in columns), strict=True)
    return "\n".join(GAP.join(line.ljust(column) for line in row).rstrip() for row in rows)


def typed_lines() -> Iterator[str]:
    """What is typed, with the editing that the terminal's library gives, until Ctrl-D or Ctrl-C."""
    with contextlib.suppress(ImportError):  # not on every system
        import readline  # noqa: F401
    while True:
        try:
            line = typer.prompt("", default="", show_default=False, prompt_suffix="> ").strip()
        except typer.Abort:
            return
        if line:
            yield line


def piped_lines() -> Iterator[str]:
    """What is piped in. Raises DataError on a line that is not UTF-8."""
    from luthier.floor.errors import DataError

    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as fault:
            raise DataError(
                "data-enc", f"the line is not UTF-8: {fault.reason}", where=f"standard input:{number}"
            ) from fault
        if text:
            yield text


def _both(partner: "Partner") -> tuple[str, ...]:
    from luthier.floor.errors import UsageError

    if BASE in partner.models and partner.models[0] != BASE:
        return (partner.models[0], BASE)
    raise UsageError(
        "usage",
        f"there is no base beside {partner.models[0]}",
        where="--both",
        why="A base is loaded beside an adapter over it, and of nothing else.",
        fix="Name a run that trained an adapter: luthier runs",
    )


def _wrapped(text: str, width: int) -> list[str]:
    return [piece for line in text.splitlines() for piece in textwrap.wrap(line, width) or [""]]
