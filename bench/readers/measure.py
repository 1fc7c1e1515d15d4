"""How fast each format of rows is read, and how much memory that takes whatever the file's size.

    python bench/readers/measure.py --folder FOLDER --mebibytes 1024 --out bench/readers/readers.json [FORMAT ...]

Writes a file of so many MiB of text in each format, one after the other, reads it row by row in a process of its own as
`luthier prepare` does before it cleans and tokenizes, and deletes it. Peak memory is the reading process's alone; `start` is
what a process takes that reads one row. Results are added to those in the file, by format.
"""

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
import os
import platform
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

ROW_WORDS = (20, 220)
BATCH_ROWS = 2000
SEED = 5
READ = """
import json, sys, time
from pathlib import Path
from luthier.text.rows import read_rows
started = time.perf_counter()
rows = characters = 0
for row in read_rows([Path(sys.argv[1])], "auto"):
    rows += 1
    characters += len(row.prompt) + len(row.completion) + len(row.text)
    if rows == int(sys.argv[2]):
        break
seconds = time.perf_counter() - started
def peak_of(process):
    with open(f"/proc/{process}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM"))) * 1024
from luthier.text.readers import documents
worker = documents._shared_worker()._process
print(json.dumps({"rows": rows, "characters": characters, "seconds": seconds, "peak_bytes": peak_of("self"),
                  "peak_bytes_of_worker": peak_of(worker.pid) if worker else 0}))
"""


def rows_of(mebibytes: int) -> Iterator[dict[str, str]]:
    """Rows of random words, which pack about twofold; 9 MB of them, over and over, numbered, since no packer looks back so far."""
    draw = random.Random(SEED)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgkq", k=draw.randint(2, 11))) for _ in range(20_000)]
    texts = [" ".join(draw.choices(words, k=draw.randint(*ROW_WORDS))) for _ in range(10_000)]
    left, number = mebibytes * 2**20, 0
    while left > 0:
        prompt = f"{number}: {texts[2 * number % len(texts)]}"
        completion = texts[(2 * number + 1) % len(texts)]
        number += 1
        left -= len(prompt) + len(completion)
        yield {"prompt": prompt, "completion": completion}


def batches(rows: Iterator[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    batch: list[dict[str, str]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def write_lines(file: IO[bytes], rows: Iterator[dict[str, str]]) -> None:
    for batch in batches(rows):
        file.write("".join(json.dumps(row) + "\n" for row in batch).encode())


def packed(opened: Callable[[Path], Any]) -> Callable[[Path, Iterator[dict[str, str]]], None]:
    def write(path: Path, rows: Iterator[dict[str, str]]) -> None:
        with opened(path) as file:
            write_lines(file, rows)

    return write


def open_zstandard(path: Path) -> Any:
    from backports import zstd

    return zstd.open(path, "wb")


def write_array(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n")
        for number, row in enumerate(rows):
            file.write((",\n" if number else "") + json.dumps(row))
        file.write("\n]\n")


def write_table(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, ["prompt", "completion"], dialect="excel-tab" if path.suffix == ".tsv" else "excel"
        )
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Iterator[dict[str, str]]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    with parquet.ParquetWriter(
        path, arrow.schema([("prompt", arrow.string()), ("completion", arrow.string())])
    ) as writer:
        gathered: list[dict[str, str]] = []
        for batch in batches(rows):
            gathered += batch
            if len(gathered) >= 100_000:  # a row group of some 170 MB, larger than most that people meet
                writer.write_table(arrow.Table.from_pylist(gathered))
                gathered = []
        if gathered:
            writer.write_table(arrow.Table.from_pylist(gathered))


def write_arrow(path: Path, rows: Iterator[dict[str, str]]) -> None:
    import pyarrow as arrow

    schema = arrow.schema([("prompt", arrow.string()), ("completion", arrow.string())])
    options = arrow.ipc.IpcWriteOptions(compression="zstd" if path.suffix == ".feather" else None)
    opened = arrow.ipc.new_file if path.suffix == ".feather" else arrow.ipc.new_stream
    with arrow.OSFile(str(path), "wb") as sink, opened(sink, schema, options=options) as writer:
        for batch in batches(rows):
            writer.write_batch(arrow.RecordBatch.from_pylist(batch, schema=schema))


def write_tar(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with tarfile.open(path, "w") as archive:
        for number, row in enumerate(rows):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{number:08}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            archive.members.clear()  # type: ignore[attr-defined]


def write_tfrecord(path: Path, rows: Iterator[dict[str, str]]) -> None:
    import struct

    import google_crc32c

    from luthier.text.readers.tfrecord import _example_class

    def masked(content: bytes) -> bytes:
        crc = google_crc32c.value(content)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    with open(path, "wb") as file:
        for row in rows:
            example = _example_class()()
            for name, value in row.items():
                example.features.feature[name].bytes_list.value.append(value.encode())
            content = example.SerializeToString()
            length = struct.pack("<Q", len(content))
            file.write(length + masked(length) + content + masked(content))


def write_wet(path: Path, rows: Iterator[dict[str, str]]) -> None:
    from warcio.warcwriter import WARCWriter

    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")
        for row in rows:
            record = writer.create_warc_record(
                "http://example.com/",
                "conversion",
                payload=io.BytesIO(row["prompt"].encode()),
                warc_content_type="text/plain",
            )
            writer.write_record(record)


FORMATS: dict[str, Callable[[Path, Iterator[dict[str, str]]], None]] = {
    "jsonl": packed(partial(open, mode="wb")),
    "jsonl.gz": packed(partial(gzip.open, mode="wb", compresslevel=1)),
    "jsonl.zst": packed(open_zstandard),
    "jsonl.xz": packed(partial(lzma.open, mode="wb", preset=0)),
    "jsonl.bz2": packed(partial(bz2.open, mode="wb", compresslevel=1)),
    "json": write_array,
    "csv": write_table,
    "tsv": write_table,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "feather": write_arrow,
    "tar": write_tar,
    "tfrecord": write_tfrecord,
    "wet.gz": write_wet,
}


def read(path: Path, most_rows: int = -1) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(most_rows)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(name: str, folder: Path, mebibytes: int) -> dict[str, Any]:
    """Write, read and delete a file of one format."""
    path = folder / f"rows.{name}"
    try:
        FORMATS[name](path, rows_of(mebibytes))
        start, whole = read(path, most_rows=1), read(path)
        bytes_of_file = path.stat().st_size
    finally:
        path.unlink(missing_ok=True)
    return {
        "file_bytes": bytes_of_file,
        "rows": whole["rows"],
        "text_bytes": whole["characters"],
        "seconds": round(whole["seconds"], 2),
        "text_megabytes_a_second": round(whole["characters"] / whole["seconds"] / 1e6, 1),
        "rows_a_second": round(whole["rows"] / whole["seconds"]),
        "peak_mebibytes": round(whole["peak_bytes"] / 2**20, 1),
        "peak_mebibytes_at_start": round(start["peak_bytes"] / 2**20, 1),
        "peak_mebibytes_of_worker": round(whole["peak_bytes_of_worker"] / 2**20, 1),
        "measured_at": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("readers.json"))
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    arguments = parser.parse_args()
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    found["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    for name in arguments.formats:
        found.setdefault("formats", {})[name] = measure(name, arguments.folder, arguments.mebibytes)
        print(name, json.dumps(found["formats"][name]), flush=True)
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
