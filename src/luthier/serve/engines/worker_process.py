"""A process that speaks JSON lines, seen from the event loop: started, listened to, ended; and started anew when it dies."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

# A prompt of a million ids is a line of eight megabytes.
LONGEST_LINE = 64 * 2**20
SECONDS_TO_END = 5.0


class WorkerProcess:
    """One run of a Python module as a worker. Nothing of the environment's secrets is needed there, so none is handed on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout

    @classmethod
    async def start(cls, module: str, specification: Mapping[str, Any]) -> "WorkerProcess":
        """Start `python -m module` and hand it its specification as the first line."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the server, which lets the answers under way end
        )
        worker = cls(process)
        worker.tell(specification)
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send one line. A worker that has died takes it without a word: `lines` ends then."""
        if not self._in.is_closing():
            self._in.write(json.dumps(order).encode() + b"\n")

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, until it ends."""
        while line := await self._out.readline():
            if line.endswith(b"\n"):
                yield json.loads(line)

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        return await self._process.wait()

    async def end(self) -> None:
        """Close its input and wait a little; what does not end then is killed, with all that it started."""
        if self._process.returncode is not None:
            return
        self._in.close()
        try:
            async with asyncio.timeout(SECONDS_TO_END):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


# What a Python needs to find its libraries and devices; tokens and keys of the environment stay with the server.
_KEPT: Sequence[str] = (
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "COVERAGE_PROCESS_START",
)  # fmt: skip


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # A model's files are all here: nothing a worker does may ask the network.
    return kept | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
