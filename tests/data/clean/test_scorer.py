"""A model or a program of the user's scores rows: every row gets its score, or the preparation ends and says why."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.config.clean import CleanConfig
from luthier.data.clean.presets import cleaning_key, make_filters
from luthier.data.clean.scorer_process import ScorerProcess
from luthier.data.stage import prepare
from luthier.floor.errors import DataError, ModelError
from tests.data.clean.cleaning import chat_row, pair_row, run, text_row
from tests.data.preparing import assert_nothing_is_left, make_recipe, make_run, pairs, write_rows
from tests.tiny import make_tiny_tokenizer

# The share of exclamation marks, answered last row first, none of it flushed before the end.
SHOUTING = """import json, sys
rows = [json.loads(line) for line in sys.stdin]
open(sys.argv[0] + ".starts", "a").write(f"{len(rows)}\\n")
for row in reversed(rows):
    print(json.dumps({"id": row["id"], "score": row["text"].count("!") / max(1, len(row["text"])), "more": None}))
"""
HEAD = "import json, sys, time\nrows = [json.loads(line) for line in sys.stdin]\n"
HOSTILE = {
    "dies": ("sys.stderr.write('loading\\nno such weights\\n'); sys.exit(7)", "exit code 7 after 2 rows were given to it: no such weights"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "ended with signal 9 after 2 rows were given to it: it said nothing"),
    "writes garbage": ("print('Loading model...')", "wrote what is no JSON in line 1: 'Loading model...'"),
    "writes bytes": ("sys.stdout.buffer.write(b'\\xff\\xfe\\n')", "wrote what is no JSON in line 1"),
    "nests deep": ("print('[' * 100000)", "wrote what is no JSON in line 1"),
    "writes a list": ("print([0, 1])", 'wrote no {"id", "score"} in line 1'),
    "scores nan": ("print('{\"id\": 0, \"score\": NaN}')", "gave the id 0 a score that is no number in line 1"),
    "scores infinity": ("print('{\"id\": 0, \"score\": 1e999}')", "gave the id 0 a score that is no number"),
    "scores a text": ("print('{\"id\": 0, \"score\": \"high\"}')", "gave the id 0 a score that is no number"),
    "scores true": ("print('{\"id\": 0, \"score\": true}')", "gave the id 0 a score that is no number"),
    "scores a huge whole number": ("print('{\"id\": 0, \"score\": ' + '9' * 400 + '}')", "gave the id 0 a score that is no number"),
    "answers too little": ("print('{\"id\": 1, \"score\": 0}')", "left 1 of 2 rows without a score, the first of them id 0"),
    "answers nothing": ("", "left 2 of 2 rows without a score"),
    "answers twice": ("print('{\"id\": 0, \"score\": 0}\\n' * 2)", "scored the id 0 twice, again in line 2"),
    "answers what it was not asked": ("print('{\"id\": 2, \"score\": 0}')", "answered with the id 2 in line 1, which it was not given"),
    "names rows by text": ("print('{\"id\": \"0\", \"score\": 0}')", 'wrote no {"id", "score"} in line 1'),
    "floods": ("while True: print('x' * 100000)", "wrote more than"),
}  # fmt: skip


def script(folder: Path, content: str) -> str:
    path = folder / "score.py"
    path.write_text(content)
    return str(path)


def by_command(*command: str, **more: Any) -> dict[str, Any]:
    return {"scorer": {"kind": "command", "command": [*command], "most_score": 0.1, **more}}


@pytest.fixture
def shouting(tmp_path: Path) -> dict[str, Any]:
    return by_command(sys.executable, script(tmp_path, SHOUTING))


ROWS = (text_row("Be quiet.", 1), text_row("NO!!!!!", 2), pair_row("why?", "why not", 3), chat_row("hi", "!!!!", line=4))  # fmt: skip


def test_rows_above_the_bound_are_left_out_in_order_and_counted(shouting: dict[str, Any]) -> None:
    kept, counts = run(shouting, *ROWS)
    assert [row.origin for row in kept] == ["f.jsonl:1", "f.jsonl:3"]
    assert counts.filters["scorer"].dropped == {"scored above 0.1": 2}
    assert counts.filters["scorer"].found == {"rows over the bound": 2}
    assert (counts.rows_in, counts.rows_kept) == (4, 2)


def test_a_report_counts_and_keeps(shouting: dict[str, Any]) -> None:
    shouting["scorer"]["action"] = "report"
    kept, counts = run(shouting, *ROWS)
    assert len(kept) == 4
    assert (
        counts.filters["scorer"].found == {"rows over the bound": 2} and not counts.filters["scorer"].dropped
    )


def test_rows_are_given_in_batches_and_no_text_twice(shouting: dict[str, Any], tmp_path: Path) -> None:
    shouting["scorer"]["rows_at_once"] = 3
    kept, _ = run(shouting, *ROWS, *ROWS)
    assert len(kept) == 4
    # Of the second batch, one text is new; the third holds none.
    assert (tmp_path / "score.py.starts").read_text().split() == ["3", "1"]


def test_edits_and_other_judges_come_first(shouting: dict[str, Any]) -> None:
    settings = {**shouting, "characters": True, "length": {"least_characters": 8}}
    kept, counts = run(
        settings, text_row("Be\u200b quiet.", 1), text_row("short", 2), text_row("No!!!!!!!!", 3)
    )
    assert [row.text for row in kept] == ["Be quiet."]
    assert (
        sum(counts.filters["length"].dropped.values()) == sum(counts.filters["scorer"].dropped.values()) == 1
    )
    assert counts.rows_edited == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_a_program_that_misbehaves_ends_the_cleaning_with_what_it_did(tmp_path: Path, name: str) -> None:
    content, said = HOSTILE[name]
    with pytest.raises(DataError) as caught:
        run(by_command(sys.executable, script(tmp_path, HEAD + content)), *ROWS[:2])
    assert caught.value.code == "data-scorer"
    assert said in caught.value.what


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    hang = f"import subprocess; child = subprocess.Popen(['sleep', '600']); open({str(marker)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    with pytest.raises(DataError, match="took longer than 1 s"):
        run(by_command(sys.executable, script(tmp_path, HEAD + hang), timeout_s=1), *ROWS[:2])
    end = time.monotonic() + 5
    while is_alive(int(marker.read_text())):
        assert time.monotonic() < end, "the program's own child lives on"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_that_reads_nothing_and_one_that_is_no_program(tmp_path: Path) -> None:
    answers = 'for id in range(2): print(\'{"id": %d, "score": 0}\' % id)'
    kept, _ = run(by_command(sys.executable, "-c", answers), *ROWS[:2])
    assert len(kept) == 2
    with pytest.raises(DataError, match="there is no program 'no-such-scorer'"):
        make_filters(CleanConfig.model_validate(by_command("no-such-scorer")))
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    with pytest.raises(DataError, match="cannot be started"):
        run(by_command(str(broken)), *ROWS[:2])


def test_arguments_pass_no_shell(tmp_path: Path) -> None:
    answers = "import sys; assert sys.argv[1] == '$(touch x); `y`'; print('{\"id\": 0, \"score\": 0}')"
    assert len(run(by_command(sys.executable, "-c", answers, "$(touch x); `y`"), ROWS[0])[0]) == 1


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"kind": "command"}, "kind command needs command"),
        ({"kind": "classifier", "path": "m"}, "kind classifier needs labels"),
        ({"kind": "classifier", "labels": ["x"]}, "kind classifier needs path"),
        ({"kind": "command", "command": ["x"], "path": "m"}, "kind command takes no path"),
        ({"path": "m"}, "kind off takes no path"),
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CleanConfig.model_validate({"scorer": settings})


def test_the_key_knows_the_program_as_it_is(shouting: dict[str, Any], tmp_path: Path) -> None:
    config = CleanConfig.model_validate(shouting)
    first = cleaning_key(config)
    assert cleaning_key(config) == first
    script(tmp_path, SHOUTING + "# another\n")
    assert cleaning_key(config) != first


def test_prepared_rows_are_scored_noted_and_found_again(
    tiny_base: Path, tmp_path: Path, shouting: dict[str, Any]
) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [*pairs(4), {"prompt": "a", "completion": "!!!!"}])
    recipe = make_recipe(tiny_base, tmp_path, clean=shouting, validation_fraction=0, dedup={"kind": "exact"})
    report = prepare(recipe, make_run(tmp_path))
    assert report.train.rows_kept == 4
    assert (tmp_path / "score.py.starts").read_text().split() == ["5"]  # though the rows are read twice
    assert report.dropped_file
    noted = [json.loads(line) for line in Path(report.dropped_file).read_text().splitlines()]
    assert [(each["stage"], each["reason"], each["score"]) for each in noted] == [
        ("cleaned", "scorer: scored above 0.1", pytest.approx(4 / 6))
    ]
    assert prepare(recipe, make_run(tmp_path, "second")).was_cached


def test_a_scorer_that_dies_leaves_nothing_behind(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", pairs(4))
    clean = by_command(sys.executable, "-c", "import sys; sys.exit('out of quota')")
    with pytest.raises(DataError, match="out of quota"):
        prepare(make_recipe(tiny_base, tmp_path, clean=clean, validation_fraction=0), make_run(tmp_path))
    assert_nothing_is_left(tmp_path)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of three labels, random, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("classifier")
    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, initializer_range=0.5, id2label={0: "fine", 1: "insult", 2: "threat"}, label2id={"fine": 0, "insult": 1, "threat": 2},
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def probabilities(folder: Path, text: str, labels: list[int]) -> float:
    """What Transformers says of a text, window by window, one at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    windows = [ids[start : start + 32] for start in range(0, len(ids), 32)]
    with torch.inference_mode():
        rows = [model(torch.tensor([window])).logits[0].softmax(dim=-1) for window in windows]
    return max(float(row[labels].sum()) for row in rows)


