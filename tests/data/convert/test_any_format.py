"""Whatever training reads is converted, too: tables, packed files, shards. What no row has is counted."""

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from luthier.data.convert.intake import FAULTS_IN_FULL
from luthier.data.convert.stage import Request, convert
from luthier.floor.errors import DataError

ROWS = [{"question": f"What is {number}?", "answer": f"A {number}."} for number in range(5)]
CSV = "question,answer,topic\n" + "".join(f'"{row["question"]}",{row["answer"]},sums\n' for row in ROWS)


def converted(source: Path, **more: Any) -> tuple[list[dict[str, str]], Any]:
    report = convert(Request(source, output=source.parent / "out.jsonl", **more))
    return [json.loads(line) for line in Path(report.output).read_text().splitlines()], report


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.csv.gz", "in.jsonl.xz", "in.json.gz"])
def test_any_format_becomes_lines_of_json(tmp_path: Path, name: str) -> None:
    lines = "\n".join(map(json.dumps, ROWS)) + "\n"
    text = {".csv": CSV, ".tsv": CSV.replace(",", "\t"), ".jsonl": lines, ".json": json.dumps(ROWS)}
    content = text[f".{name.split('.')[1]}"].encode()
    packed = {"gz": gzip.compress, "xz": lzma.compress}.get(name.split(".")[-1], bytes)(content)
    (tmp_path / name).write_bytes(packed)
    rows, report = converted(tmp_path / name)
    assert rows == [{"prompt": row["question"], "completion": row["answer"]} for row in ROWS]
    assert report.conversations.came_in == len(ROWS)


def test_a_field_that_no_row_has_is_counted(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    _, report = converted(tmp_path / "in.csv")
    assert report.notes == {"'topic' is a field that no row has": 5}


def test_the_faults_of_a_table_are_told_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"{CSV}one\n")
    with pytest.raises(DataError) as refused:
        converted(tmp_path / "in.csv")
    assert refused.value.where.endswith("in.csv:7")


def test_every_fault_of_a_long_run_of_them_is_counted(tmp_path: Path) -> None:
    count = FAULTS_IN_FULL + 50
    (tmp_path / "in.csv").write_text(CSV + "one\n" * count + '"Last?",yes,sums\n')
    rows, report = converted(tmp_path / "in.csv", skip_faulty=True)
    assert len(rows) == len(ROWS) + 1
    assert report.conversations.dropped == {"faulty: data-csv": count}
