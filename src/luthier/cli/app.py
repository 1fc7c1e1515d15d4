"""The command line: which verbs there are, and how every fault leaves the program.

Each verb is a file of its own and imports its stage inside its body, so that `luthier --help` loads neither torch nor
transformers. Only this file turns errors into messages and exit codes.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperGroup

from luthier.cli.advise import advise
from luthier.cli.audit import audit
from luthier.cli.bench import bench
from luthier.cli.chat import chat
from luthier.cli.compare import compare
from luthier.cli.data import data
from luthier.cli.demo import demo
from luthier.cli.doctor import doctor
from luthier.cli.env import env
from luthier.cli.evaluate import evaluate
from luthier.cli.explain import explain
from luthier.cli.export import export
from luthier.cli.keys import keys
from luthier.cli.merge import merge
from luthier.cli.output import show_json, tell
from luthier.cli.plan import plan
from luthier.cli.prepare import prepare
from luthier.cli.publish import publish
from luthier.cli.recipe import recipe
from luthier.cli.runs import runs
from luthier.cli.serve import serve
from luthier.cli.train import train
from luthier.cli.validate import validate
from luthier.cli.verify import verify
from luthier.floor.errors import Interrupted, LuthierError, UsageError
from luthier.floor.secrets import hide_secrets

OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h
ORDER = (
    "demo",
    "doctor",
    "data",
    "recipe",
    "validate",
    "plan",
    "prepare",
    "train",
    "eval",
    "compare",
    "merge",
    "export",
    "advise",
    "verify",
    "chat",
    "serve",
    "keys",
    "audit",
    "publish",
    "runs",
    "bench",
    "env",
    "explain",
)
# On CPUs with AVX512-BF16 it warns, when PEFT imports it, that a kernel is not there which nobody asked for.
TALKS_AT_IMPORT = "bitsandbytes.backends.cpu.ops"

# typer raises the faults of a command line as a class that it does not export: the parent of BadParameter's parent.
_CommandLineFault: type[Exception] = typer.BadParameter.__mro__[2]


class _InOrderOfWork(TyperGroup):
    """Lists the verbs in the order in which a person needs them; typer alone puts groups last."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="luthier",
    cls=_InOrderOfWork,
    help="Trains language models from base models: prepare, train, judge against the base, merge.",
    epilog="Exit codes: docs/reference/exit-codes.md. What a fault word means: luthier explain WORD.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"luthier {version('luthier')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code a fault arose; so does LUTHIER_DEBUG=1.")
    ] = False,
) -> None:
    """Trains language models from base models: prepare, train, judge against the base, merge."""


app.command("demo", short_help="Prepare, train and judge on a bundled task.")(demo)
app.command("doctor", short_help="Say what the machine has and lacks.")(doctor)
app.add_typer(data, name="data")
app.command("validate", short_help="Judge a recipe; nothing is loaded.")(validate)
app.add_typer(recipe, name="recipe")
app.command("plan", short_help="Foresee memory, time and disk of a recipe.")(plan)
app.command("prepare")(prepare)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("compare", short_help="Compare a run with its base or with another run.")(compare)
app.command("merge")(merge)
app.add_typer(export, name="export")
app.command("verify", short_help="Hold a file or a server against a run's model.")(verify)
app.add_typer(advise, name="advise")
app.command("chat")(chat)
app.command("serve")(serve)
app.add_typer(keys, name="keys")
app.add_typer(audit, name="audit")
app.command("publish", short_help="Publish a run on the Hugging Face hub.")(publish)
app.command("runs")(runs)
app.add_typer(bench, name="bench")
app.add_typer(env, name="env")
app.command("explain", short_help="Explain the word of a fault, a setting, or a topic.")(explain)


def main() -> None:
    """The program `luthier`: run the command line and leave with its exit code."""
    # A stream that was closed by whoever started us is None in Python; what it would have shown goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code, having shown every fault as the reader asked for it."""
    words = [word for word in arguments if word != "--debug"]  # wherever it stands, not only before the verb
    is_debug = len(words) < len(arguments) or os.environ.get("LUTHIER_DEBUG", "") not in ("", "0")
    as_json = "--json" in words
    logging.getLogger(TALKS_AT_IMPORT).setLevel(logging.ERROR)
    try:
        command = typer.main.get_command(app)
        code = command.main(words, prog_name="luthier", standalone_mode=False)
        return _interrupted(as_json) if code == Interrupted.exit_code else int(code or 0)
    except LuthierError as fault:
        return _leave(fault, as_json=as_json, is_debug=is_debug)
    except _CommandLineFault as fault:
        return _leave(_usage_error(fault), as_json=as_json, is_debug=is_debug)
    except KeyboardInterrupt:
        return _interrupted(as_json)
    except SystemExit:  # typer's way to leave when the reader of its help is gone
        return 0
    except Exception as fault:  # the one place that catches everything: here it becomes a message and a code
        from luthier.cli.faults import as_user_fault

        known = as_user_fault(fault)
        if known is not None:
            return _leave(known, as_json=as_json, is_debug=is_debug)
        return _leave_by_our_fault(fault, as_json=as_json, is_debug=is_debug)


def _leave(fault: LuthierError, *, as_json: bool, is_debug: bool) -> int:
    if is_debug:
        _tell_traceback(fault)
    tell(fault.render())
    if as_json:
        show_json(fault.as_json())
    return fault.exit_code


def _tell_traceback(fault: Exception) -> None:
    import traceback

    tell(hide_secrets("".join(traceback.format_exception(fault)).rstrip()))


def _interrupted(as_json: bool) -> int:
    what = "interrupted; what was saved before is untouched"
    return _leave(Interrupted("interrupted", what), as_json=as_json, is_debug=False)


def _usage_error(fault: Exception) -> UsageError:
    context = fault.ctx  # type: ignore[attr-defined]
    command = context.command_path if context else "luthier"
    what = fault.format_message()  # type: ignore[attr-defined]
    if what.startswith("Usage:"):  # no argument at all: typer raises the whole help
        tell(what + "\n")
        what = f"{command} needs a command"
    return UsageError("usage", what, where="the command line", fix=f"See: {command} --help")


def _leave_by_our_fault(fault: Exception, *, as_json: bool, is_debug: bool) -> int:
    what = hide_secrets(f"{type(fault).__name__}: {fault}")
    if is_debug:
        _tell_traceback(fault)
    tell(f"error[internal]: {what}")
    tell("  This is a fault of Luthier, not yours.")
    if not is_debug:
        tell("For the place in the code, repeat the command with --debug, and report what it prints.")
    if as_json:
        error = {"code": "internal", "what": what, "where": "", "why": "", "fix": "", "problems": []}
        show_json({"error": {**error, "exit_code": OUR_FAULT}})
    return OUR_FAULT
