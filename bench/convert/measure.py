"""Measure `luthier data convert` on made-up ChatGPT exports: seconds, speed and peak memory, by the number of conversations.

    python bench/convert/measure.py --json bench/convert/measure.json

Each export is converted in a process of its own, so that its peak is its own. An export of one conversation of 10,000 turns
is what memory depends on; the number of conversations it does not.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

EXPORTS = {"60 turns x 600": (600, 60), "60 turns x 6,000": (6_000, 60), "10,000 turns x 1": (1, 10_000)}
WORDS = 'word \n"quoted" ' * 25


def conversation(number: int, turns: int) -> dict[str, Any]:
    """A conversation without branches, with the fields that exports carry."""
    mapping: dict[str, Any] = {"root": {"id": "root", "parent": None, "children": ["0"], "message": None}}
    for turn in range(turns):
        message = {
            "id": str(turn),
            "author": {"role": ("user", "assistant")[turn % 2], "name": None, "metadata": {}},
            "create_time": 1.0 + turn,
            "content": {"content_type": "text", "parts": [f"turn {turn} of {number}: {WORDS}"]},
            "status": "finished_successfully",
            "end_turn": True,
            "weight": 1.0,
            "metadata": {"model_slug": "gpt-4o", "finish_details": {"type": "stop"}},
            "recipient": "all",
            "channel": None,
        }
        parent = str(turn - 1) if turn else "root"
        children = [str(turn + 1)] if turn < turns - 1 else []
        mapping[str(turn)] = {"id": str(turn), "parent": parent, "children": children, "message": message}
    return {"id": f"c{number}", "title": "t", "mapping": mapping, "current_node": str(turns - 1)}


def write_export(path: Path, conversations: int, turns: int) -> int:
    """Write a zip as ChatGPT does; returns the bytes of its conversations.json."""
    length = 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("conversations.json", "w", force_zip64=True) as file,
    ):
        for number in range(conversations):
            text = json.dumps(conversation(number, turns))
            length += file.write(("[" if number == 0 else ", ").encode() + text.encode())
        length += file.write(b"]")
    return length


def measure(export: Path) -> dict[str, Any]:
    """Convert in this process."""
    from luthier.data.convert.stage import Request, convert

    report = convert(Request(export, export.with_suffix(".jsonl"), overwrite=True))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(report.seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "rows": report.rows,
        "messages": report.messages.came_in,
    }


def main() -> None:
    """Measure each export, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return print(json.dumps(measure(arguments.one)))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (conversations, turns) in EXPORTS.items():
            export = Path(folder) / "export.zip"
            length = write_export(export, conversations, turns)
            command = [sys.executable, __file__, "--one", str(export)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name] = {"megabytes": round(length / 1e6), **json.loads(done.stdout)}
            print(name, found[name])
    machine = {"python": platform.python_version(), "cpu_count": os.cpu_count()}
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "exports": found}, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
