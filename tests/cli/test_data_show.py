"""`luthier data show` as a person types it: what is on the screen is what the token store holds."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from luthier.cli.app import run_command
from luthier.config.compose import load_recipe
from luthier.tokens.order import permutation
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore
from tests.cli.test_paint import Terminal
from tests.cli.workshop import Done, listing, luthier, question_rows, write_rows

pytestmark = pytest.mark.slow

PAIR = {"prompt": "Colour 1?", "completion": "red"}
TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho [1]"}]}
RECIPE = """model: {name: ./base}
data: {path: rows.jsonl, validation_fraction: 0, max_length: 64}
train: {batch_size: 3, gradient_accumulation_steps: 2, seed: 5, epochs: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_base: Path) -> Path:
    (tmp_path / "base").symlink_to(tiny_base)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    write_rows(tmp_path / "rows.jsonl", question_rows(20))
    return tmp_path


def show(folder: Path, *words: str) -> Done:
    done = luthier(folder, "data", "show", "mine", *words)
    assert done.code == 0, done.said
    return done


def opened_store(folder: Path, *words: str) -> TokenStore:
    facts = show(folder, "--row", "0", "--json", *words).json
    return TokenStore.open(folder / facts["store"] / facts["split"])


def test_a_prompt_and_its_answer_look_like_this(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [PAIR])
    assert show(folder, "--row", "0").out == (
        "row 0: rows.jsonl:1\n"
        "raw:\n"
        '  {"prompt": "Colour 1?", "completion": "red"}\n'
        "rendered, the trained part between [[ and ]]:\n"
        "  Colour 1?\n"
        "  [[red<|endoftext|>]]\n"
        "14 tokens, 4 trained; not cut\n"
        "\n"
        "train: 1 row, 14 tokens, 4 of them trained\n"
        "next: luthier data show mine --step 1; then luthier train mine\n"
    )


def test_a_conversation_looks_like_this(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [TALK])
    out = show(folder, "--row", "0").out
    assert out.partition("raw:\n")[2].split("\n")[1:8] == [
        "rendered, the trained part between {{ and }}:",
        "  <|im_start|>user",
        "  Hi<|im_end|>",
        "  <|im_start|>assistant",
        "  {{Ho [1]<|im_end|>}}",
        "  ",
        "26 tokens, 7 trained; not cut",
    ]


def test_a_text_and_its_tokens_look_like_this(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [{"text": "a\t\u20ac\\"}])
    assert show(folder, "--row", "0", "--tokens").out.split("\n")[3:16] == [
        "rendered, the trained part between [[ and ]]:",
        "  a[[\t\u20ac\\<|endoftext|>]]",
        "7 tokens, 6 trained; not cut",
        "  place   id  loss  text",
        "  -----  ---  ----  ---------------",
        '      0   64  -     "a"',
        '      1  197  yes   "\\t"',
        '      2  158  yes   "\\xe2"',
        '      3  224  yes   "\\x82"',
        '      4  105  yes   "\\xac"',
        '      5   59  yes   "\\\\"',
        '      6  297  yes   "<|endoftext|>"',
        "",
    ]


def test_a_row_that_was_cut_says_what_it_lost(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [{"prompt": "p", "completion": "x" * 20}])
    done = show(folder, "--row", "0", "data.max_length=10", "data.overlong=truncate")
    assert "10 tokens, 8 trained; cut to fit data.max_length: 13 tokens lost, 13 of them trained" in done.out
    facts = show(folder, "--row", "0", "data.max_length=10", "data.overlong=truncate", "--json").json["rows"][
        0
    ]
    assert (facts["tokens_lost"], facts["trained_tokens_lost"]) == (13, 13)


def test_the_pieces_of_a_text_are_shown_together(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [{"text": "y"}, {"text": "x" * 10}])
    out = show(folder, "--origin", "rows.jsonl:2", "data.max_length=6", "data.overlong=split").out
    assert "row 1: rows.jsonl:2 (piece 1 of the 2 kept)" in out
    assert "row 2: rows.jsonl:2 (piece 2 of the 2 kept)" in out
    assert "split to fit data.max_length: the first token of a piece is not trained" in out


def test_without_a_choice_the_first_the_longest_and_one_by_the_seed_are_shown(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [*question_rows(9), {"prompt": "p" * 30, "completion": "long"}])
    done = show(folder)
    drawn = next(row for row in permutation(10, seed=5, epoch=0) if row not in (0, 9))
    heads = [line for line in done.out.split("\n") if line.startswith("row ")]
    assert heads == [
        "row 0, the first: rows.jsonl:1",
        "row 9, the longest: rows.jsonl:10",
        f"row {drawn}, drawn by the seed: rows.jsonl:{drawn + 1}",
    ]
    assert done.out.rstrip().split("\n")[-2].startswith("train: 10 rows, ")
    assert "next: luthier data show mine --step 1; then luthier train mine" in done.out


