"""The marks on the screen are the mask of the store, for every row, whatever its tokens say."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.cli.paint import choose_signs, spelt
from luthier.cli.row_facts import RowReader
from luthier.cli.row_picture import TRAINED, Look, row_pieces
from luthier.text.token_text import TokenBytes
from luthier.tokens.store import StoreWriter, TokenStore
from tests.cli.test_paint import read_back
from tests.tiny import make_tiny_tokenizer

TOKENIZER = make_tiny_tokenizer()
BYTES = TokenBytes(TOKENIZER)
TEXTS = st.text(alphabet="[]<>{}()#12ab \n\t\r\x1b\\\u20ac\u202e", max_size=12)
ROWS = st.lists(st.lists(st.tuples(TEXTS, st.booleans()), min_size=1, max_size=5), min_size=1, max_size=3)


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def runs(ids: list[int], trained: list[bool]) -> list[tuple[str, bool]]:
    """The mask as text, worked out a token at a time: neighbours that are alike are one run."""
    found: list[tuple[bytes, bool]] = []
    for id, is_trained in zip(ids, trained, strict=True):
        if found and found[-1][1] == is_trained:
            found[-1] = (found[-1][0] + BYTES.of(id), is_trained)
        else:
            found.append((BYTES.of(id), is_trained))
    return [(content.decode("utf-8", "backslashreplace"), is_trained) for content, is_trained in found]


def indented(text: str) -> str:
    return text.replace("\n", "\n  ")


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_the_marks_are_the_mask_of_every_row(rows: list[list[tuple[str, bool]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(Path(folder) / "store", is_synced=False) as writer:
            for line, parts in enumerate(rows, start=1):
                ids = [TOKENIZER.eos_token_id, *(id for text, _ in parts for id in encode(text))]
                trained = [False, *(is_trained for text, is_trained in parts for _ in encode(text))]
                writer.append(ids, trained, f"gone.jsonl:{line}")
        store = TokenStore.open(Path(folder) / "store")
        reader = RowReader(store, BYTES, {})
        for row in range(store.rows):
            shown = reader.read(row)
            expected = runs(store.ids(row).tolist(), store.trained(row).tolist())
            assert [(each.text, each.is_trained) for each in shown.segments] == expected

            signs = choose_signs(spelt(text) for text, _ in expected)
            plain = "".join(text for text, _ in row_pieces(shown, Look(False, with_tokens=False)))
            drawn = plain.partition(f"between {signs[0]} and {signs[1]}:\n  ")[2].rpartition("\n")[0]
            assert read_back(drawn, signs) == [(indented(spelt(text)), mark) for text, mark in expected]

            coloured = row_pieces(shown, Look(True, with_tokens=False))[1:-1]
            trained_text = "".join(text for text, code in coloured if code == TRAINED)
            # A trained line end is one blank in colour.
            assert trained_text == "".join(spelt(text).replace("\n", " ") for text, mark in expected if mark)


def test_half_a_character_at_the_edge_of_the_mask_is_spelt_out(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        writer.append(encode("a\u20ac"), [False, False, True, True], "gone.jsonl:1")
    shown = RowReader(TokenStore.open(tmp_path / "store"), BYTES, {}).read(0)
    assert [(each.text, each.is_trained) for each in shown.segments] == [
        ("a\\xe2", False),
        ("\\x82\\xac", True),
    ]


def test_a_long_raw_line_is_cut_and_its_length_said(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("x" * 5000 + "\n")
    with StoreWriter(tmp_path / "store") as writer:
        writer.append([1, 2], [False, True], f"{tmp_path}/rows.jsonl:1")
    shown = RowReader(TokenStore.open(tmp_path / "store"), BYTES, {}).read(0)
    text = row_pieces(shown, Look(False, with_tokens=False, was_cleaned=True))[0][0]
    assert "x" * 2000 + " ... (5,000 characters)" in text
    assert "cleaning may have edited it" in text
