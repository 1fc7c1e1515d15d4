"""The funnel shows every stage's numbers and why something went."""

from luthier.cli.funnel import funnel_lines
from luthier.reports.ledger import Account, StageBooks


def test_a_line_a_stage_with_numbers_under_each_other_and_reasons_in_words() -> None:
    rows = Account(came_in=1200, added=3, kept=1202, dropped={"no trained token": 1})
    tokens = Account(
        came_in=90_000, kept=88_900, dropped={"beyond max_length": 1000, "no trained token": 100}
    )
    ledger = [
        StageBooks(stage="read", bytes=1_500_000, rows=Account(came_in=1200, kept=1200)),
        StageBooks(stage="fitted", split="train", rows=rows, tokens=tokens, trained_tokens=tokens),
    ]
    head, read, fitted = funnel_lines(ledger)
    assert head.split()[:3] == ["stage", "rows", "in"]
    assert read == "read (1.4 MiB)    1,200  1,200"
    assert fitted.startswith("fitted (train)    1,200  1,202     90,000  88,900   88,900")
    assert "1 row: no trained token; 1,100 tokens: beyond max_length 1,000, no trained token 100" in fitted
    assert fitted.endswith("3 rows added")