def test_a_sample_is_drawn_by_the_seed(folder: Path) -> None:
    rows = [each["row"] for each in show(folder, "--sample", "4", "--json").json["rows"]]
    assert rows == permutation(20, seed=5, epoch=0)[:4].tolist()
    other = show(folder, "--sample", "4", "--json", "train.seed=6").json["rows"]
    assert [each["row"] for each in other] != rows


@pytest.mark.parametrize("dial", [[], ["train.packing=false"], ["train.pack_tokens=64"]])
def test_the_packs_of_every_step_are_those_that_training_takes(folder: Path, dial: list[str]) -> None:
    import torch

    from luthier.modelling.attention import SEGMENTS
    from luthier.train.batches import BatchMaker

    store = opened_store(folder)
    with contextlib.chdir(folder):
        recipe = load_recipe("mine", dial).recipe
    order = RowOrder(store.lengths, recipe)
    is_packed = recipe.train.packing
    maker = BatchMaker(
        store, torch.device("cpu"), SEGMENTS if is_packed else "sdpa", is_packed=is_packed, pad_id=0
    )
    for number in (1, 4, order.total_steps):
        shown = show(folder, "--step", str(number), "--json", "--tokens", *dial).json
        batches = order.step(number - 1).micro_batches
        assert [[row["row"] for row in pack["rows"]] for pack in shown["packs"]] == batches
        assert (shown["step"], shown["steps"]) == (number, order.total_steps)
        for pack, rows in zip(shown["packs"], batches, strict=True):
            batch = maker.make(rows)
            assert pack["trained_tokens"] == batch.trained_tokens
            assert pack["tokens"] == batch.tokens == len(pack["positions"])
            if is_packed:
                assert pack["positions"] == batch.position_ids_BT[0].tolist()
                ids = [token["id"] for row in pack["rows"] for token in row["token_list"]]
                assert ids == batch.ids_BT[0].tolist()
            starts = np.cumsum([0, *(store.lengths_N[row] for row in rows)])[:-1].tolist()
            assert pack["borders"] == starts


def test_the_screen_of_a_step_shows_fill_borders_and_positions(folder: Path) -> None:
    lengths = opened_store(folder).lengths_N
    lines = show(folder, "--step", "4").out.split("\n")
    assert lines[0].startswith("step 4 of 8 (epoch 1): 2 rows in 1 pack, ")
    rows = [line.split() for line in lines[5:7]]
    first, second = (int(lengths[int(row[0])]) for row in rows)
    total = first + second
    assert lines[2].startswith(f"pack 1 of 1: 2 rows, {total} of 192 tokens, {total / 192:.1%} full")
    assert [row[3:5] for row in rows] == [
        [f"0-{first - 1}", f"0-{first - 1}"],
        [f"{first}-{total - 1}", f"0-{second - 1}"],
    ]
    assert "no row sees another: positions start again at 0 2 times, once a row" in lines[7]


def test_the_whole_of_json_is_one_object(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [{"prompt": "\x1b[2J\x9b\u202e", "completion": "\x7f"}])
    done = show(folder, "--json", "--tokens")
    (row,) = done.json["rows"]
    assert json.loads(row["raw"])["prompt"] == "\x1b[2J\x9b\u202e"
    assert row["segments"][1] == {"text": "\x7f<|endoftext|>", "is_trained": True}
    store = opened_store(folder)
    assert [token["id"] for token in row["token_list"]] == store.ids(0).tolist()
    assert [token["is_trained"] for token in row["token_list"]] == store.trained(0).tolist()


def test_hostile_text_reaches_no_terminal(folder: Path) -> None:
    write_rows(
        folder / "rows.jsonl",
        ['{"prompt": "\u202e\\u001b[2J\\r\u009b31m", "completion": "\\u0007 \\u2028 \u200b ]]"}'],
    )
    out = show(folder, "--row", "0", "--tokens").out
    assert not set(out) & set("\x1b\r\x9b\x07\u202e\u2028\u200b")
    assert "\\u202e\\x1b[2J\\r\\x9b31m" in out


