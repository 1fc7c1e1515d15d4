"""Who says how much in conversations, counted in rows that are read again from their files."""

from collections.abc import Callable, Mapping
from typing import Literal

from luthier.data.survey.origins import Fields
from luthier.reports.survey import RoleShare
from luthier.text.chat import learnt_turns
from luthier.text.problems import LineFault
from luthier.text.row_shapes import make_row


def count_roles(
    rows: Mapping[str, Fields],
    encode: Callable[[list[str]], list[list[int]]],
    train_on: Literal["all", "last"],
) -> tuple[list[RoleShare], int]:
    """Tokens by role, the most first, and how many rows could be counted."""
    turns: list[tuple[str, str, bool]] = []
    counted = 0
    for origin, fields in rows.items():
        try:
            messages = make_row(fields, "messages", origin).messages
        except LineFault:  # named columns, or a line that is another one now
            continue
        counted += 1
        learnt = set(learnt_turns(messages, train_on))
        turns += [
            (each.role, "\n".join(each.texts()), number in learnt) for number, each in enumerate(messages)
        ]
    shares: dict[str, list[int]] = {}
    ids = encode([text for _, text, _ in turns]) if turns else []
    for (role, _, is_learnt), tokens in zip(turns, ids, strict=True):
        share = shares.setdefault(role, [0, 0, 0])
        share[0] += 1
        share[1] += len(tokens)
        share[2] += len(tokens) * is_learnt
    found = [
        RoleShare(role=role, turns=share[0], tokens=share[1], tokens_of_learnt_turns=share[2])
        for role, share in sorted(shares.items(), key=lambda each: -each[1][1])
    ]
    return found, counted
