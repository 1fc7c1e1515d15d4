"""The same rows in files of several formats, by the ending of the name."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_as(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the rows in the format that the name says; rows of a table have the fields of the first."""
    ending = path.name.partition(".")[2]
    if ending == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return path
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ending == "csv":
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(table.getvalue(), encoding="utf-8")
    elif ending == "json":
        path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=1), encoding="utf-8")
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        assert ending == "jsonl", f"no form for {path.name}"
        path.write_text(lines, encoding="utf-8")
    return path
