"""What every section of the recipe shares: frozen, unknown keys refused, no silent conversions.

Strict, because YAML is generous: `yes` must not become True, nor True become 1. Numbers alone may come as text, since
`1e-4` without a dot is text to many YAML writers.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict


class Section(BaseModel):
    """A frozen part of the recipe. A field's docstring is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def _number_from_text(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _plain(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not hold control characters")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):  # an argument that is not UTF-8
        raise ValueError("must be Unicode text")
    if "${" in value:  # it was escaped; the resolved recipe is read again, and then it would not be
        raise ValueError("must not hold ${")
    return value


def _no_address(value: str) -> str:
    if "://" in value:
        raise ValueError("must be a path or a hub id, not an address: nothing is fetched from elsewhere")
    if value != value.strip():
        raise ValueError("must not begin or end with a space")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# The bounds stand before the conversion, or pydantic leaves them out of the JSON Schema.
_FROM_TEXT = BeforeValidator(_number_from_text)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _FROM_TEXT]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _FROM_TEXT]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), _FROM_TEXT]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), _FROM_TEXT]
Count = Annotated[int, Field(gt=0, le=2**40)]
CountOrZero = Annotated[int, Field(ge=0, le=2**40)]
Text = Annotated[str, AfterValidator(_plain), Field(min_length=1)]
PathOrId = Annotated[Text, AfterValidator(_no_address)]
Texts = Annotated[tuple[Text, ...], Strict(False)]
# A single text may stand for a list of one.
TextOrTexts = Annotated[tuple[Text, ...], Strict(False), BeforeValidator(_listed)]
