"""Write the files that bring a server somewhere: a container, several behind a balancer, a cluster, a unit of systemd, a host of GPUs.

Templates lie beside this file; the signs are [[ ]] and [% %], since Prometheus, Grafana and RunPod use braces themselves. No secret is
written: keys come from a file or a secret store that the README names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from luthier.floor.errors import UsageError
from luthier.floor.files import write_text
from luthier.serve.render.board import board

Kind = Literal["docker", "compose", "k8s", "systemd", "modal", "runpod", "replicate", "baseten"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TITLES: dict[Kind, str] = {
    "docker": "Luthier in a container",
    "compose": "Luthier behind a load balancer, with Prometheus and Grafana",
    "k8s": "Luthier on Kubernetes",
    "systemd": "Luthier as a service of this machine",
    "modal": "Luthier on Modal",
    "runpod": "Luthier on RunPod",
    "replicate": "Luthier on Replicate",
    "baseten": "Luthier on Baseten",
}
# What is written for each kind, and from which template.
FILES: dict[Kind, dict[str, str]] = {
    "docker": {"Dockerfile": "Dockerfile.j2"},
    "compose": {
        "Dockerfile": "Dockerfile.j2",
        "compose.yaml": "compose.yaml.j2",
        "haproxy-round-robin.cfg": "haproxy.cfg.j2",
        "haproxy-least-connections.cfg": "haproxy.cfg.j2",
        "traefik-latency.yaml": "traefik-latency.yaml.j2",
        "nginx-tls.conf": "nginx-tls.conf.j2",
        "prometheus.yml": "prometheus.yml.j2",
        "rules.yml": "rules.yml.j2",
        "grafana-source.yml": "grafana-source.yml.j2",
        "grafana-boards.yml": "grafana-boards.yml.j2",
    },
    "k8s": {
        "Dockerfile": "Dockerfile.j2",
        "luthier.yaml": "k8s.yaml.j2",
        "scaling.yaml": "k8s-scaling.yaml.j2",
        "monitoring.yaml": "k8s-monitoring.yaml.j2",
        "prometheus-rules.yml": "rules.yml.j2",
    },
    "systemd": {"luthier.service": "luthier.service.j2", "nginx-tls.conf": "nginx-tls.conf.j2"},
    "modal": {"modal_app.py": "modal_app.py.j2"},
    "runpod": {"Dockerfile": "Dockerfile.j2", "runpod.json": "runpod.json.j2"},
    "replicate": {"cog.yaml": "cog.yaml.j2", "predict.py": "predict.py.j2"},
    "baseten": {"Dockerfile": "Dockerfile.j2", "config.yaml": "truss.yaml.j2"},
}
WITH_BOARD: frozenset[Kind] = frozenset({"compose", "k8s"})
BALANCES = {
    "haproxy-round-robin.cfg": ("roundrobin", "Each replica in turn"),
    "haproxy-least-connections.cfg": ("leastconn", "To the replica with the fewest requests under way"),
}
# What stands in a command needs no quoting in a shell, in JSON, in YAML, in Python or in a unit of systemd.
PLAIN = re.compile(r"[A-Za-z0-9_.,:/@=+-]+")
# The files say these themselves.
OWN_SETTINGS = ("serve.host=", "serve.port=", "serve.keys=", "serve.audit.path=")


@dataclass(frozen=True)
class Deployment:
    """What is to be served elsewhere, and how."""

    target: str
    """As it is named here: a run's folder, a model's, a GGUF file, `embedded`."""
    port: int = 8000
    settings: tuple[str, ...] = ()
    """`serve.KEY=VALUE`, as on the command line."""

    @property
    def model(self) -> str:
        """Where it lies in a container: the folder or file is mounted at /model."""
        if self.target == "embedded":
            return self.target
        return f"/model/{Path(self.target).name}" if self.target.endswith(".gguf") else "/model"


def render(kind: Kind, deployment: Deployment, out: Path) -> list[Path]:
    """Write the files of a kind into `out`, each in one step; returns them.

    Raises UsageError if a setting cannot stand in a command as it is, or if a file that is there is another one.
    """
    texts = rendered(kind, deployment)
    taken = [name for name, text in texts.items() if _differs(out / name, text)]
    if taken:
        raise UsageError(
            "usage",
            f"{out / taken[0]} is there, and is not what would be written",
            where="--out",
            fix="Name another folder: --out deploy-2; or move the file away.",
        )
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def rendered(kind: Kind, deployment: Deployment) -> dict[str, str]:
    """The text of each file of a kind, by name."""
    templates = _templates()
    settings = _plain_settings(deployment.settings)
    facts: dict[str, Any] = {
        "kind": kind,
        "title": TITLES[kind],
        "target": deployment.target,
        "port": deployment.port,
        "model": deployment.model,
        "command": _command(deployment.model, "0.0.0.0", deployment.port, settings),
        "command_here": _command(str(Path(_plain(deployment.target))), "127.0.0.1", deployment.port, settings)
        if kind == "systemd"
        else "",
    }
    texts = {}
    for name, template in FILES[kind].items():
        balance, told = BALANCES.get(name, ("", ""))
        text = templates.get_template(template).render(**facts, balance=balance, balance_told=told)
        texts[name] = text.rstrip("\n") + "\n"
    if kind in WITH_BOARD:
        texts["board.json"] = board() + "\n"
    texts["README.md"] = templates.get_template("README.md.j2").render(**facts).rstrip("\n") + "\n"
    return texts


def _command(model: str, host: str, port: int, settings: Sequence[str]) -> str:
    return " ".join(
        ["luthier", "serve", _plain(model), f"serve.host={host}", f"serve.port={port}", *settings]
    )


def _plain_settings(settings: Sequence[str]) -> list[str]:
    return [_plain(setting) for setting in settings if not setting.startswith(OWN_SETTINGS)]


def _plain(word: str) -> str:
    if PLAIN.fullmatch(word):
        return word
    raise UsageError(
        "usage",
        f"{word!r} cannot stand in the files as it is: letters, digits and _ . , : / @ = + - can",
        where="the command line",
        fix="Put the setting into the recipe of the run that is served, or give the folder a plain name.",
    )


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") != text
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True


def _templates() -> Any:
    import jinja2

    # What is filled in is plain words of ours: nothing here is a page.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[##",
        comment_end_string="##]",
        keep_trailing_newline=True,
        trim_blocks=True,
    )
