"""Make the pretraining corpus of the embedded base model, and say what went into it.

    python bench/embedded_base/corpus.py --source DIR --out DIR

`--source` is a folder of public texts laid out as SOURCES below names them, `bench-*` suites and `demo-*` splits among
them. Writes train.jsonl.xz and validation.jsonl.xz ({"text"} rows) and corpus.json: what each source gave, its licence,
what was cut because a benchmark or a held-out demo row has it too, and the files' sizes. Same source, same bytes.

Left out on purpose: everything made from E2E, Banking77 and SNIPS (the demo tasks), and SCAN, nl2bash, morphology and
dates (tasks that people fine-tune on later).
"""

import argparse
import hashlib
import json
import lzma
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import items
from cleaning import clean_article, clean_manual, clean_novel, is_broken, tidy
from decontaminate import Contamination
from items import Item

DOCUMENT_CHARS = 6_000  # about 1,700 tokens: a document fits the model's context of 2,048
GROUP_CHARS = 2_400  # items that share a document: enough to show a layout several times
DOCUMENT_CHARS_MIN = 80
VALIDATION_PERMILLE = 10
KEPT_SHARE_MIN = 0.5  # a text that loses more than half to decontamination goes as a whole


@dataclass(frozen=True)
class Prose:
    """A source of long texts. `megabytes` caps it (None: all of it); `passes` is how often it is read."""

    file: str
    licence: str
    clean: Callable[[str], str]
    passes: int = 1
    megabytes: float | None = None
    splits_inside: bool = False  # novels: by document, one book would be all of the validation or none of it


@dataclass(frozen=True)
class Rows:
    """A source of small supervised rows, several to a document."""

    read: Callable[[Path], Iterator[Item]]
    licence: str
    passes: int


# A model of 7 M parameters has no room for everything: English that people speak and explain in comes first, technical
# manuals are capped to their first megabytes (in the order of their hashes).
SOURCES: dict[str, Prose | Rows] = {
    "novels": Prose(
        "pretrain/novels-pd.jsonl.xz", "public domain in the US", clean_novel, splits_inside=True
    ),
    "openstax": Prose("pretrain/openstax-ccby.jsonl.xz", "CC-BY-4.0", clean_article, passes=2),
    "factbook": Prose("pretrain/factbook.jsonl.xz", "CC0-1.0", clean_article),
    "wikipedia": Prose("formats/text_wiki_demo.txt", "CC-BY-SA-3.0", clean_article, passes=3),
    "web": Prose("formats/text_c4_demo.jsonl", "ODC-BY", clean_article, passes=3),
    "rust-book": Prose("pretrain/rust-book.jsonl.xz", "MIT OR Apache-2.0", clean_manual),
    "docs-python": Prose("pretrain/docs-python.jsonl.xz", "PSF-2.0", clean_manual, megabytes=3.5),
    "docs-sqlite": Prose("pretrain/docs-sqlite.jsonl.xz", "public domain", clean_manual, megabytes=3),
    "docs-postgresql": Prose("pretrain/docs-postgresql.jsonl.xz", "PostgreSQL", clean_manual, megabytes=2.5),
    "docs-django": Prose("pretrain/docs-django.jsonl.xz", "BSD-3-Clause", clean_manual, megabytes=2),
    "docs-apache": Prose("pretrain/docs-apache.jsonl.xz", "Apache-2.0", clean_manual, megabytes=1.5),
    "docs-powershell": Prose("pretrain/docs-powershell.jsonl.xz", "CC-BY-4.0", clean_manual, megabytes=2),
    "docs-cpp": Prose("pretrain/docs-cpp.jsonl.xz", "CC-BY-4.0", clean_manual, megabytes=3),
    "docs-win32": Prose("pretrain/docs-win32-sample.jsonl.xz", "CC-BY-4.0", clean_manual, megabytes=1.5),
    "peps": Prose("pretrain/peps.jsonl.xz", "public domain or CC0-1.0", clean_manual, megabytes=3),
    "trivia": Rows(items.read_trivia, "CC-BY-SA-4.0", passes=3),
    "wikisql": Rows(items.read_wikisql, "BSD-3-Clause", passes=2),
    "gsm8k": Rows(items.read_gsm8k, "MIT", passes=2),
    "flan": Rows(items.read_flan, "Apache-2.0 (underlying sets MIT, CDLA-Sharing)", passes=3),
    "tldr": Rows(items.read_tldr, "CC-BY-4.0", passes=1),
    "toolformer": Rows(items.read_toolformer, "MIT (GPT-4-generated)", passes=2),
    "chats": Rows(items.read_chats, "MIT (GPT-4-generated), Apache-2.0", passes=3),
}


