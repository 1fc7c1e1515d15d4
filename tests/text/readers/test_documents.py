"""Documents give their text, and hostile ones neither crash, hang, expand nor reach anything."""

import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from luthier.floor.errors import EnvironmentFault
from luthier.text.problems import Problems
from luthier.text.readers import documents
from luthier.text.readers.formats import read_records
from tests.text.readers.reading import read, write

docx = pytest.importorskip("docx", reason="the extra documents is not installed")
pytest.importorskip("trafilatura", reason="the extra documents is not installed")
pypdf = pytest.importorskip("pypdf", reason="the extra documents is not installed")
warcio = pytest.importorskip("warcio", reason="the extra documents is not installed")
pytestmark = pytest.mark.slow

SENTENCE = (
    "The luthier carves the top from spruce, and the back from maple, as it has been done for centuries."
)
PAGE = f"<html><head><title>t</title></head><body><nav><a href='/'>Home</a></nav><article><h1>Wood</h1><p>{SENTENCE}</p></article></body></html>"


def pdf(text: str) -> bytes:
    """A PDF of one page, with the text in its text layer."""
    stream = f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(content)
    return (
        content
        + b"xref\n0 6\n0000000000 65535 f \n"
        + table
        + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start
    )


def word(*, body: str = "") -> bytes:
    sink = io.BytesIO()
    document = docx.Document()
    document.add_heading("Wood", 1)
    document.add_paragraph(SENTENCE)
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "spruce", "maple"
    document.add_paragraph("The end.")
    document.save(sink)
    if not body:
        return sink.getvalue()
    changed = io.BytesIO()
    with zipfile.ZipFile(sink) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, body if name == "word/document.xml" else old.read(name))
    return changed.getvalue()


def test_a_web_page_gives_its_main_text(tmp_path: Path) -> None:
    records, faults = read(write(tmp_path, "page.html", PAGE.encode()))
    assert not faults
    ((origin, fields),) = records
    assert origin == "#row 1"
    assert SENTENCE in fields["text"]
    assert "Home" not in fields["text"]


def test_a_pdf_gives_its_text_layer(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.pdf", pdf("Carved from spruce")))[0] == [
        ("#row 1", {"text": "Carved from spruce"})
    ]


def test_a_word_document_gives_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    ((_, fields),) = read(write(tmp_path, "a.docx", word()))[0]
    assert fields["text"] == f"Wood\n\n{SENTENCE}\n\nspruce\tmaple\n\nThe end."


def warc(records: list[tuple[str, str, bytes]], *, packed: bool) -> bytes:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    sink = io.BytesIO()
    writer = WARCWriter(sink, gzip=packed)
    for kind, media, content in records:
        headers = (
            StatusAndHeaders("200 OK", [("Content-Type", media)], protocol="HTTP/1.0")
            if kind == "response"
            else None
        )
        writer.write_record(
            writer.create_warc_record(
                "http://example.com/",
                kind,
                payload=io.BytesIO(content),
                http_headers=headers,
                warc_content_type=None if headers else media,
            )
        )
    return sink.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_a_crawl_gives_its_pages_and_counts_the_rest(tmp_path: Path, packed: bool) -> None:
    content = warc(
        [
            ("response", "text/html; charset=utf-8", PAGE.encode()),
            ("response", "image/png", b"\x89PNG"),
            ("metadata", "text/plain", b"x"),
            ("conversion", "text/plain", "caf\u00e9".encode()),
            ("response", "text/html", b"<p>" * 30),
        ],
        packed=packed,
    )
    problems = Problems()
    path = write(tmp_path, "c.warc.gz" if packed else "c.warc", content)
    records = list(read_records(path, problems))
    assert [origin for origin, _ in records] == [f"{path}#row 1", f"{path}#row 4", f"{path}#row 5"]
    assert SENTENCE in records[0][1]["text"]
    assert [fields["text"] for _, fields in records[1:]] == ["caf\u00e9", ""]
    assert problems.passed_over == {"records of image/png": 1, "records of kind metadata": 1}
    assert not problems.count


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + ']><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body></w:document>'
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>before&x;</w:t></w:r></w:p></w:body></w:document>'


def test_entities_of_a_word_document_are_not_expanded(tmp_path: Path) -> None:
    for body in (LAUGHS, OUTSIDE):
        records, faults = read(write(tmp_path, "a.docx", word(body=body)))
        texts = [fields["text"] for _, fields in records]
        assert faults or all(len(text) < 100 for text in texts)
        hostname = Path("/etc/hostname")
        assert not hostname.exists() or not any(hostname.read_text().strip() in text for text in texts)


