"""Keep findings without bound: their texts in a file once they are many, a few numbers of each in memory."""

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from luthier.data.check.kinds import KINDS, Fault
from luthier.floor.files import disk_faults
from luthier.floor.secrets import hide_secrets
from luthier.reports.check import Finding, Severity

IN_MEMORY_BYTES = 2**24
_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_NAMES = tuple(KINDS)


class FindingStore:
    """The findings of a check, in any order in, by place or by kind out."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._files = [str(path) for path in files]
        self._folder = folder
        self._texts = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115  # closed in __exit__
        self._file, self._line, self._kind, self._offset = array("l"), array("q"), array("h"), array("q")
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._texts.close()

    def add(self, file: int, line: int, fault: Fault) -> None:
        """Keep what was found on a line of the file of that number; secrets in it are hidden."""
        self.counts[fault.kind] += 1
        fix = (fault.fix or KINDS[fault.kind].fix).replace("FILE", self._files[file])
        content = json.dumps([hide_secrets(fault.message), hide_secrets(fix)]).encode() + b"\n"
        with disk_faults(self._folder):
            self._texts.write(content)
        self._file.append(file)
        self._line.append(line)
        self._kind.append(_NUMBERS[fault.kind])
        self._offset.append(self._end)
        self._end += len(content)

    def by_place(self) -> Iterator[Finding]:
        """Every finding, by file and line, and in the order of the kinds where several stand on one."""
        order = np.lexsort((np.array(self._kind), np.array(self._line), np.array(self._file)))
        return (self._finding(int(number)) for number in order)

    def of_kind(self, kind: str, *, most: int) -> Iterator[Finding]:
        """The first findings of a kind, by place."""
        numbers = np.flatnonzero(np.array(self._kind) == _NUMBERS[kind])
        order = np.lexsort((np.array(self._line)[numbers], np.array(self._file)[numbers]))
        return (self._finding(int(number)) for number in numbers[order[:most]])

    def count(self, severity: Severity) -> int:
        """How many findings are as grave as that."""
        return sum(count for kind, count in self.counts.items() if KINDS[kind].severity == severity)

    def _finding(self, number: int) -> Finding:
        self._texts.seek(self._offset[number])
        message, fix = json.loads(self._texts.readline())
        kind = _NAMES[self._kind[number]]
        return Finding(
            file=self._files[self._file[number]],
            line=self._line[number],
            kind=kind,
            severity=KINDS[kind].severity,
            message=message,
            fix=fix,
        )
