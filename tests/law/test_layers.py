"""Imports point down the layers of the design, inside functions too; the contracts are in pyproject.toml."""

import tomllib

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.law.source import ROOT

STAGE_LINE = "data | plan | train | evaluate | export | serve | publish | (watch)"


def test_every_contract_is_kept() -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_logo=True)
    assert status == EXIT_STATUS_SUCCESS


def test_the_layers_are_those_of_the_design() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert len(contracts) == 4
    assert contracts[0]["layers"] == [
        "cli",
        STAGE_LINE,
        "encoding",
        "text | tokens | modelling | measure | screen | llamacpp",
        "knowledge",
        "config | reports",
        "floor",
    ]
    assert contracts[0]["exhaustive"], "a new package must be given its line"