def test_a_word_document_that_unpacks_to_a_gigabyte_is_refused(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with (
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    _, faults = read(write(tmp_path, "a.docx", sink.getvalue()))
    assert faults[0][:2] == ("", "data-document")
    assert "is a bomb" in faults[0][2]


def test_a_pdf_whose_page_unpacks_to_a_gigabyte_is_bounded(tmp_path: Path) -> None:
    packed = zlib.compress(b" " * 2**28 + b"BT ET", 9)
    content = pdf("x").replace(b"<< /Length", b"<< /Filter /FlateDecode /Length")
    start, end = content.index(b"stream\n") + 7, content.index(b"\nendstream")
    read(
        write(tmp_path, "a.pdf", content[:start] + packed + content[end:])
    )  # a text or a fault; no crash, bounded by the worker


BAD = {
    "a_page_of_ten_thousand_levels": ("a.html", b"<div>" * 10_000 + b"x"),
    "no_pdf": ("a.pdf", b"hello"),
    "a_pdf_cut_off": ("a.pdf", pdf("words")[:200]),
    "no_word_document": ("a.docx", b"PK\x03\x04 and more"),
    "another_zip": ("a.docx", b"PK\x05\x06" + bytes(18)),
    "no_crawl": ("a.warc", b"hello\n" * 100),
    "a_crawl_cut_off": ("a.warc.gz", warc([("response", "text/html", PAGE.encode())], packed=True)[:200]),
    "a_crawl_of_endless_headers": ("a.warc", b"WARC/1.0\r\n" + b"x" * 2**24),
    "an_empty_page": ("a.html", b""),
    "a_page_of_nul_bytes": ("a.html", bytes(5000)),
    "a_packed_page": ("a.html.gz", b""),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_told_or_empty(tmp_path: Path, name: str) -> None:
    file, content = BAD[name]
    records, faults = read(write(tmp_path, file, content))
    assert bool(faults) != bool(records) or "crawl" in name
    assert all(code == "data-document" for _, code, _ in faults)
    assert all("process" not in what for _, _, what in faults), "the worker outlived it"


@pytest.mark.parametrize("kind", ["html", "pdf", "docx", "warc"])
def test_spoilt_bytes_never_crash(tmp_path: Path, kind: str) -> None:
    whole = {
        "html": PAGE.encode(),
        "pdf": pdf("some words"),
        "docx": word(),
        "warc": warc([("response", "text/html", PAGE.encode())], packed=False),
    }[kind]
    for number in range(25):
        content = bytearray(whole)
        for step in range(3):
            content[(number * 7919 + step * 104_729) % len(content)] = (number * 37 + step) % 256
        read(write(tmp_path, f"a.{kind}", bytes(content)))


def test_an_encrypted_pdf_is_told(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    assert "is encrypted" in read(tmp_path / "a.pdf")[1][0][2]


def test_the_worker_is_replaced_when_a_document_ends_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a.html", PAGE.encode())
    worker = documents._Worker()
    assert "text" in list(worker.ask("html", path)).pop()
    assert worker._process
    worker._process.kill()
    worker._process.wait()
    assert "ended the process" in next(worker.ask("html", path))["error"]
    assert "text" in next(worker.ask("html", path))
    worker.close()


def test_two_crawls_may_be_read_at_once(tmp_path: Path) -> None:
    content = warc([("conversion", "text/plain", b"one"), ("conversion", "text/plain", b"two")], packed=False)
    first, second = (read_records(write(tmp_path, name, content), Problems()) for name in ("a.wet", "b.wet"))
    assert [fields["text"] for pair in zip(first, second, strict=True) for _, fields in pair] == [
        "one",
        "one",
        "two",
        "two",
    ]


def test_the_worker_reaches_no_network_and_its_memory_is_bounded(tmp_path: Path) -> None:
    code = (
        "import runpy, sys, json, resource, io\n"
        f"module = runpy.run_path({str(documents.WORKER)!r})\n"
        "sys.stdin = io.StringIO('')\n"
        "module['main']()\n"
        "import socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError as fault:\n    print(fault, file=sys.__stdout__)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] < 4 * 2**30, file=sys.__stdout__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a document may not reach the network", "True"]


def test_a_missing_library_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pypdf.py").write_text("raise ImportError('not here', name='pypdf')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    documents._shared_worker().close()
    try:
        with pytest.raises(EnvironmentFault) as caught:
            read(write(tmp_path, "a.pdf", pdf("x")))
    finally:
        documents._shared_worker().close()
    assert 'pip install "luthier[documents]"' in caught.value.fix
    assert json.dumps(os.environ["PYTHONPATH"])
