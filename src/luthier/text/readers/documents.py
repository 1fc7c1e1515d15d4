"""Web pages, PDF and Word documents, and crawls (WARC, WET): the work is done by document_worker.py, out of harm's way.

A document is one row of text, a crawl one row a page. A document that cannot be read is a fault. A page of a crawl that cannot
be read is passed over and counted, since of millions of pages some always are.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import is_compressed
from luthier.text.readers.record import INSTALL_DOCUMENTS, Reader, Record, missing_library, row_origin
from luthier.text.row_files import reading

WORKER = Path(__file__).with_name("document_worker.py")
# What a Python needs to find its libraries; tokens and keys of the environment stay here.
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TZ", "HOME")
UNREADABLE_PAGES = "pages that could not be read"


def _read(kind: str, path: Path, problems: Problems) -> Iterator[Record]:
    with reading(path), open(path, "rb"):  # a file that may not be read is told in our words
        pass
    if is_compressed(path) and kind != "warc":
        return problems.add(
            str(path), LineFault("data-document", "the document is compressed; unpack it first")
        )
    answers = _shared_worker().ask(kind, path)
    for answer in answers if kind == "warc" else list(answers):
        origin = row_origin(path, answer.get("number", 1))
        if "text" in answer:
            yield origin, {"text": answer["text"]}
        elif "skipped" in answer:
            problems.passed_over[answer["skipped"]] += 1
        elif "missing" in answer:
            raise missing_library(path, answer["missing"], INSTALL_DOCUMENTS)
        elif kind == "warc" and "number" in answer:
            problems.passed_over[UNREADABLE_PAGES] += 1
        else:
            place = origin if "number" in answer and kind == "warc" else str(path)
            problems.add(place, LineFault("data-document", f"the document {answer['error']}"))
    return None


read_html: Reader = partial(_read, "html")
read_pdf: Reader = partial(_read, "pdf")
read_docx: Reader = partial(_read, "docx")
read_warc: Reader = partial(_read, "warc")


class _Worker:
    """The process that reads, started when it is first needed and again when a document was the end of it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._is_asked = False

    def ask(self, kind: str, path: Path) -> Iterator[dict[str, Any]]:
        """The worker's answers about a file. One that ends it is answered by an error."""
        if self._is_asked:  # somebody reads another file in between
            other = _Worker()
            yield from other.ask(kind, path)
            return other.close()
        self._is_asked = True
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        is_whole = False
        try:
            process.stdin.write(json.dumps({"kind": kind, "path": str(path.absolute())}) + "\n")
            process.stdin.flush()
            while line := process.stdout.readline():
                if not line.endswith("\n"):
                    break
                answer = json.loads(line)
                if "end" in answer:
                    is_whole = True
                    return None
                yield answer
        except BrokenPipeError:
            pass
        finally:
            self._is_asked = False
            if not is_whole:  # it died, or the answers to come belong to nobody
                self.close()
        yield {"error": self._death(process)}

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
            | {"PYTHONUTF8": "1"},
            start_new_session=True,  # Ctrl-C is for us
            text=True,
            encoding="utf-8",
        )
        return self._process

    def _death(self, process: subprocess.Popen[str]) -> str:
        if process.returncode == -signal.SIGALRM:
            return "takes more time than any document needs"
        return (
            f"ended the process that read it ({process.returncode}): it is damaged, or takes too much memory"
        )


@cache
def _shared_worker() -> _Worker:
    """One for all files: its libraries take a second to load."""
    worker = _Worker()
    atexit.register(worker.close)
    return worker
