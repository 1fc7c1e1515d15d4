"""Encode many texts on every core: a few at once by the threads of the tokenizer, many by processes of one thread each.

What comes out is the same either way, in the order asked for. Processes are started when the texts are many enough to earn
back their start; encode_worker.py says why they are faster. Axes: N texts, T tokens of all of them end to end.
"""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from luthier.floor.errors import EnvironmentFault
from luthier.text import encode_worker
from luthier.text.encode_journal import EncodeJournal
from luthier.text.encode_memory import Encoder
from luthier.text.encode_worker import CONTROL_TOKENS, COUNT, HEADER, OFFSETS

WORKER = Path(encode_worker.__file__)
# Reading, masks and writing are one process: it takes a third of all the work, so more than four would wait for it. A worker
# takes some 130 MB once it remembers many words.
MOST_WORKERS = 4
# Some one second of work for one core; a worker takes half a second to start (a vocabulary of 128 k tokens).
CHARACTERS_BEFORE_WORKERS = 2**23
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TZ", "HOME")


@dataclass(frozen=True)
class EncodedTexts:
    """N texts end to end; `offsets_T2` (first character, one past the last) only where asked for."""

    ids_T: npt.NDArray[np.uint32]
    lengths_N: npt.NDArray[np.int64]
    offsets_T2: npt.NDArray[np.int32] | None = None

    def each(self) -> Iterator[npt.NDArray[np.uint32]]:
        """The ids of each text."""
        ends = np.cumsum(self.lengths_N)
        for start, end in zip((ends - self.lengths_N).tolist(), ends.tolist(), strict=True):
            yield self.ids_T[start:end]

    def each_with_ends(self) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]]:
        """Of each text the ids, and one past the last character of each token."""
        assert self.offsets_T2 is not None, "offsets were not asked for"
        at = 0
        for ids in self.each():
            yield ids, self.offsets_T2[at : at + len(ids), 1]
            at += len(ids)


class EncodePool:
    """Encodes with one tokenizer. Close it, or use it as a context manager: its processes end then.

    `workers` is how many processes may be started: one a core by default, none if there is one core. `journal` keeps the tokens
    of all but the first texts, which are encoded in seconds.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        workers: int | None = None,
        journal: EncodeJournal | None = None,
        characters_before_workers: int = CHARACTERS_BEFORE_WORKERS,
    ) -> None:
        self._tokenizer = tokenizer
        self._encoder = Encoder(tokenizer)
        self._journal = journal
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._most_workers = min(cores, MOST_WORKERS) if workers is None else workers
        self._characters_before_workers = characters_before_workers
        self._characters = 0
        self._threads: ThreadPoolExecutor | None = None
        self._workers: list[_Worker] = []
        self._own = threading.local()

    @property
    def parallel_blocks(self) -> int:
        """How many calls of `encode` should be under way at once to keep every process busy."""
        return len(self._workers) + 1 if self._workers else 1

    def encode(
        self, texts: Sequence[str], *, control_tokens: bool = False, offsets: bool = False
    ) -> Future[EncodedTexts]:
        """Begin to encode each text by itself, nothing put before or after it.

        With `control_tokens`, `<|im_end|>` and the like become control tokens: only for texts that a template wrote.
        The result raises EnvironmentFault if a process was ended, for want of memory as a rule.
        """
        flags = CONTROL_TOKENS * control_tokens | OFFSETS * offsets
        self._characters += sum(map(len, texts))
        is_much = self._characters > self._characters_before_workers
        if is_much and not self._threads and self._most_workers > 1:
            self._threads = ThreadPoolExecutor(self._most_workers, initializer=self._adopt_worker)
        if self._threads:
            return self._threads.submit(self._ask_worker, texts, flags)
        done: Future[EncodedTexts] = Future()
        journal = self._journal if is_much else None
        done.set_result(_answer(texts, flags, journal, partial(_encode_here, self._encoder)))
        return done

    def close(self) -> None:
        """End the processes; what is still under way is given up."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        if self._threads:
            self._threads.shutdown(wait=True)
        self._threads, self._workers = None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _adopt_worker(self) -> None:
        """Each thread feeds a process of its own, so that requests and answers never wait for each other in a pipe."""
        try:
            worker = _Worker(self._tokenizer.to_str().encode())
        except (
            OSError
        ):  # a machine that allows no more processes: the thread does the work, with a tokenizer of its own
            self._own.ask = partial(_encode_here, Encoder(Tokenizer.from_str(self._tokenizer.to_str())))
        else:
            self._workers.append(worker)
            self._own.ask = worker.ask

    def _ask_worker(self, texts: Sequence[str], flags: int) -> EncodedTexts:
        return _answer(texts, flags, self._journal, self._own.ask)


