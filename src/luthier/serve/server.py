"""Listen, answer, and stop gracefully: uvicorn on a socket that was bound before anything was loaded."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.log import Listener
from luthier.serve.app import Drain, make_app
from luthier.serve.engines.engine import Engine
from luthier.serve.hooks import Fittings
from luthier.serve.queue import Queue
from luthier.serve.settings import ServerSettings
from luthier.serve.wire import guarded_protocol

KEEP_ALIVE_S = 30
# Between the last answer and the end: what a client still reads.
LAST_BYTES_S = 5
TICK_S = 0.05
SEND_BUFFER_BYTES = 2**16


def refuse_open_bind(settings: ServerSettings, *, has_keys: bool, command: str) -> None:
    """Raise UsageError if the server would be open to other machines without asking for keys."""
    if settings.is_loopback or has_keys:
        return
    raise UsageError(
        "usage",
        f"{settings.host} lets other machines use the model, and no keys are asked for",
        where="serve.host",
        why="Whoever reaches the port could use the machine as they like.",
        fix="Make a key and ask for it:\n"
        "  luthier keys new NAME\n"
        f"  {command} serve.host={settings.host} serve.keys=keys.json",
    )


def bind(settings: ServerSettings) -> socket.socket:
    """A socket that listens at host and port. Raises EnvironmentFault (env-port) if it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small writes at once (TCP_NODELAY) only on sockets that name their protocol; on others a client waits some 40 ms
    # for the second piece of a stream, since the system holds it back until the first is acknowledged.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. The system's own would hold megabytes of a stream that nobody reads.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(128)
    except (OSError, OverflowError) as fault:
        listening.close()
        raise _port_fault(settings, fault) from fault
    listening.setblocking(False)
    return listening


def _port_fault(settings: ServerSettings, fault: OSError | OverflowError) -> EnvironmentFault:
    number = fault.errno if isinstance(fault, OSError) else None
    if number == errno.EADDRINUSE:
        what, fix = (
            "is taken by another program",
            f"Take another: serve.port={min(settings.port + 1, 65535)}; or any free one: serve.port=0",
        )
    elif number in (errno.EACCES, errno.EPERM):
        what, fix = "may only be used by the system", "Take one above 1023: serve.port=8000"
    else:
        what, fix = f"cannot be listened on: {fault}", "Name an address of this machine: serve.host=127.0.0.1"
    return EnvironmentFault(
        "env-port", f"port {settings.port} of {settings.host} {what}", where="serve.port", fix=fix
    )


def run_server(
    engine: Engine,
    settings: ServerSettings,
    fittings: Fittings,
    *,
    listening: socket.socket,
    listener: Listener,
    on_ready: Callable[[str], None],
) -> None:
    """Load the engine, then answer until SIGTERM or Ctrl-C; answers under way end first, new requests get 503 meanwhile."""
    with contextlib.closing(listening):
        asyncio.run(_serve(engine, settings, fittings, listening, listener, on_ready))


async def _serve(
    engine: Engine,
    settings: ServerSettings,
    fittings: Fittings,
    listening: socket.socket,
    listener: Listener,
    on_ready: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loading = asyncio.ensure_future(engine.start())
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({loading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()
            return
        loading.result()
        drain = Drain()
        app = make_app(engine, settings, fittings, drain)
        server = make_server(app, settings)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        on_ready(_address(listening))
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            drain.has_begun = True
            await _drain(app.state.works.queue, settings, listener)
            server.should_exit = True
        await serving
    finally:
        waiting.cancel()
        await engine.stop()
        for hook in fittings.hooks:
            await hook.close()


async def _drain(queue: Queue, settings: ServerSettings, listener: Listener) -> None:
    """Let what is under way end."""
    if queue.running or queue.waiting:
        listener.say(f"stopping: {queue.running} answers under way, {queue.waiting} requests waiting")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.drain_s):
            while queue.running or queue.waiting:
                await asyncio.sleep(TICK_S)


def make_server(app: Starlette, settings: ServerSettings) -> "Server":
    """uvicorn with the guarded protocol; `serve(sockets=[...])` runs it until `should_exit` is set."""
    # Its log would write lines of its own to standard output; ours has one a request, and faults go to standard error.
    logging.getLogger("uvicorn.access").disabled = True
    config = uvicorn.Config(
        app,
        http=guarded_protocol(settings.head_s, settings.most_connections),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=settings.most_head_bytes,
        limit_concurrency=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LAST_BYTES_S,
    )
    return Server(config)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the drain comes first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
