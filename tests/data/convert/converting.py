"""Write small exports and convert them, in this process."""

import json
import zipfile
from pathlib import Path
from typing import Any

from luthier.data.convert.stage import Request, convert
from luthier.reports.convert import ConvertReport
from luthier.text.dialects.turns import Choices

FORMATS = Path(__file__).parent / "formats"


def message(role: str, text: str, **changes: Any) -> dict[str, Any]:
    """A message of an export."""
    return {
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1.0,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        **changes,
    }


def node(parent: str | None, content: dict[str, Any] | None) -> dict[str, Any]:
    """A node of a mapping, named by its key alone."""
    return {"parent": parent, "children": [], "message": content}


def chain(*messages: dict[str, Any]) -> dict[str, Any]:
    """A mapping without branches: root, then node 0, 1 and so on."""
    mapping = {"root": node(None, None)}
    for number, each in enumerate(messages):
        mapping[str(number)] = node(str(number - 1) if number else "root", each)
    return mapping


def conversation(mapping: dict[str, Any], current: Any = None, **changes: Any) -> dict[str, Any]:
    """A conversation, whose last node is current unless another one is named."""
    return {"mapping": mapping, "current_node": list(mapping)[-1] if current is None else current, **changes}


def talk(*texts: str) -> dict[str, Any]:
    """A conversation in which user and assistant speak in turn."""
    roles = ("user", "assistant")
    return conversation(chain(*(message(roles[at % 2], text) for at, text in enumerate(texts))))


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_zip(path: Path, members: dict[str, str | bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def converted(source: Path, **wishes: Any) -> tuple[list[dict[str, Any]], ConvertReport]:
    """The rows that come of a source, and the report. Wishes are those of Choices and of Request."""
    names = ("branches", "tools", "keep")
    choices = Choices(**{name: wishes.pop(name) for name in names if name in wishes})
    output = source.parent / "out" / "rows.jsonl"
    report = convert(Request(source, output, choices=choices, overwrite=True, **wishes))
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()], report


def rows_of(folder: Path, records: list[Any], **wishes: Any) -> tuple[list[dict[str, Any]], ConvertReport]:
    """The rows that come of a JSON array of records."""
    return converted(write_json(folder / "source.json", records), **wishes)


def said(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The turns of a row."""
    return [(turn["role"], turn["content"]) for turn in row["messages"]]


def check_books(report: ConvertReport) -> None:
    """What came in was kept or left out, and rows are the threads that were kept."""
    for counts in (report.conversations, report.threads, report.messages):
        assert counts.came_in == counts.kept + sum(counts.dropped.values())
        assert min([counts.kept, *counts.dropped.values()]) >= 0
    assert report.rows == report.threads.kept
