"""Start a program that scores texts, hold it to its time and its form, and say what it did wrong.

It reads `{"id", "text"}` a line on stdin and writes `{"id", "score"}` a line on stdout, in any order. Texts that were scored are
not scored again: rows are read several times where repeats or strata are looked for, and must get one verdict.
"""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import IO, Any

from luthier.floor.errors import DataError

POLL_SECONDS = 0.02
LONGEST_ANSWER = 4096  # bytes a row; more is no score
LAST_WORDS = 300


class ScorerProcess:
    """A program, started once for every batch of texts that it has not scored yet."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, name: str, timeout_s: float
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._name = name
        self._timeout_s = timeout_s
        # A nameless file: memory stays bounded, and it goes with the process.
        self._known = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._known.execute("CREATE TABLE scores (text BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")

    def score(self, texts: Sequence[str]) -> list[float]:
        """A finite number for every text. Raises DataError (data-scorer) saying what the program did instead."""
        keys = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
        asked = {key: text for key, text in zip(keys, texts, strict=True) if self._find(key) is None}
        if asked:
            scores = self._ask(list(asked.values()))
            self._known.executemany("INSERT INTO scores VALUES (?, ?)", zip(asked, scores, strict=True))
        found = [self._find(key) for key in keys]
        return [score for score in found if score is not None]

    def _unusable(self, what: str) -> DataError:
        return unusable(f"{self._name} {what}", shlex.join(self._command))

    def _find(self, key: bytes) -> float | None:
        row = self._known.execute("SELECT score FROM scores WHERE text = ?", (key,)).fetchone()
        return None if row is None else float(row[0])

    def _ask(self, texts: Sequence[str]) -> list[float]:
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as talk,
        ):
            for number, text in enumerate(texts):
                given.write(json.dumps({"id": number, "text": text}).encode() + b"\n")
            given.seek(0)
            code = self._run(given, said, talk, most_bytes=LONGEST_ANSWER * len(texts))
            if code:
                raise self._unusable(f"ended with {_spell(code)} after {len(texts):,} rows were given to it: {_last_words(talk)}")  # fmt: skip
            said.seek(0)
            try:
                return read_scores(said, len(texts))
            except ValueError as fault:
                raise self._unusable(str(fault)) from fault

    def _run(self, given: IO[bytes], said: IO[bytes], talk: IO[bytes], *, most_bytes: int) -> int:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=given,
                stdout=said,
                stderr=talk,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us; and what it starts itself is ended with it
            )
        except OSError as fault:
            raise self._unusable(f"cannot be started: {fault.strerror}") from fault
        try:
            end = time.monotonic() + self._timeout_s
            while (code := process.poll()) is None:
                if time.monotonic() > end:
                    raise self._unusable(f"took longer than {self._timeout_s:g} s (data.clean.scorer.timeout_s): {_last_words(talk)}")  # fmt: skip
                if max(os.fstat(file.fileno()).st_size for file in (said, talk)) > most_bytes + 2**20:
                    raise self._unusable(f"wrote more than {most_bytes + 2**20:,} bytes for its rows")
                time.sleep(POLL_SECONDS)
            return code
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_scores(said: IO[bytes], count: int) -> list[float]:
    """The scores of `count` rows, in the order of their ids. Raises ValueError saying what is wrong with the first bad line."""
    scores: list[float | None] = [None] * count
    for number, line in enumerate(said, 1):
        if not line.strip():
            continue
        id, score = _read_line(line, number)
        if not 0 <= id < count:
            raise ValueError(f"answered with the id {id} in line {number}, which it was not given")
        if scores[id] is not None:
            raise ValueError(f"scored the id {id} twice, again in line {number}")
        scores[id] = score
    missing = [id for id, score in enumerate(scores) if score is None]
    if missing:
        raise ValueError(
            f"left {len(missing):,} of {count:,} rows without a score, the first of them id {missing[0]}"
        )
    return [score for score in scores if score is not None]


def _read_line(line: bytes, number: int) -> tuple[int, float]:
    shown = line[:80].decode("utf-8", "replace").strip()
    try:
        answer: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"wrote what is no JSON in line {number}: {shown!r}") from None
    if not isinstance(answer, dict) or type(answer.get("id")) is not int or "score" not in answer:
        raise ValueError(f'wrote no {{"id", "score"}} in line {number}: {shown!r}')
    score = answer["score"]
    # An integer of 400 digits is less than infinity, and no float.
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) <= sys.float_info.max:
        raise ValueError(f"gave the id {answer['id']} a score that is no number in line {number}: {shown!r}")
    return answer["id"], float(score)


def _last_words(talk: IO[bytes]) -> str:
    """The last thing that the program said on stderr."""
    size = os.fstat(talk.fileno()).st_size
    talk.seek(max(0, size - 4 * LAST_WORDS))
    lines = talk.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:LAST_WORDS] if lines else "it said nothing"


def _spell(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code}"


def unusable(what: str, command: str = "COMMAND") -> DataError:
    """The fault of a scorer, with what to type to see it alone."""
    return DataError(
        "data-scorer",
        what,
        where="data.clean.scorer",
        why="A row without a score can neither be kept nor left out.",
        fix=f"""Try it on one line: echo '{{"id": 0, "text": "hello"}}' | {command}; it must write {{"id": 0, "score": 0.1}} and end.""",
    )
