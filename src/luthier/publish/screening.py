"""Look through every file that would go up for what must not: keys, personal data, paths of this machine.

Keys are looked for everywhere, in the headers of weights too. Paths and personal data are not looked for in a vocabulary, whose
pieces are no text, nor personal data in the text of a licence, which names its authors.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.publish.files import BASE_LICENCE, LICENCE, NOTICE, Upload, texts_of
from luthier.reports.publish import Objection
from luthier.screen.personal import find_personal
from luthier.screen.secrets import find_secrets

WORD = "publish-private"
PERSONAL = ("email", "phone", "card", "iban", "ip")
VOCABULARIES = ("vocab.json", "vocab.txt", "merges.txt")
# Where systems keep what is of one person or one machine: Filesystem Hierarchy Standard 3.0, and its kin on macOS and Windows.
PATH = re.compile(
    r"(?<![\w.:/-])(?:/(?:home|Users|root|mnt|media|tmp|private|var/folders|scratch|opt|srv|workspace)/|~/)[\w.@+-][\w./@+-]*"
    r"|\b[A-Za-z]:\\\\?(?:Users|Documents and Settings)\\\\?[\w.-]+"
)
LEAST_PREFIX_PARTS = 3
"""`/home/name`: a shorter path may well be a word of a text."""
MOST_SHOWN = 5
MOST_HEADER_BYTES = 8 * 2**20


def find_private(uploads: Sequence[Upload], *, acknowledged: frozenset[str]) -> list[Objection]:
    """What stands against publishing; `acknowledged` may hold `personal`, for data that is meant to be seen."""
    found: list[Objection] = []
    for upload, text in texts_of(uploads):
        found += _secrets(upload, text)
        if upload.path in VOCABULARIES:
            continue
        own = _without_vocabulary(text) if upload.path == "tokenizer.json" else text
        found += _paths(upload, own)
        if "personal" not in acknowledged and upload.path not in (LICENCE, BASE_LICENCE, NOTICE):
            found += _personal(upload, own)
    for upload in uploads:
        if upload.path.endswith((".safetensors", ".gguf")) and upload.source is not None:
            head = _head(upload.source)
            found += _secrets(upload, head)
            found += [] if upload.path.endswith(".gguf") else _paths(upload, head)
    return found


def _secrets(upload: Upload, text: str) -> Iterator[Objection]:
    places = [span.start for span in find_secrets(text)]
    own = [
        (name, text.find(value))
        for name, value in os.environ.items()
        if name.upper().endswith(("TOKEN", "API_KEY", "ACCESS_KEY", "SECRET", "PASSWORD"))
        and len(value) >= 12
        and value in text
    ]
    for place in places[:MOST_SHOWN]:
        yield _objection(f"{_where(upload, text, place)} holds a key or token", _take_out(upload))
    for name, place in own:
        yield _objection(f"{_where(upload, text, place)} holds the value of ${name}", _take_out(upload))


def _take_out(upload: Upload) -> str:
    return f"Take it out of {_origin(upload)}, and revoke it: what lay in a file counts as known."


def _paths(upload: Upload, text: str) -> Iterator[Objection]:
    found = {match[0].rstrip("."): match.start() for match in PATH.finditer(text)}
    for prefix in own_prefixes():
        place = text.find(prefix)
        if place >= 0 and not any(prefix in path for path in found):
            found[prefix] = place
    for path, place in list(found.items())[:MOST_SHOWN]:
        yield _objection(
            f"{_where(upload, text, place)} holds a path of a machine: {path[:80]}",
            f"Write it otherwise in {_origin(upload)}: names below the working folder, such as data/rows.jsonl.",
        )


def own_prefixes() -> tuple[str, ...]:
    """Folders that say whose machine this is: the home folder and the working folder."""
    found = {str(Path.cwd()), os.path.expanduser("~")}
    return tuple(sorted(path for path in found if len(Path(path).parts) >= LEAST_PREFIX_PARTS))


def _personal(upload: Upload, text: str) -> Iterator[Objection]:
    for span in find_personal(text, PERSONAL)[:MOST_SHOWN]:
        shown = text[span.start : span.end]
        masked = f"{shown[:2]}...{shown[-4:]}" if len(shown) > 8 else "..."
        yield _objection(
            f"{_where(upload, text, span.start)} holds personal data ({span.kind}: {masked})",
            f"Take it out of {_origin(upload)}; if it is meant to be seen: publish.acknowledged=[personal]",
        )


def _objection(what: str, fix: str) -> Objection:
    return Objection(word=WORD, what=what, fix=fix)


def _where(upload: Upload, text: str, place: int) -> str:
    if upload.path.endswith((".safetensors", ".gguf")):
        return f"the header of {upload.path}"
    return f"{upload.path}:{text.count(chr(10), 0, place) + 1}"


def _origin(upload: Upload) -> str:
    if upload.source is not None:
        return str(upload.source)
    origins = {
        "README.md": "the recipe's publish.card, or publish fewer rows: publish.card.sample_rows=0",
        "config_used.yaml": "the run's config_used.yaml",
    }
    return origins.get(upload.path, f"the run's {upload.path}")


def _without_vocabulary(text: str) -> str:
    """tokenizer.json without the pieces of its vocabulary, laid out one value a line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        value["model"] = {key: item for key, item in value["model"].items() if key not in ("vocab", "merges")}
    return json.dumps(value, indent=1, ensure_ascii=False)


def _head(path: Path) -> str:
    """What a weight file says before its numbers, as text."""
    with open(path, "rb") as file:
        if path.suffix == ".gguf":
            return file.read(MOST_HEADER_BYTES).decode("latin-1")
        count = int.from_bytes(file.read(8), "little")
        return file.read(min(count, MOST_HEADER_BYTES)).decode("utf-8", "replace")
