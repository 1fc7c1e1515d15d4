"""The same rows in every format are the same rows to train on, end to end, and faults name their place."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.config.data import DataConfig
from luthier.data.sources import find_sources
from luthier.data.stage import prepare
from luthier.floor.errors import DataError
from luthier.floor.log import Silent
from tests.data.preparing import assert_nothing_is_left, make_recipe, make_run, pairs

arrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")
zstd = pytest.importorskip("backports.zstd", reason="the extra formats is not installed")

ROWS = [
    *pairs(30),
    {"prompt": "caf\u00e9 \u2028 \U0001f3bb", "completion": 'a "quoted", thing\nof two lines'},
]


def lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def table(separator: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(["prompt", "completion"])
    writer.writerows([row["prompt"], row["completion"]] for row in ROWS)
    return text.getvalue().encode()


def parquet() -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def stream() -> bytes:
    sink = io.BytesIO()
    made = arrow.Table.from_pylist(ROWS)
    with arrow.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def shard() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number, row in enumerate(ROWS):
            for name, text in row.items():
                member = tarfile.TarInfo(f"{number:05}.{name}.txt")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
    return sink.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "rows.jsonl": lines,
    "rows.jsonl.gz": lambda: gzip.compress(lines()),
    "rows.jsonl.xz": lambda: lzma.compress(lines()),
    "rows.jsonl.bz2": lambda: bz2.compress(lines()),
    "rows.jsonl.zst": lambda: zstd.compress(lines()),
    "rows.json": lambda: json.dumps(ROWS, indent=1).encode(),
    "rows.csv": lambda: table(","),
    "rows.tsv.gz": lambda: gzip.compress(table("\t")),
    "rows.parquet": parquet,
    "rows.arrow": stream,
    "rows.tar": shard,
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    sources = find_sources(DataConfig(path=str(tmp_path), pattern="rows*"), Silent())
    assert sources.kind == "prompt_completion"
    found = list(sources.read_train())
    assert [(row.prompt, row.completion) for row in found] == [(r["prompt"], r["completion"]) for r in ROWS]
    assert len({row.origin for row in found}) == len(found)


@pytest.mark.slow
def test_the_same_tokens_come_of_every_format(tmp_path: Path, tiny_base: Path) -> None:
    fingerprints = set()
    for name, content in FILES.items():
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "data" / name).write_bytes(content())
        recipe = make_recipe(tiny_base, folder, pattern="rows*", validation_fraction=0)
        fingerprints.add(prepare(recipe, make_run(folder)).train.fingerprint)
    assert len(fingerprints) == 1


def test_a_folder_of_texts_is_a_row_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.md").write_bytes(b"\xef\xbb\xbf# One\r\n\r\ntext\n")
    (tmp_path / "deep" / "two.md").write_text("two\n")
    sources = find_sources(DataConfig(path=str(tmp_path), pattern="**/*.md"), Silent())
    assert sources.kind == "text"
    found = {row.origin.removeprefix(f"{tmp_path}/"): row.text for row in sources.read_train()}
    assert found == {"one.md:1": "# One\r\n\r\ntext\n", "deep/two.md:1": "two\n"}


BAD = {
    "a_binary_text": ("a.txt", b"a\0b", "data-enc", ""),
    "a_latin_1_text": ("a.txt", b"caf\xe9", "data-enc", ""),
    "a_text_of_40_mib": ("a.txt", b"x" * (40 * 2**20), "data-line", ""),
    "a_cut_packed_file": ("a.jsonl.gz", gzip.compress(lines())[:-20], "data-archive", ":"),
    "a_ragged_table": ("a.csv", b"prompt,completion\na\n", "data-csv", ":2"),
    "a_header_alone": ("a.csv", b"prompt,completion\n", "data-empty", ""),
    "no_parquet": ("a.parquet", b"hello", "data-table", ""),
    "an_array_of_numbers": ("a.json", b"[1]", "data-json", ":1"),
    "an_object_around_the_rows": ("a.json", b'{"data": []}', "data-field", ":1"),
    "a_column_that_no_row_has": ("a.csv", b"x,y\n1,2\n", "data-field", ":2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_place_and_nothing_is_kept(
    tmp_path: Path, tiny_base: Path, name: str
) -> None:
    file, content, code, place = BAD[name]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / file).write_bytes(content)
    with pytest.raises(DataError) as caught:
        prepare(make_recipe(tiny_base, tmp_path, pattern="a.*"), make_run(tmp_path))
    assert caught.value.code == code
    assert f"{tmp_path / 'data' / file}{place}" in caught.value.where
    assert caught.value.fix
    assert_nothing_is_left(tmp_path)


def test_a_named_format_beats_the_ending(tmp_path: Path) -> None:
    (tmp_path / "dump.dat").write_bytes(table(","))
    config = DataConfig(path=str(tmp_path / "dump.dat"), file_format="csv")
    assert len(list(find_sources(config, Silent()).read_train())) == len(ROWS)
