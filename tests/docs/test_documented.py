"""What the docs say can be typed: every command, setting, target, link and code in them is held against the program.

`python -m tests.docs.test_documented` writes the table of fault words in docs/reference/exit-codes.md anew.
"""

import importlib
import pkgutil
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

import luthier.reports
from luthier.cli.app import app
from luthier.config.compose import load_recipe
from luthier.config.dialects import GUIDE
from luthier.config.fields import section_names, settings
from luthier.config.overrides import Override, parse_overrides
from luthier.floor import errors
from luthier.floor.errors import FAULTS, LuthierError
from luthier.knowledge.faults import exit_code_of
from luthier.reports.survey import SampleRow
from tests.docs.pages import ROOT, CommandLine, command_lines, links, page, pages, spans, table_rows

EXIT_CODES = "docs/reference/exit-codes.md"
TABLE_HEAD = "| word | exit code | meaning |\n| --- | --- | --- |\n"
SETTING = re.compile(r"(model|data|method|train|evaluate|merge|verify|serve|publish)(\.[a-z][a-z_0-9]*)+")
FILE_ENDINGS = (".jsonl", ".yaml", ".md", ".py", ".json")
OVERRIDE = re.compile(r"[~+]{0,2}[a-z][a-z_0-9.]*=\S+")
# Words that stand for whatever the reader has there.
# The last one is wrong on purpose: the README shows what becomes of it.
STAND_INS = {"KEY=VALUE", "key=value", "train.lrr=1e-4"}


def program_lines() -> list[CommandLine]:
    return [line for line in command_lines() if Path(line.words[0]).name == "luthier"]


def parse(words: list[str]) -> None:
    """Hold the words against the real command line; nothing is run. Raises what typer raises."""
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None):
        if not words or words[0].startswith("-"):
            return
        verb, words = words[0], words[1:]
        assert verb in command.commands, f"there is no command {verb}"
        command = command.commands[verb]
    command.make_context(command.name, [*words])


def overrides_of(line: CommandLine) -> list[str]:
    """The settings that a command line overrides."""
    # What stands behind these is FIELD=NAME of a file, and FIGURE=MOST of a level.
    words = [word for before, word in pairwise(line.words) if before not in ("--columns", "--at-most")]
    return [word for word in words if ("=" in word or word[0] == "~") and not word.startswith("-")]


def key_is_known(word: str) -> bool:
    """Whether an override is well formed and names a setting."""
    overrides, problems = parse_overrides([word])
    return not problems and all(_is_setting(override) for override in overrides)


def _is_setting(override: Override) -> bool:
    return override.key in settings() or override.key in GUIDE


def is_setting_or_section(name: str) -> bool:
    return name in settings() or name in section_names()


def test_every_fenced_block_says_what_it_is() -> None:
    """Without a language a block is not looked into."""
    known = ("sh", "console", "yaml", "json", "text")
    for each in pages():
        assert each.text.count("\n```") == 2 * len(each.blocks(*known)), each.name
    assert sum(len(each.blocks(*known)) for each in pages()) >= 30


def test_every_luthier_command_in_the_docs_is_understood() -> None:
    lines = program_lines()
    for line in lines:
        try:
            parse(list(line.words[1:]))
        except Exception as fault:
            raise AssertionError(f"{line}: {fault}") from fault
    assert len(lines) >= 70
    assert len({line.words[1] for line in lines if len(line.words) > 1}) >= 11, (
        "a command is not shown at all"
    )


def test_a_command_that_is_not_there_would_be_found() -> None:
    for wrong in (
        ["rehearse"],
        ["train", "--rnu", "DIR"],
        ["recipe", "list"],
        ["explain"],
        ["runs", "A"],
    ):
        with pytest.raises(Exception, match=r"no command|No such option|Missing|extra argument"):
            parse(wrong)
    assert not key_is_known("train.lrr=1")


def test_every_override_in_the_docs_is_a_setting() -> None:
    words = [(line.page, word) for line in program_lines() for word in overrides_of(line)]
    words += [(each.name, span) for each in pages() for span in spans(each) if OVERRIDE.fullmatch(span)]
    words = [(name, word) for name, word in words if word not in STAND_INS]
    assert [pair for pair in words if not key_is_known(pair[1])] == []
    assert len(words) >= 25


