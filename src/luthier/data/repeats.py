"""Find the rows of a recipe that repeat others, before any is written.

The rows are gone through once, as cleaning leaves them; their texts wait in a temporary file, since rows of a Parquet file or an
archive cannot be read again one at a time. What is near and what stays is decided by dedup/.
"""

import json
import shutil
from array import array
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from luthier.config.repeats import DedupConfig
from luthier.data.alike.wording import Wording, wording_of
from luthier.data.dedup.columns import Columns
from luthier.data.dedup.embed import hash_static_model, load_embedder
from luthier.data.dedup.scan import PlacedRow
from luthier.data.dedup.semantic import Semantic
from luthier.data.dedup.sketch import Sketcher, choose_bands, find_engine
from luthier.data.dedup.stage import BUDGET_BYTES, compare
from luthier.data.dedup.table import BATCH_CHARACTERS, append_rows, make_table
from luthier.data.dedup.verdict import EXACT, KEPT, NEAR, SEMANTIC, Verdict, measure_of
from luthier.floor.errors import DataError
from luthier.floor.files import disk_faults
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.text.rows import Row

BATCH_ROWS = 4096
FOLDER = "repeats"
REASONS = {EXACT: "exact repeat", NEAR: "near repeat", SEMANTIC: "semantic repeat"}


def dedup_key(config: DedupConfig) -> dict[str, Any]:
    """Everything of a recipe's deduplication that changes which rows stay; empty if it is off."""
    if config.kind == "off":
        return {}
    hidden = {"model"} if config.model else {"model", "similarity"}
    key = config.model_dump(mode="json", exclude=hidden)
    return {"dedup": key | ({"model": hash_static_model(config.model)} if config.model else {})}


class Repeats:
    """Which rows repeat others, by their number in the order of reading. A context manager: its files go with it."""

    def __init__(self, config: DedupConfig, folder: Path, listener: Listener, stop: StopFlag) -> None:
        is_near = config.kind in ("near", "semantic")
        self._sketcher = Sketcher(find_engine(), choose_bands(config.threshold)) if is_near else None
        self._folder = folder / FOLDER
        self._semantic = None
        if config.model is not None:
            embedder = load_embedder(config.model, where="data.dedup.model")
            self._semantic = Semantic(embedder, config.similarity, self._folder)
        self._listener = listener
        self._stop = stop
        self._offsets = array("q")
        self._verdict = Verdict.all_kept(0)
        self._spool: BinaryIO | None = None

    def __enter__(self) -> Self:
        with disk_faults(self._folder):
            self._folder.mkdir(parents=True)
            self._spool = open(self._folder / "texts.jsonl", "w+b")  # closed in __exit__
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spool:
            self._spool.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, rows: Iterable[Row]) -> None:
        """Go through all rows and decide. Raises EnvironmentFault if the disk refuses."""
        with Columns(self._folder, budget_bytes=BUDGET_BYTES) as columns:
            batch: list[PlacedRow] = []
            characters = 0
            for row in rows:
                placed = self._keep(row)
                batch.append(placed)
                characters += len(placed.wording.body)
                if len(batch) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                    append_rows(batch, columns, self._sketcher)
                    batch, characters = [], 0
            if batch:
                append_rows(batch, columns, self._sketcher)
            count = len(self._offsets)
            if not count:
                return
            table = make_table(
                (self._folder,),
                columns.close(),
                source_files=1,
                first_against=count,
                spilled_bytes=columns.spilled_bytes,
            )
            found = compare(
                table,
                self._sketcher,
                self,
                semantic=self._semantic,
                budget_bytes=BUDGET_BYTES,
                listener=self._listener,
                stop=self._stop,
            )
            self._verdict = found.verdict

    def is_kept(self, number: int) -> bool:
        """Whether a row stays. Raises DataError (data-changed) if there are more rows now than were gone through."""
        if number >= len(self._offsets):
            raise _changed()
        return bool(self._verdict.kind_S[number] == KEPT)

    def why(self, number: int) -> tuple[str, str, dict[str, Any]]:
        """Of a row that goes: the reason, the place of the row that stays for it, and how alike they are by which measure."""
        verdict = self._verdict
        kept = self._read(self._offsets[int(verdict.repeats_S[number])])["origin"]
        return (
            REASONS[int(verdict.kind_S[number])],
            str(kept),
            {measure_of(verdict, number): round(float(verdict.jaccard_S[number]), 4)},
        )

    def check_all_came(self, rows: int) -> None:
        """Raise DataError (data-changed) if there are fewer rows now than were gone through."""
        if rows != len(self._offsets):
            raise _changed()

    def wording(self, file: int, offset: int) -> Wording:
        """The texts of the row that starts there, for the judge of near rows."""
        entry = self._read(offset)
        return Wording(tuple(entry["fields"]), entry["prompt"], entry["answer"], entry["body"])

    def _keep(self, row: Row) -> PlacedRow:
        assert self._spool is not None, "the spool is open"
        wording = wording_of(row)
        offset = self._spool.tell()
        entry = {"origin": row.origin, **asdict(wording)}
        with disk_faults(self._folder):
            self._spool.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self._offsets.append(offset)
        return PlacedRow(0, len(self._offsets), offset, wording)

    def _read(self, offset: int) -> dict[str, Any]:
        assert self._spool is not None, "the spool is open"
        self._spool.seek(offset)
        found: dict[str, Any] = json.loads(self._spool.readline())
        return found


def _changed() -> DataError:
    return DataError(
        "data-changed",
        "the data has another number of rows than when its repeats were looked for",
        where="data.path",
        why="Rows are read twice, and would be others than those that were compared.",
        fix="Wait until nothing writes to the files, then repeat the command.",
    )
