"""`--columns FIELD=NAME`: on the command line what data.columns is in a recipe."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from luthier.text.columns import Columns

FIELDS = ("prompt", "completion", "messages", "text")

NamedColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="FIELD=NAME",
        help="Make prompt, completion, messages or text of the column NAME; column_1 is the first of a table without a header. "
        "Repeated for other fields, and for further columns of one.",
        show_default=False,
    ),
]


def columns_of(words: list[str] | None) -> "Columns | None":
    """The columns that were named; None if none were. Raises UsageError for a field that is none, or that lacks its other."""
    from pydantic import ValidationError

    from luthier.config.data import ColumnsConfig
    from luthier.text.columns import named_columns

    named: dict[str, list[str]] = {}
    for word in words or ():
        field, is_given, name = word.partition("=")
        if field not in FIELDS or not is_given or not name:
            raise _refused(f"{word!r} is not FIELD=NAME with a FIELD of {', '.join(FIELDS)}")
        named.setdefault(field, []).append(name)
    try:
        return named_columns(ColumnsConfig.model_validate(named))
    except ValidationError as fault:
        raise _refused(fault.errors()[0]["msg"].removeprefix("Value error, ")) from fault


def _refused(what: str) -> Exception:
    from luthier.floor.errors import UsageError

    fix = "Type it so: --columns prompt=question --columns completion=answer"
    return UsageError("usage", what, where="--columns", fix=fix)
