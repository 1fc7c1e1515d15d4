"""The files of a deployment: every one parses, names figures that /metrics has and routes that the server has, and holds no secret."""

import configparser
import json
import py_compile
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.cli.serve import RenderKind
from luthier.config.compose import load_overrides
from luthier.floor.errors import UsageError
from luthier.screen.secrets import find_secrets
from luthier.serve.app import Drain, make_app
from luthier.serve.hooks import Fittings
from luthier.serve.metrics import sample_names
from luthier.serve.render.files import FILES, KINDS, TITLES, Deployment, Kind, render, rendered

pytestmark = pytest.mark.slow
DEPLOYMENT = Deployment(
    "outputs/runs/latest/merge/model",
    settings=("serve.name=shop", "serve.port=1", "serve.queue.most_waiting=9"),
)
# What others export.
OTHERS = {"DCGM_FI_DEV_GPU_UTIL", "process_resident_memory_bytes"}
FIGURE = re.compile(r"\b(luthier_[a-z_]+|DCGM_[A-Z_]+|process_[a-z_]+)\b")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every file of every kind, by kind and name."""
    return {f"{kind}/{name}": text for kind in KINDS for name, text in rendered(kind, DEPLOYMENT).items()}


def test_every_kind_has_files_and_a_readme_that_says_what_to_do(texts: dict[str, str]) -> None:
    assert set(FILES) == set(TITLES) == set(KINDS) == {kind.value for kind in RenderKind}
    for kind in KINDS:
        assert "luthier keys new NAME" in texts[f"{kind}/README.md"]
        assert "[%" not in texts[f"{kind}/README.md"]
        starts = (
            "docker ",
            "mkdir ",
            "kubectl ",
            "sudo ",
            "modal ",
            "curl ",
            "cog ",
            "truss ",
            "luthier ",
            "cp ",
        )
        lines = texts[f"{kind}/README.md"].splitlines()
        assert [line for line in lines if line.startswith(starts)] == [], "commands are set apart"
        assert len([line for line in lines if line.startswith("    ")]) >= 3


def test_every_yaml_and_json_file_parses(texts: dict[str, str]) -> None:
    parsed = {
        name: list(yaml.safe_load_all(text))
        for name, text in texts.items()
        if name.endswith((".yaml", ".yml"))
    }
    parsed |= {name: json.loads(text) for name, text in texts.items() if name.endswith(".json")}
    assert len(parsed) >= 14
    assert all(parsed.values())
    assert [part["kind"] for part in parsed["k8s/luthier.yaml"]][:2] == ["Deployment", "Service"]


def test_every_program_compiles(texts: dict[str, str], tmp_path: Path) -> None:
    programs = {name: text for name, text in texts.items() if name.endswith(".py")}
    for name, text in programs.items():
        path = tmp_path / Path(name).name
        path.write_text(text)
        py_compile.compile(str(path), doraise=True)
    assert len(programs) == 2


def test_the_unit_is_one_that_systemd_takes(texts: dict[str, str], tmp_path: Path) -> None:
    unit = texts["systemd/luthier.service"]
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit)
    assert parser.sections() == ["Unit", "Service", "Install"]
    start = parser["Service"]["ExecStart"]
    assert start.startswith(
        "/opt/luthier/bin/luthier serve outputs/runs/latest/merge/model serve.host=127.0.0.1 serve.port=8000"
    )
    analyze = shutil.which("systemd-analyze")
    if analyze:
        path = tmp_path / "luthier.service"
        path.write_text(unit.replace("/opt/luthier/bin/luthier", "/bin/true"))
        done = subprocess.run(
            [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
        )
        assert "luthier.service" not in done.stderr, done.stderr


def test_every_figure_that_is_named_is_one_that_metrics_has(texts: dict[str, str]) -> None:
    named = {
        word
        for name, text in texts.items()
        if name.endswith((".yaml", ".yml", ".json"))
        for word in FIGURE.findall(text)
        if word != "luthier_keys"
    }
    assert len(named) >= 15
    assert named - OTHERS <= sample_names()
    scaling = texts["k8s/scaling.yaml"]
    assert all(word in scaling for word in ("luthier_queue_length", "0.99", "DCGM_FI_DEV_GPU_UTIL"))


def test_health_checks_point_at_routes_of_the_server(texts: dict[str, str]) -> None:
    class Facts:
        most_rows = 1

    class Engine:
        facts = Facts()

    settings: Any = type("Settings", (), {"most_running": 0, "most_waiting": 1, "wait_s": 1.0})()
    routes = {route.path for route in make_app(Engine(), settings, Fittings(), Drain()).routes}  # type: ignore[arg-type, attr-defined]
    probes = {
        probe
        for text in texts.values()
        for probe in re.findall(r"(?:GET |path: |endpoint: |:8000)(/[a-z0-9/]+)", text)
    }
    assert {"/health", "/ready", "/metrics"} <= probes
    assert probes - {"/v1", "/etc/traefik/latency"} <= routes | {"/var/lib/grafana/dashboards"}


def test_the_settings_in_the_files_are_settings(texts: dict[str, str]) -> None:
    """Those that are given, but for the ones that the files choose."""
    words = {
        word for text in texts.values() for word in re.findall(r"(?<![\w.])serve\.[a-z_.]+=[^\s\"'$%]+", text)
    }
    assert len({word.partition("=")[0] for word in words}) >= 5
    while words:
        together = {word.partition("=")[0]: word for word in words}
        load_overrides(list(together.values()), under={"model": {"name": "embedded"}})
        words -= set(together.values())
    assert "serve.name=shop" in texts["k8s/Dockerfile"]
    assert "serve.port=1 " not in texts["k8s/Dockerfile"]


def test_no_file_holds_a_secret_and_every_server_asks_for_keys(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if list(find_secrets(text))] == []
    commands = [text for text in texts.values() if "serve.host=0.0.0.0" in text]
    assert len(commands) >= 7
    assert all("serve.keys=" in text for text in commands)
    for kind in KINDS:
        assert kind == "replicate" or any(
            "serve.audit.path=" in text for name, text in texts.items() if name.startswith(kind)
        )


def test_files_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    kind: Kind = "systemd"
    written = render(kind, DEPLOYMENT, tmp_path / "deploy")
    assert {path.name for path in written} == {"luthier.service", "nginx-tls.conf", "README.md"}
    assert render(kind, DEPLOYMENT, tmp_path / "deploy") == written
    (tmp_path / "deploy" / "luthier.service").write_text("mine")
    with pytest.raises(UsageError, match="is there"):
        render(kind, DEPLOYMENT, tmp_path / "deploy")
    assert (tmp_path / "deploy" / "luthier.service").read_text() == "mine"


@pytest.mark.parametrize(
    "setting",
    [
        "serve.name=a b",
        "serve.name='x'",
        "serve.filter.patterns=[a]",
        "serve.name=$(id)",
        'serve.name="',
        "serve.name=a;b",
    ],
)
def test_what_would_have_to_be_quoted_is_refused(setting: str) -> None:
    for kind in KINDS:
        with pytest.raises(UsageError, match="cannot stand in the files"):
            rendered(kind, Deployment("m", settings=(setting,)))