class _Worker:
    """A process and its two pipes."""

    def __init__(self, tokenizer: bytes) -> None:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        one_thread = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=kept | one_thread,
            start_new_session=True,  # Ctrl-C is for us: the block in hand is finished or given up here
        )
        self._send([COUNT.pack(len(tokenizer)), tokenizer])

    def ask(self, request: list[bytes]) -> bytes:
        """The answer to a request. Raises EnvironmentFault if the process is gone."""
        flags, texts, _ = HEADER.unpack(request[0])
        self._send(request)
        head = self._receive(COUNT.size)
        (tokens,) = COUNT.unpack(head)
        return head + self._receive(8 * texts + tokens * (12 if flags & OFFSETS else 4))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            _close_quietly(pipe)

    def _send(self, pieces: list[bytes]) -> None:
        assert self._process.stdin
        try:
            for piece in pieces:
                self._process.stdin.write(piece)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as fault:  # ValueError: closed by `close`
            raise self._death() from fault

    def _receive(self, size: int) -> bytes:
        assert self._process.stdout
        try:
            content = self._process.stdout.read(size)
        except ValueError as fault:
            raise self._death() from fault
        if len(content) != size:
            raise self._death()
        return content

    def _death(self) -> EnvironmentFault:
        code = self._process.wait()
        return EnvironmentFault(
            "env-memory",
            f"a process that tokenizes was ended ({code})",
            why="The system ends processes when memory runs out.",
            fix="Close something, or give it fewer cores: taskset -c 0 luthier prepare RECIPE",
        )


def _close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # what was still in the buffer has no reader any more
        return


def _answer(
    texts: Sequence[str], flags: int, journal: EncodeJournal | None, ask: Callable[[list[bytes]], bytes]
) -> EncodedTexts:
    """What the journal has of these texts, or what `ask` makes of them."""
    written = [text.encode() for text in texts]
    lengths = np.array([len(text) for text in written], dtype="<i8")
    request = [HEADER.pack(flags, len(written), int(lengths.sum())), lengths.tobytes(), b"".join(written)]
    content = journal.find(request) if journal else None
    if content is None:
        content = ask(request)
        if journal:
            journal.keep(request, content)
    return _unpack(content, len(texts), flags)


def _encode_here(encoder: Encoder, request: list[bytes]) -> bytes:
    """The answer to a request, in this process."""
    flags, count, size = HEADER.unpack(request[0])
    texts = encode_worker.read_texts(io.BytesIO(b"".join(request[1:])), count, size)
    return b"".join(encode_worker.encode(encoder, texts, flags))


def _unpack(content: bytes, texts: int, flags: int) -> EncodedTexts:
    (tokens,) = COUNT.unpack_from(content)
    at = COUNT.size
    lengths: npt.NDArray[Any] = np.frombuffer(content, dtype="<i8", count=texts, offset=at)
    at += lengths.nbytes
    ids: npt.NDArray[Any] = np.frombuffer(content, dtype="<u4", count=tokens, offset=at)
    at += ids.nbytes
    offsets = None
    if flags & OFFSETS:
        offsets = np.frombuffer(content, dtype="<i4", count=2 * tokens, offset=at).reshape(-1, 2)
    return EncodedTexts(ids, lengths, offsets)
