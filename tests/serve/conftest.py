"""A real engine for every test of the server: one process with the embedded base and an adapter over it, and servers before it on loopback."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config.method import LoraMethod
from luthier.config.serve import ServeConfig
from luthier.floor.rundir import RunDir
from luthier.knowledge.model_folder import find_model
from luthier.modelling.adapters import add_adapter, save_trained
from luthier.modelling.load import load_base
from luthier.serve.app import Drain, make_app
from luthier.serve.engines.own import OwnEngine
from luthier.serve.hooks import Fittings
from luthier.serve.server import bind, make_server
from luthier.serve.settings import ServerSettings
from luthier.serve.subject import find_served
from luthier.text.tokenizer import load_tokenizer
from tests.export.finished_run import write_train_report

TUNED, BASE = "2026-01-01_00-00-00", "base"


class Loop:
    """An event loop in a thread, for servers that outlive a test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return done.result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: tuple[str, int]
    drain: Drain
    works: Any

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"


Start = Callable[..., Any]


def make_adapter_run(folder: Path, *, seed: int = 2, spread: float = 0.02) -> RunDir:
    """A finished run whose adapter differs from the embedded base by random weights."""
    run = RunDir(folder)
    base = find_model("embedded")
    model = load_base(base, dtype=torch.float32, device=torch.device("cpu"), attention="sdpa")
    adapted = add_adapter(model, LoraMethod(rank=4, alpha=8, dropout=0.0), seed=1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    save_trained(adapted, load_tokenizer(base), run.model)
    write_train_report(run, "lora", base)
    run.config_used.write_text("model:\n  name: embedded\nmethod:\n  kind: lora\n", encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


@pytest.fixture(scope="session")
def adapter_run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_adapter_run(tmp_path_factory.mktemp("serve") / TUNED)


@pytest.fixture(scope="session")
def engine(loop: Loop, adapter_run: RunDir) -> Iterator[OwnEngine]:
    """The own generator over the run: its adapter, and its base beside it."""
    config = ServeConfig(threads=1)
    found = OwnEngine(find_served(str(adapter_run.path), config).for_own(config, device="cpu"))
    loop.run(found.start())
    yield found
    loop.run(found.stop())


@pytest.fixture(scope="session")
def start(loop: Loop, engine: OwnEngine) -> Start:
    """A server over the shared engine, with other settings and fittings where a test wants them."""

    @contextmanager
    def started(fittings: Fittings | None = None, **changes: Any) -> Iterator[Running]:
        settings = replace(ServerSettings.of(ServeConfig(port=0)), **changes)
        listening, drain = bind(settings), Drain()
        app = make_app(engine, settings, fittings or Fittings(), drain)
        server = make_server(app, settings)
        serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listening]), loop.loop)
        address = listening.getsockname()[:2]
        try:
            yield Running(address, drain, app.state.works)
        finally:
            server.should_exit = True
            serving.result(20)

    return started


@pytest.fixture(scope="session")
def server(start: Start) -> Iterator[Running]:
    """One server with the usual settings."""
    with start() as running:
        yield running