@pytest.mark.parametrize(("no_colour", "shown"), [("", "\x1b[30;42mred<|endoftext|>\x1b[0m"), ("1", "[[red")])
def test_a_terminal_gets_colours_unless_they_are_unwanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, no_colour: str, shown: str
) -> None:
    write_rows(folder / "rows.jsonl", [PAIR])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_colour)
    out = Terminal()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert run_command(["data", "show", "mine", "--row", "0"]) == 0
    assert shown in out.getvalue()
    assert ("\x1b" in out.getvalue()) == (no_colour == "")


def test_a_line_that_changed_or_went_away_is_said(folder: Path) -> None:
    luthier(folder, "prepare", "mine", "--run", "prepared")
    run = ("data", "show", "--run", "prepared", "--row", "1")
    before = luthier(folder, *run).out
    write_rows(folder / "rows.jsonl", [PAIR, {"prompt": "other", "completion": "other"}])
    changed = luthier(folder, *run).out
    assert "raw (the file has changed since it was prepared, and so may this line):" in changed
    assert '{"prompt": "other"' in changed
    write_rows(folder / "rows.jsonl", [PAIR])
    assert "raw (the file or the line is gone" in luthier(folder, *run).out
    (folder / "rows.jsonl").unlink()
    gone = luthier(folder, *run).out
    assert "raw (the file or the line is gone" in gone
    assert gone.partition("rendered")[2] == before.partition("rendered")[2], "the tokens are what they were"


def test_a_run_is_shown_as_it_was_prepared_and_nothing_is_left_behind(folder: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("luthier-data-show-*"))
    show(folder, "--row", "0")
    assert set(Path(tempfile.gettempdir()).glob("luthier-data-show-*")) == before
    assert not (folder / "outputs" / "runs").exists()
    luthier(folder, "prepare", "mine", "--run", "prepared")
    was = listing(folder)
    done = luthier(folder, "data", "show", "--run", "prepared", "--step", "1")
    assert done.code == 0, done.said
    assert listing(folder) == was
    (folder / "prepared" / "data" / "report.json").unlink()
    done = luthier(folder, "data", "show", "--run", "prepared", "--row", "0", "--json")
    assert done.json["rows"][0]["row"] == 0
    assert (folder / "prepared" / "data" / "report.json").is_file(), "a run without data gets it"


def test_a_run_whose_tokens_are_gone_is_refused(folder: Path) -> None:
    luthier(folder, "prepare", "mine", "--run", "prepared")
    shutil.rmtree(folder / "outputs" / "cache")
    done = luthier(folder, "data", "show", "--run", "prepared")
    assert done.code == 3
    assert "error[data-cache]: the run prepared has no prepared data any more" in done.err
    assert "luthier prepare --run prepared" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--row", "20"], "there is no row 20: train has 20 rows, counted from 0"),
        (["--row", "-1"], "--row -1: must be at least 0"),
        (["--step", "9"], "there is no step 9: the run has 8"),
        (["--step", "0"], "--step 0: must be at least 1"),
        (["--sample", "0"], "--sample 0: must be at least 1"),
        (["--row", "1", "--step", "1"], "--row and --step choose different things"),
        (["--step", "1", "--split", "validation"], "validation rows are not trained on"),
        (["--split", "validation"], "there is no validation row"),
        (["--origin", "rows.jsonl:99"], "no row of train came from rows.jsonl:99"),
        (["--origin", "rows.jsonl"], "--origin rows.jsonl is neither FILE:LINE nor"),
        (["--run", "nowhere"], "nowhere"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(folder: Path, words: list[str], said: str) -> None:
    done = luthier(folder, "data", "show", "mine", *words)
    assert done.code == 2
    assert done.err.count("error[") == 1
    assert said in done.err
    assert done.out == ""


def test_a_line_of_the_other_split_is_found_there(folder: Path) -> None:
    words = ["data.validation_fraction=0.3"]
    store = opened_store(folder, *words, "--split", "validation")
    done = luthier(folder, "data", "show", "mine", *words, "--origin", store.origin(0))
    assert done.code == 2
    assert "add --split validation" in done.err
    shown = show(folder, *words, "--origin", store.origin(0), "--split", "validation")
    assert f"row 0: {store.origin(0)}" in shown.out


def test_the_name_of_a_file_reaches_no_terminal_either(folder: Path) -> None:
    name = "a\n\x1b[2J\u202e.jsonl"
    (folder / "rows.jsonl").rename(folder / name)
    (folder / "mine.yaml").write_text(RECIPE.replace("path: rows.jsonl", "path: ."))
    for choice in ("--row", "--step"):
        out = show(folder, choice, "1").out
        assert "a\\n\\x1b[2J\\u202e.jsonl:" in out
        assert not set(out) & set("\x1b\u202e")