def test_every_dotted_name_in_the_docs_is_a_setting_or_a_section() -> None:
    names = [(each.name, span) for each in pages() for span in spans(each) if SETTING.fullmatch(span)]
    names = [(where, name) for where, name in names if not name.endswith(FILE_ENDINGS)]
    assert [pair for pair in names if not is_setting_or_section(pair[1])] == []
    assert len(names) >= 150


def test_every_recipe_in_the_docs_is_valid(tmp_path: Path) -> None:
    blocks = [block for each in pages() for block in each.blocks("yaml")]
    for number, block in enumerate(blocks):
        path = tmp_path / f"recipe{number}.yaml"
        path.write_text(block, encoding="utf-8")
        resolved = load_recipe(path, under={"model": {"name": "embedded"}})
        assert any(origin.startswith(resolved.source) for origin in resolved.origins.values())
    assert len(blocks) >= 2


def test_every_make_target_in_the_docs_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"\$[({]?([A-Z_]+)\b", makefile)) | {"TORCH_INDEX"}
    words = [
        (line.page, word) for line in command_lines() if line.words[0] == "make" for word in line.words[1:]
    ]
    named = [pair for pair in words if "=" not in pair[1]]
    set_on_the_line = [pair for pair in words if "=" in pair[1]]
    assert [pair for pair in named if pair[1] not in targets] == []
    assert [pair for pair in set_on_the_line if pair[1].partition("=")[0] not in variables] == []
    assert len(named) >= 28


def test_the_readme_has_the_labs_commands_in_their_order() -> None:
    typed = [" ".join(line.words) for line in command_lines() if line.page == "README.md"]
    lab = [
        "make venv",
        "source .venv/bin/activate",
        "make install",
        "make convert",
        "make train",
        "make eval",
        "make eval-baseline",
    ]
    lab += ["make merge", "make compare", "tensorboard --logdir outputs/runs/latest/logs"]
    assert [line for line in typed if line in lab][: len(lab)] == lab
    assert typed[:2] == ["make demo", "make test"]


def test_every_relative_link_leads_to_a_file() -> None:
    found = [(each, target) for each in pages() for target in links(each)]
    broken = [
        f"{each.name}: {target}"
        for each, target in found
        if not (ROOT / each.name).parent.joinpath(target).exists()
    ]
    assert broken == []
    assert len(found) >= 30
    for each in pages():
        if each.name.startswith("docs/") and each.name != "docs/index.md":
            assert each.name.removeprefix("docs/") in links(page("docs/index.md")), (
                f"{each.name} is not in the index"
            )


def test_every_exit_code_is_documented() -> None:
    classes = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LuthierError)
    ]
    codes = {kind.exit_code for kind in classes} | {0}
    assert len(codes) == 11
    for name in (EXIT_CODES, "README.md"):
        documented = {int(row[0]) for row in table_rows(page(name)) if row[0].isdigit()}
        assert documented == codes, name


def test_every_fault_word_is_documented() -> None:
    renew = "renew the table: python -m tests.docs.test_documented"
    assert page(EXIT_CODES).text.partition(TABLE_HEAD)[2] == fault_table(), renew
    assert fault_table().count("\n") == len(FAULTS) > 60


def report_models() -> list[type[BaseModel]]:
    """Every model of every module of luthier.reports but the rows of a page, which are in no --json."""
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(luthier.reports.__path__, "luthier.reports.")
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [
        model
        for model in dict.fromkeys(found)
        if issubclass(model, BaseModel) and model not in (BaseModel, SampleRow)
    ]


def test_every_key_of_a_report_is_documented() -> None:
    documented = {word for span in spans(page("docs/reference/cli.md")) for word in span.split()}
    keys = {name for report in report_models() for name in report.model_fields}
    assert sorted(keys - documented) == []
    assert len(keys) >= 80


def fault_table() -> str:
    """The rows of the table of fault words, from the registry."""
    return "".join(f"| `{word}` | {exit_code_of(word)} | {meaning} |\n" for word, meaning in FAULTS.items())


if __name__ == "__main__":
    path = ROOT / EXIT_CODES
    head, _, _ = path.read_text(encoding="utf-8").partition(TABLE_HEAD)
    path.write_text(head + TABLE_HEAD + fault_table(), encoding="utf-8")