@dataclass(frozen=True)
class Text:
    """A cleaned text before it is cut into documents: its key decides between training and validation."""

    key: str
    group: str
    layouts: list[str]

    def is_validation(self) -> bool:
        return order_of(self.key, "split") % 1000 < VALIDATION_PERMILLE


def order_of(key: str, salt: str) -> int:
    """A number that looks random and never changes: the order of caps, splits and passes."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest(), "big")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pretraining corpus of the embedded base model.")
    parser.add_argument("--source", type=Path, required=True, help="folder of public texts")
    parser.add_argument("--out", type=Path, required=True, help="folder for the corpus")
    parser.add_argument("--preset", type=int, default=9, help="xz preset, 9 unless you are trying things out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    contamination = Contamination(held_out_suites(arguments.source))
    documents: dict[str, list[str]] = {"train": [], "validation": []}
    report: dict[str, dict[str, Any]] = {"sources": {}, "cut_by_suite": {}, "files": {}}
    cut_by_suite: Counter[str] = Counter()
    for name, source in SOURCES.items():
        cut: Counter[str] = Counter()
        texts = list(read_clean(source, arguments.source, contamination, cut))
        facts = {"licence": source.licence, "passes": source.passes, "texts": len(texts), "cut": dict(cut)}
        for split, wanted in (("train", False), ("validation", True)):
            chosen = [text for text in texts if text.is_validation() == wanted]
            made = list(make_documents(chosen, source, name, passes=1 if wanted else source.passes))
            documents[split] += made
            facts[f"{split}_documents"], facts[f"{split}_chars"] = len(made), sum(map(len, made))
        report["sources"][name] = facts
        cut_by_suite.update(cut)
        print(name, facts, flush=True)
    report["cut_by_suite"] = dict(cut_by_suite.most_common())
    for split, rows in documents.items():
        report["files"][split] = write_rows(arguments.out / f"{split}.jsonl.xz", rows, arguments.preset)
    (arguments.out / "corpus.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def held_out_suites(source: Path) -> dict[str, list[Path]]:
    """Every benchmark file and every held-out split of a task, by suite."""
    suites: dict[str, list[Path]] = {}
    for folder in sorted(source.glob("bench-*")):
        files = [file for file in sorted(folder.iterdir()) if not file.name.startswith(("README", "LICENSE"))]
        if folder.name == "bench-gauntlet":  # many suites in one folder
            suites |= {f"bench-gauntlet/{file.stem}": [file] for file in files}
        else:
            suites[folder.name] = files
    for folder in sorted(source.glob("demo-*")):
        suites[f"{folder.name}/test"] = [folder / "test.jsonl"]
    suites["e2e"] = sorted((source / "e2e").glob("*.csv"))
    suites["gsm8k/test"] = [source / "gsm8k/test.jsonl"]
    return suites


def read_clean(
    source: Prose | Rows, folder: Path, contamination: Contamination, cut: Counter[str]
) -> Iterator[Text]:
    """The source's texts, broken and repeated ones dropped, held-out runs cut, up to the source's cap."""
    if isinstance(source, Rows):
        yield from clean_items(source.read(folder), contamination, cut)
        return
    texts = sorted(read_prose(folder / source.file), key=lambda text: order_of(text[0], "cap"))
    room = float("inf") if source.megabytes is None else source.megabytes * 1e6
    for key, raw in texts:
        if room <= 0:
            return
        cleaned = source.clean(raw)
        kept = contamination.cut(cleaned, cut)
        if len(kept) < max(DOCUMENT_CHARS_MIN, KEPT_SHARE_MIN * len(cleaned)):
            if len(cleaned) >= DOCUMENT_CHARS_MIN:
                cut["whole texts"] += 1
            continue
        room -= len(kept)
        pieces = split_text(kept) if source.splits_inside else [kept]
        for number, piece in enumerate(pieces):
            yield Text(f"{key}#{number}", key, [piece])


def clean_items(rows: Iterable[Item], contamination: Contamination, cut: Counter[str]) -> Iterator[Text]:
    """Rows without broken, repeated or held-out ones; a held-out row goes whole, since it is one paragraph."""
    seen: set[str] = set()
    for row in rows:
        key = "".join(filter(str.isalnum, row.key.casefold()))
        if key in seen or is_broken(row.layouts[0]):
            cut["repeated or broken"] += 1
            continue
        seen.add(key)
        suites = {suite for *_, suite in contamination.find("\n".join(row.layouts))}
        if suites:
            cut.update(suites)
            continue
        yield Text(key, row.group, [tidy(layout).strip() for layout in row.layouts])


def read_prose(path: Path) -> Iterator[tuple[str, str]]:
    """(key, text) of every document of a JSONL file, or of every line of a text file."""
    content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    for number, line in enumerate(content.decode("utf-8").split("\n")):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            yield f"{path.stem}/{number}", line
        else:
            row = json.loads(line)
            yield str(row.get("id", number)), row["text"]


def make_documents(texts: list[Text], source: Prose | Rows, name: str, *, passes: int) -> Iterator[str]:
    """The documents of all passes, one after the other so that xz finds the repeats."""
    for number in range(passes):
        if isinstance(source, Rows):
            yield from group_items(texts, salt=f"{name}/{number}")
        else:
            yield from (document for text in texts for document in split_text(text.layouts[0]))


def split_text(text: str) -> Iterator[str]:
    """Pieces of at most DOCUMENT_CHARS, cut between paragraphs."""
    piece: list[str] = []
    chars = 0
    for paragraph in short_paragraphs(text):
        if piece and chars + len(paragraph) > DOCUMENT_CHARS:
            yield "\n\n".join(piece)
            piece, chars = [], 0
        piece.append(paragraph)
        chars += len(paragraph) + 2
    if chars >= DOCUMENT_CHARS_MIN:
        yield "\n\n".join(piece)


def short_paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text; one longer than a document is cut at a space."""
    for paragraph in text.split("\n\n"):
        if len(paragraph) <= DOCUMENT_CHARS:
            yield paragraph
        else:
            yield from re.findall(rf".{{1,{DOCUMENT_CHARS}}}(?:\s|$)", paragraph, flags=re.DOTALL)


