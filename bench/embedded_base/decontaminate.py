"""Find the parts of a text that share a run of words with a benchmark or with held-out demo rows.

A run is 13 lower-cased words (the length GPT-3's report used, appendix C of arXiv:2005.14165); a benchmark string of 8
to 12 words is a run as a whole, so that short questions count too. Runs are compared as 64-bit rolling hashes: of some
10^8 comparisons about 10^-5 collide by chance.
"""

import csv
import gzip
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

RUN_WORDS = 13
SHORT_RUN_WORDS = range(8, RUN_WORDS)
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses no bits
LIKELY_BITS = 26
LIKELY_SHIFT = np.uint64(64 - LIKELY_BITS)


class Contamination:
    """The runs of words of every held-out suite, and which suite each came from first."""

    def __init__(self, suites: dict[str, list[Path]]) -> None:
        self.suites = list(suites)
        self.word_codes: dict[str, int] = {}
        found: dict[int, list[tuple[np.ndarray, int]]] = {n: [] for n in (*SHORT_RUN_WORDS, RUN_WORDS)}
        for index, files in enumerate(suites.values()):
            for text in (text for file in files for text in read_strings(file)):
                codes = self.encode(WORD.findall(text.lower()))
                if len(codes) in found:
                    found[len(codes)].append((run_hashes(codes, len(codes)), index))
                elif len(codes) > RUN_WORDS:
                    found[RUN_WORDS].append((run_hashes(codes, RUN_WORDS), index))
        self.runs = {n: sorted_runs(pieces) for n, pieces in found.items() if pieces}
        self.is_likely = {n: likely_table(hashes) for n, (hashes, _) in self.runs.items()}

    def encode(self, words: list[str]) -> np.ndarray:
        """One random-looking 64-bit code a word."""
        codes = self.word_codes
        for word in words:
            if word not in codes:
                codes[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.fromiter((codes[word] for word in words), dtype=np.uint64, count=len(words))

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """(first character, end character, suite) of every run that a suite holds too."""
        codes = self.encode(WORD.findall(text.lower()))
        hits: list[tuple[int, int, str]] = []
        spans: list[tuple[int, int]] = []  # found again only for a text that has a hit: few have
        for words_in_run, (hashes, suite_of) in self.runs.items():
            if len(codes) < words_in_run:
                continue
            mine = run_hashes(codes, words_in_run)
            likely = np.flatnonzero(self.is_likely[words_in_run][mine >> LIKELY_SHIFT])
            at = np.minimum(np.searchsorted(hashes, mine[likely]), len(hashes) - 1)
            for start, place in zip(likely, at, strict=True):
                if hashes[place] == mine[start]:
                    spans = spans or [match.span() for match in WORD.finditer(text.lower())]
                    end = spans[start + words_in_run - 1][1]
                    hits.append((spans[start][0], end, self.suites[suite_of[place]]))
        return hits

    def cut(self, text: str, counts: Counter[str]) -> str:
        """The text without the paragraphs that a hit touches; `counts` gets one for each suite and paragraph."""
        hits = self.find(text)
        if not hits:
            return text
        kept, start = [], 0
        for paragraph in re.split(r"(?<=\n)", text):
            end = start + len(paragraph)
            guilty = {suite for first, last, suite in hits if first < end and last > start}
            counts.update(guilty)
            if not guilty:
                kept.append(paragraph)
            start = end
        return "".join(kept)


def run_hashes(codes: np.ndarray, words_in_run: int) -> np.ndarray:
    """A polynomial hash modulo 2^64 of every run of `words_in_run` codes."""
    runs = len(codes) - words_in_run + 1
    hashes = np.zeros(runs, dtype=np.uint64)
    for offset in range(words_in_run):
        hashes = hashes * MULTIPLIER + codes[offset : offset + runs]
    return hashes


def likely_table(hashes: np.ndarray) -> np.ndarray:
    """A table over the first 26 bits of a hash: False means that no suite has it, without a search."""
    table = np.zeros(1 << LIKELY_BITS, dtype=bool)
    table[hashes >> LIKELY_SHIFT] = True
    return table


def sorted_runs(pieces: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """All hashes in order, each once, with the index of the first suite that has it."""
    hashes = np.concatenate([piece for piece, _ in pieces])
    suites = np.concatenate([np.full(len(piece), index) for piece, index in pieces])
    unique, first = np.unique(hashes, return_index=True)
    return unique, suites[first]


def read_strings(file: Path) -> Iterator[str]:
    """Every string value of a JSON, JSONL, CSV or text file, whatever its fields are called."""
    unpack: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress}
    content = unpack.get(file.suffix, bytes)(file.read_bytes()).decode("utf-8-sig", errors="replace")
    names = file.name.split(".")
    if "jsonl" in names:
        for line in content.split("\n"):  # splitlines would also cut at U+2028 inside a string
            yield from strings_of(json.loads(line)) if line.strip() else ()
    elif "json" in names:
        yield from strings_of(json.loads(content))
    elif "csv" in names:
        for row in csv.reader(content.splitlines()):
            yield from row
    else:
        yield from content.split("\n")


def strings_of(value: object) -> Iterator[str]:
    """The strings inside a JSON value, depth first."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)
