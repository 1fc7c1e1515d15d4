"""The micro-batches of one optimizer step, as the loop takes them: rows, borders, fill, and positions that start again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.cli.output import table
from luthier.cli.paint import spelt_name
from luthier.cli.row_picture import INDENT, Look, Pieces, painted_table, quoted

if TYPE_CHECKING:
    from luthier.cli.row_facts import RowReader, Token
    from luthier.config.recipe import Recipe
    from luthier.tokens.row_order import RowOrder
    from luthier.tokens.rows import TrainingRows


@dataclass(frozen=True)
class RowInPack:
    """A row of a micro-batch; in a padded one every row begins at 0."""

    row: int
    origin: str
    start: int
    tokens: tuple["Token", ...]

    @property
    def trained_tokens(self) -> int:
        return sum(token.is_trained for token in self.tokens)


@dataclass(frozen=True)
class Pack:
    """One micro-batch; `positions` are those of its tokens, rows end to end, as the model gets them."""

    rows: tuple[RowInPack, ...]
    budget: int
    """The tokens that it has room for; padded, its longest row times its rows."""
    positions: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)

    @property
    def trained_tokens(self) -> int:
        return sum(row.trained_tokens for row in self.rows)

    @property
    def borders(self) -> list[int]:
        """Where each row begins, rows end to end; found in the positions alone."""
        return [place for place, position in enumerate(self.positions) if position == 0]


@dataclass(frozen=True)
class ShownStep:
    """One optimizer step."""

    number: int
    total: int
    epoch: int
    is_packed: bool
    packs: tuple[Pack, ...]

    def as_json(self, *, with_tokens: bool) -> dict[str, Any]:
        """The same for `--json`."""
        return {
            "step": self.number,
            "steps": self.total,
            "epoch": self.epoch,
            "is_packed": self.is_packed,
            "packs": [_pack_json(pack, with_tokens=with_tokens) for pack in self.packs],
        }


def read_step(
    number: int, order: "RowOrder", recipe: "Recipe", store: "TrainingRows", reader: "RowReader"
) -> ShownStep:
    """Step `number`, counted from 1 as in metrics.jsonl."""
    from luthier.tokens.pack import restarting_positions

    is_packed = recipe.train.packing or bool(recipe.train.tokens_per_step)
    step = order.step(number - 1)
    packs = []
    for batch in step.micro_batches:
        lengths = [len(store.ids(row)) for row in batch]
        rows, start = [], 0
        for row, length in zip(batch, lengths, strict=True):
            rows.append(RowInPack(row, store.origin(row), start, reader.tokens(row)))
            start += length if is_packed else 0
        budget = recipe.pack_tokens() if is_packed else padded_length(lengths, recipe) * len(batch)
        packs.append(Pack(tuple(rows), budget, tuple(restarting_positions(lengths).tolist())))
    return ShownStep(number, order.total_steps, step.epoch + 1, is_packed, tuple(packs))


def padded_length(lengths: list[int], recipe: "Recipe") -> int:
    """How long the rows of a padded micro-batch are made."""
    return max(*lengths, recipe.data.max_length) if recipe.train.padding == "fixed" else max(lengths)


def step_pieces(step: ShownStep, look: Look) -> Pieces:
    """The step and its packs, as text with the colour of each piece."""
    rows = sum(len(pack.rows) for pack in step.packs)
    tokens = sum(pack.tokens for pack in step.packs)
    trained = sum(pack.trained_tokens for pack in step.packs)
    name = "pack" if step.is_packed else "padded batch"
    head = (
        f"step {step.number} of {step.total} (epoch {step.epoch}): {rows} rows in {_several(len(step.packs), name)}, "
        f"{tokens:,} tokens, {trained:,} of them trained"
    )
    pieces: Pieces = [(head, "")]
    for number, pack in enumerate(step.packs, start=1):
        pieces.append(("\n\n" + "\n".join(pack_lines(pack, f"{name} {number} of {len(step.packs)}")), ""))
        if look.with_tokens:
            pieces += [("\n", ""), *_token_pieces(pack, has_colour=look.has_colour)]
    return pieces


def pack_lines(pack: Pack, title: str) -> list[str]:
    """A pack's fill, its rows with their borders, and the proof that no row sees another."""
    fill = f"{pack.tokens:,} of {pack.budget:,} tokens, {pack.tokens / pack.budget:.1%} full"
    rows = [("row", "tokens", "trained", "in the batch", "positions", "from")]
    ends = [*pack.borders[1:], len(pack.positions)]
    for row, border, end in zip(pack.rows, pack.borders, ends, strict=True):
        positions = pack.positions[border:end]
        place = f"{row.start}-{row.start + len(row.tokens) - 1}"
        span = f"{positions[0]}-{positions[-1]}"
        rows.append(
            (str(row.row), str(len(row.tokens)), str(row.trained_tokens), place, span, spelt_name(row.origin))
        )
    lines = [f"{title}: {_several(len(pack.rows), 'row')}, {fill}, {pack.trained_tokens:,} trained"]
    lines += [INDENT + line for line in table(rows, right=(0, 1, 2, 3, 4)).split("\n")]
    return [*lines, INDENT + proof(pack)]


def proof(pack: Pack) -> str:
    """No row sees another: positions go up by one inside a row and start again at 0 where the next one begins."""
    starts = [0]
    for row in pack.rows[:-1]:
        starts.append(starts[-1] + len(row.tokens))
    steps_by_one = all(
        after in (0, before + 1) for before, after in zip(pack.positions, pack.positions[1:], strict=False)
    )
    assert pack.borders == starts and steps_by_one, "the positions of a pack do not follow its rows"
    return f"no row sees another: positions start again at 0 {_several(len(starts), 'time')}, once a row"


def _token_pieces(pack: Pack, *, has_colour: bool) -> Pieces:
    rows = [("place", "row", "position", "id", "loss", "text")]
    tokens: list[Token] = []
    positions = iter(pack.positions)
    for row in pack.rows:
        for place, token in enumerate(row.tokens, start=row.start):
            loss = "yes" if token.is_trained else "-"
            rows.append((str(place), str(row.row), str(next(positions)), str(token.id), loss, quoted(token)))
            tokens.append(token)
    return painted_table(rows, tokens, right=(0, 1, 2, 3), has_colour=has_colour)


def _pack_json(pack: Pack, *, with_tokens: bool) -> dict[str, Any]:
    from luthier.cli.row_facts import tokens_json

    def row_json(row: RowInPack) -> dict[str, Any]:
        facts = {
            "row": row.row,
            "origin": row.origin,
            "start": row.start,
            "tokens": len(row.tokens),
            "trained_tokens": row.trained_tokens,
        }
        return facts | ({"token_list": tokens_json(row.tokens)} if with_tokens else {})

    return {
        "tokens": pack.tokens,
        "trained_tokens": pack.trained_tokens,
        "budget": pack.budget,
        "borders": pack.borders,
        "positions": list(pack.positions),
        "rows": [row_json(row) for row in pack.rows],
    }


def _several(count: int, name: str) -> str:
    plural = "es" if name.endswith("ch") else "s"
    return f"{count} {name}{'' if count == 1 else plural}"
