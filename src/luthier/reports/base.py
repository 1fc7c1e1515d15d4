"""What every stage leaves behind: one frozen JSON object, written last, so that its presence means a finished stage."""

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from luthier.floor.errors import UsageError
from luthier.floor.files import write_text
from luthier.reports.provenance import Provenance


def _not_a_number(value: Any) -> Any:
    return math.nan if value is None else value


Figure = Annotated[float, BeforeValidator(_not_a_number)]
"""A measurement that may come out infinite or undefined: null in the file, since JSON has no word for it, and NaN when read."""


class Report(BaseModel):
    """A stage's result. `inputs_hash` tells whether a repeated stage would do the same work."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    inputs_hash: str
    """Hash of everything the stage read; a repeated stage with the same hash returns this report."""
    seconds: float
    """How long the stage took."""
    provenance: Provenance
    """Versions, hardware and commit."""

    def write(self, path: Path) -> Self:
        """Write the report in one step; raises EnvironmentFault if the disk refuses. Infinite figures become null."""
        write_text(path, self.model_dump_json(indent=2) + "\n")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report; raises UsageError (run-unfinished) if it is not there or cannot be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as fault:
            raise UsageError(
                "run-unfinished",
                f"the stage {path.parent.name} of {path.parent.parent.name} has no report yet",
                where=str(path),
                fix="Run that stage first, or wait for it.",
            ) from fault
        except ValidationError as fault:
            raise UsageError(
                "run-unfinished",
                f"the report {path.name} cannot be read: {fault.errors()[0]['msg']}",
                where=str(path),
                fix="Do that stage again, with --again.",
            ) from fault
