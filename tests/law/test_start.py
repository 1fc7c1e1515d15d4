"""`luthier --help` answers at once: nothing heavy is loaded until a command needs it."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "datasets",
    "numpy",
    "pydantic",
    "hydra",
    "omegaconf",
    "yaml",
    "rich",
    "jinja2",
)
TORCH_GROUND = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets")
TORCH_FREE = ("floor", "config", "reports", "knowledge", "measure", "tokens", "publish", "cli")
# CPU seconds, not wall time: other processes on the machine do not count. Measured: 0.13 s on one core of a 2020 server.
MOST_CPU_SECONDS = 0.4

HELP = """
import json, sys
from luthier.cli.app import run_command
assert run_command(["--help"]) == 0
print("LOADED " + json.dumps(sorted(sys.modules)))
"""
IMPORT_ALL = """
import importlib, json, pkgutil, sys
package = importlib.import_module("luthier." + sys.argv[1])
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print("LOADED " + json.dumps([names, sorted(sys.modules)]))
"""
CPU = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "luthier", "--help"], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("LOADED " + str(used.ru_utime + used.ru_stime))
"""


def run_python(code: str, *arguments: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("LOADED ")[2])


def test_help_loads_typer_and_the_floor_only() -> None:
    loaded = run_python(HELP)
    assert isinstance(loaded, list)
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("luthier.")}
    assert ours == {"luthier.cli", "luthier.floor"}


@pytest.mark.parametrize("package", TORCH_FREE)
def test_a_package_without_torch_does_not_load_it(package: str) -> None:
    found = run_python(IMPORT_ALL, package)
    assert isinstance(found, list)
    names, loaded = found
    assert names, f"luthier.{package} has modules"
    assert [name for name in loaded if name in TORCH_GROUND] == []


def test_help_takes_little_time() -> None:
    seconds = min(float(str(run_python(CPU))) for _ in range(3))
    assert seconds < MOST_CPU_SECONDS