def group_items(texts: list[Text], *, salt: str) -> Iterator[str]:
    """Documents of one group and one layout each, in an order of this pass's own; one in ten items stays alone."""
    ordered = sorted(texts, key=lambda text: order_of(text.key, salt))
    waiting: dict[tuple[str, int], list[str]] = defaultdict(list)
    for text in ordered:
        dice = order_of(text.key, salt + "/layout")
        layout = dice % len(text.layouts)
        rendered = text.layouts[layout]
        if text.group == "chat" or dice % 97 < 10:
            yield rendered
            continue
        group = waiting[text.group, layout]
        group.append(rendered)
        if sum(map(len, group)) > GROUP_CHARS:
            yield "\n\n".join(group)
            group.clear()
    yield from ("\n\n".join(group) for group in waiting.values() if group)


def write_rows(path: Path, texts: list[str], preset: int) -> dict[str, int]:
    """Write the rows as JSONL, compressed with a window that reaches back over the passes of a source."""
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
    window_bytes = 1 << 26 if preset >= 9 else 1 << 23
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset | lzma.PRESET_EXTREME, "dict_size": window_bytes}]
    path.write_bytes(lzma.compress(lines, format=lzma.FORMAT_XZ, filters=filters))
    return {
        "documents": len(texts),
        "chars": sum(map(len, texts)),
        "bytes": len(lines),
        "xz_bytes": path.stat().st_size,
    }


if __name__ == "__main__":
    main()
