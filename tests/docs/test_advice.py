"""What `luthier explain WORD` advises can be typed: its commands, options and settings exist."""

import re
import shlex

import typer
from typer.exceptions import Exit

from luthier.cli.app import app
from luthier.knowledge.faults import ADVICE
from tests.docs.test_documented import (
    OVERRIDE,
    SETTING,
    STAND_INS,
    is_setting_or_section,
    key_is_known,
    parse,
)

SPAN = re.compile(r"`([^`]+)`")


def spans_of_remedies() -> list[tuple[str, str]]:
    return [(word, span) for word, advice in ADVICE.items() for span in SPAN.findall(advice.remedy)]


def options() -> set[str]:
    """Every option of every command."""
    found, waiting = set[str](), [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        found |= {option for parameter in command.params for option in parameter.opts}
        waiting += getattr(command, "commands", {}).values()
    return found


def test_every_command_that_is_advised_is_understood() -> None:
    commands = [(word, span) for word, span in spans_of_remedies() if span.startswith("luthier ")]
    for word, span in commands:
        words = shlex.split(span)[1:]
        try:
            parse(words)
        except Exit:  # --help
            pass
        except Exception as fault:
            if not str(fault).startswith("Missing parameter"):  # a command that is named, not typed
                raise AssertionError(f"{word}: {span}: {fault}") from fault
        overrides = [each for each in words if OVERRIDE.fullmatch(each) and each not in STAND_INS]
        assert all(key_is_known(each) for each in overrides), f"{word}: {span}"
    assert len(commands) >= 30


def test_every_setting_and_option_that_is_advised_exists() -> None:
    known = options()
    checked = 0
    for word, span in spans_of_remedies():
        first = span.split()[0].partition("=")[0]
        if span.startswith("--"):
            assert first in known, f"{word}: {span}"
        elif OVERRIDE.fullmatch(span) and "." in first:
            assert key_is_known(span), f"{word}: {span}"
        elif SETTING.fullmatch(span):
            assert is_setting_or_section(span), f"{word}: {span}"
        else:
            continue
        checked += 1
    assert checked >= 40
