"""The pages a user reads, cut into what can be checked: command lines, YAML blocks, code spans, links, table rows."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)
SEPARATORS = {"&&", "||", ";", "|", "do", "until", "if", "then", "!"}
WORDS_BEFORE = re.compile(r"[A-Z_]+=.*|\d?>+.*")


@dataclass(frozen=True)
class Page:
    """A Markdown file; places are `docs/index.md`."""

    name: str
    text: str

    @property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        return FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """The fenced blocks of these languages."""
        return [text for language, text in FENCE.findall(self.text) if language in languages]


@dataclass(frozen=True)
class CommandLine:
    """One command as a person would type it, cut into words."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


@cache
def pages() -> tuple[Page, ...]:
    """The README and its companions, and everything below docs/."""
    paths = [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")]
    return tuple(Page(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in sorted(paths))


def page(name: str) -> Page:
    """The page of this name."""
    return next(page for page in pages() if page.name == name)


def command_lines() -> list[CommandLine]:
    """Every command in a block of shell, behind a prompt in a transcript, or in a code span that starts like one."""
    found: list[CommandLine] = []
    for page in pages():
        lines = [line for block in page.blocks("sh") for line in block.splitlines()]
        transcripts = [line for block in page.blocks("console") for line in block.splitlines()]
        lines += [line.removeprefix("$ ") for line in transcripts if line.startswith("$ ")]
        lines += [span for span in spans(page) if re.match(r"(luthier|make) ", span) and "..." not in span]
        found += [CommandLine(page.name, words) for line in lines for words in cut_commands(line)]
    return found


def cut_commands(line: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a line of shell, without variables before them and files behind `>`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in SEPARATORS:
            words.append(word)
            continue
        while words and WORDS_BEFORE.fullmatch(words[0]):
            words.pop(0)
        if ">" in words:
            words = words[: words.index(">")]
        if words:
            yield tuple(words)
        words = []


def spans(page: Page) -> list[str]:
    """The code spans outside fenced blocks."""
    return SPAN.findall(page.prose)


def links(page: Page) -> list[str]:
    """Where its relative links lead, without the part behind `#`."""
    targets = [target.partition("#")[0] for target in LINK.findall(page.prose) if "://" not in target]
    return [target for target in targets if target]


def table_rows(page: Page) -> list[list[str]]:
    """The cells of every table row outside fenced blocks."""
    lines = [line for line in page.prose.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