@pytest.mark.slow
def test_a_classifier_scores_as_transformers_does(classifier: Path) -> None:
    texts = ["hello", "The restaurant near the river " * 20, "a", "ünïcode 🎻", "x" * 40]
    bound = probabilities(classifier, texts[0], [1, 2])
    settings = {
        "kind": "classifier",
        "path": str(classifier),
        "labels": ["insult", "threat"],
        "device": "cpu",
    }
    (judge,) = make_filters(CleanConfig.model_validate({"scorer": settings}))
    process: ScorerProcess = judge.process  # type: ignore[attr-defined]
    expected = [probabilities(classifier, text, [1, 2]) for text in texts]
    assert process.score(texts) == pytest.approx(expected, abs=1e-4)
    kept, _ = run({"scorer": {**settings, "most_score": bound + 1e-3}}, *map(text_row, texts))
    assert [row.text for row in kept] == [
        text for text, score in zip(texts, expected, strict=True) if score <= bound + 1e-3
    ]


def by_classifier(folder: Path, *labels: str) -> CleanConfig:
    return CleanConfig.model_validate(
        {"scorer": {"kind": "classifier", "path": str(folder), "labels": labels}}
    )


def test_a_classifier_is_checked_before_it_is_loaded(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no label 'insults'; did you mean insult"):
        make_filters(by_classifier(classifier, "insults"))
    with pytest.raises(DataError, match="there is no folder"):
        make_filters(by_classifier(tmp_path / "none", "x"))
    for file in classifier.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError) as caught:
        make_filters(by_classifier(tmp_path, "insult"))
    assert caught.value.code == "mdl-pickle"


@pytest.mark.slow
def test_a_model_without_a_head_is_refused_instead_of_given_a_random_one(
    classifier: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    for file in classifier.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    headless = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(headless, tmp_path / "model.safetensors", {"format": "pt"})
    (judge,) = make_filters(by_classifier(tmp_path, "insult"))
    with pytest.raises(DataError, match=r"lacks weights of a classifier: classifier\.bias"):
        judge.apply(text_row("hello"))
