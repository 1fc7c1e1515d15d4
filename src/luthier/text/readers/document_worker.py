"""Take the text out of web pages, PDF and Word documents and crawls, in a process of its own that dies rather than hang.

Started by documents.py as a script; imports the standard library, and of the readers the one that is asked for. Documents come
from strangers, and their formats are small programs: pages that unpack without end, XML that expands, tables that point to
themselves. Here a document that takes more than its seconds is given up, and memory is bounded by a resource limit. Nothing is
fetched: none of the readers follows a link, and sockets are refused.

Speaks JSON lines. In: {"kind", "path"}. Out: {"number", "text"} for each document of the file, {"number", "skipped"} for one that
has none, {"error"} where the file cannot be read further; then {"end": true}.
"""

import io
import json
import resource
import signal
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

LARGEST_DOCUMENT_BYTES = 64 * 2**20
LARGEST_PAGE_BYTES = 10 * 2**20  # of a crawl; the Common Crawl cuts pages at 5 MiB
LONGEST_TEXT = 16 * 2**20  # characters
MOST_UNPACKED_BYTES = 256 * 2**20  # of a Word document, which is a zip archive
MEMORY_BYTES = 2**30
SECONDS = 30.0
PAGE_TYPES = ("text/html", "application/xhtml+xml")

Answer = dict[str, Any]


class TooLong(BaseException):
    """The document takes more than its seconds; no reader's own handlers may catch it."""


class Refused(Exception):
    """A document that is not read, and why."""


class NoSocket(socket.socket):
    """A class, since libraries derive from it; nothing comes into being."""

    def __init__(self, *words: object, **options: object) -> None:
        raise OSError("a document may not reach the network")


def main() -> None:
    """Bound the process, then answer requests until there are no more."""
    socket.socket = NoSocket  # type: ignore[misc]
    mapped = int(open("/proc/self/statm", encoding="ascii").read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    limit = mapped + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a reader prints is not an answer
    for line in sys.stdin:
        request = json.loads(line)
        for answer in read_file(request["kind"], request["path"]):
            answers.write(json.dumps(answer) + "\n")
        answers.write('{"end": true}\n')
        answers.flush()


def read_file(kind: str, path: str) -> Iterator[Answer]:
    """The answers to one request."""
    try:
        if kind == "warc":
            yield from read_crawl(path)
        else:
            yield {"number": 1, **attempt(READERS[kind], path)}
    except ImportError as fault:
        yield {"missing": fault.name or str(fault)}
    except Exception as fault:  # noqa: BLE001  a reader fails in as many ways as a program can
        yield {"error": _told(fault)}


def attempt(read: Callable[[Any], str], source: object) -> Answer:
    """The text, or why there is none; ImportError flies."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        text = read(source)
    except TooLong:
        return {"error": f"takes more than {SECONDS:g} s to read"}
    except MemoryError:
        return {"error": "takes more memory than any document needs"}
    except RecursionError:
        return {"error": "is nested deeper than any document"}
    except ImportError:
        raise
    except Exception as fault:  # noqa: BLE001  as above
        return {"error": _told(fault)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if len(text) > LONGEST_TEXT:
        return {"error": f"holds {len(text)} characters of text, more than a row may"}
    return {"text": text.encode("utf-8", "replace").decode("utf-8")}


def read_html(path: str) -> str:
    """The main text of a web page, without what stands around it."""
    return text_of_page(_content(path))


def text_of_page(content: bytes) -> str:
    """The main text of the page's bytes; nothing where there is none."""
    from trafilatura import extract

    return extract(content, include_comments=False, include_tables=True) or ""


def read_pdf(path: str) -> str:
    """The text layer of all pages; scanned pages have none."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(_content(path)), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("is encrypted; save it without a password")
    return "\n\n".join(text for page in reader.pages if (text := page.extract_text().strip()))


def read_docx(path: str) -> str:
    """Paragraphs, and tables with a line a row, in their order."""
    import docx
    from docx.table import Table

    content = _content(path)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_UNPACKED_BYTES:
            raise Refused("is a bomb: it unpacks to more than any document does")
    blocks = []
    for block in docx.Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            blocks.append("\n".join("\t".join(cell.text for cell in row.cells) for row in block.rows))
        else:
            blocks.append(block.text)
    return "\n\n".join(block for block in blocks if block.strip())


def read_crawl(path: str) -> Iterator[Answer]:
    """The pages of a WARC file, or the texts of a WET file; requests and files of other kinds are skipped by kind."""
    from warcio.archiveiterator import ArchiveIterator

    with open(path, "rb") as file:
        number = 0
        for number, record in enumerate(ArchiveIterator(file), start=1):
            kind = record.rec_type
            if kind == "conversion":
                yield {"number": number, **attempt(_plain_text, record)}
            elif kind != "response" or record.http_headers is None:
                yield {"number": number, "skipped": f"records of kind {kind[:40]}"}
            else:
                named = record.http_headers.get_header("Content-Type") or "no type"
                media = named.partition(";")[0].strip().lower()[:60]
                if media in PAGE_TYPES:
                    yield {"number": number, **attempt(_page_text, record)}
                else:
                    yield {"number": number, "skipped": f"records of {media}"}
        if not number:
            raise Refused("holds no record")


def _plain_text(record: Any) -> str:
    return _body(record).decode("utf-8", "strict")


def _page_text(record: Any) -> str:
    return text_of_page(_body(record))


def _body(record: Any) -> bytes:
    content: bytes = record.content_stream().read(LARGEST_PAGE_BYTES + 1)
    if len(content) > LARGEST_PAGE_BYTES:
        raise Refused("is larger than any page of text")
    return content


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(LARGEST_DOCUMENT_BYTES + 1)
    if len(content) > LARGEST_DOCUMENT_BYTES:
        raise Refused(f"is larger than {LARGEST_DOCUMENT_BYTES // 2**20} MiB")
    return content


def _told(fault: Exception) -> str:
    said = " ".join(str(fault).split())[:200]
    return (
        said if isinstance(fault, Refused) else f"cannot be read: {type(fault).__name__}: {said}".rstrip(": ")
    )


def _give_up(signum: int, frame: object) -> NoReturn:
    """Once by an exception; a reader that is deep in C, or does not let go, is ended by the second alarm."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    raise TooLong


READERS: dict[str, Callable[[str], str]] = {"html": read_html, "pdf": read_pdf, "docx": read_docx}

if __name__ == "__main__":
    main()
