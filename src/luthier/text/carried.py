"""Fields that a row carries though no format uses them: what sets are split by."""

import json

from luthier.floor.lookup import did_you_mean
from luthier.text.problems import LineFault, describe
from luthier.text.readers.record import Fields


def carry(fields: Fields, name: str) -> str:
    """The value of a field that decides how sets are split. Raises LineFault where it is missing, empty, or no single value."""
    value = fields.get(name)
    if value is None or value == "":
        present = ", ".join(str(each)[:40] for each in list(fields)[:8])
        raise LineFault(
            "data-field",
            f"lacks the field {name!r}, which sets are split by{did_you_mean(name, fields)}; it has: {present}",
        )
    if isinstance(value, (dict, list)):
        raise LineFault("data-field", f"{name!r} is {describe(value)}; sets are split by a text or a number")
    return value if isinstance(value, str) else json.dumps(value)
