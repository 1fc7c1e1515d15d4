"""What a recipe's data section does with rows, in words and in order."""

from collections.abc import Iterator

from luthier.config.data import DataConfig
from luthier.data.clean.presets import make_filters


def steps_of(data: DataConfig) -> list[str]:
    """`clean: empty, repair`, `leave out repeats: near`, and so on, as the pipeline does it."""
    return list(_steps(data))


def _steps(data: DataConfig) -> Iterator[str]:
    if filters := make_filters(data.clean):
        yield f"clean: {', '.join(each.name for each in filters)}"
    if data.dedup.kind != "off":
        yield f"leave out repeats: {data.dedup.kind}"
    looked_for = [*map(str, data.leaks.suites), *(["the validation rows"] if data.leaks.validation else [])]
    if looked_for:
        yield f"look for questions of {', '.join(looked_for)}: {data.leaks.found}"
    if not data.validation_path and data.validation_fraction:
        by = f", by {data.group_by}" if data.group_by else ""
        yield f"set {data.validation_fraction:.3g} of the rows apart to validate on{by}"
    weights = [f"{each.name or each.path} {each.weight:g} times" for each in data.sources if each.weight != 1]
    if weights:
        yield f"weigh: {', '.join(weights)}"
    if data.tokenization == "on_the_fly":
        yield "keep the texts of training rows; training tokenizes them as it reaches them"
    yield f"rows beyond {data.max_length:,} tokens: {data.overlong}"
