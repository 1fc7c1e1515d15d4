"""What only shows across rows and files: repeats, near rows, leaks, and the questions of benchmark suites."""

import json
from pathlib import Path

from tests.data.check.planting import chat, find, pair, places, write
from tests.data.dedup.planting import changed, sentence

QUESTION = "A farmer has seventeen sheep and all but nine of them run away one night, so how many are left?"
A, B, C = sentence(1), sentence(2), sentence(3)


def test_each_repeat_is_told_by_its_strictest_kind_and_once(tmp_path: Path) -> None:
    rows = [
        pair("Say hello.", "Hello, and how are you on this fine day of spring, my friend?"),
        pair("Say  hello.", "Hello, and how are you on this fine day of spring, my friend?"),
        pair("SAY HELLO", "Hello, and how are you on this fine day of spring, my friend?"),
        pair("Say hello.", "Good evening."),
    ]
    found = find(write(tmp_path / "rows.jsonl", rows))
    assert [(each.line, each.kind) for each in found] == [
        (2, "duplicate"),
        (3, "duplicate-folded"),
        (4, "conflict"),
    ]


def test_near_rows_are_told_with_their_likeness(tmp_path: Path) -> None:
    found = find(write(tmp_path / "rows.jsonl", [{"text": text} for text in (A, B, changed(A, 1), C)]))
    assert [(each.line, each.kind) for each in found] == [(3, "near-duplicate")]
    assert "rows.jsonl:1, Jaccard 0.8" in found[0].message


def test_all_rows_of_one_template_are_compared(tmp_path: Path) -> None:
    template = sentence(4, words=60)
    texts = [template + " " + sentence(10 + n, words=18) for n in range(200)]
    found = find(
        write(tmp_path / "rows.jsonl", [{"text": text} for text in [*texts, changed(texts[150], 1)]])
    )
    assert [(each.line, each.kind) for each in found] == [(201, "near-duplicate")]


def test_rows_that_differ_in_what_is_learnt_are_no_repeats(tmp_path: Path) -> None:
    user, said = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}
    rows = [chat(user, said, user, said), chat(user, {**said, "weight": 0}, user, said)]
    assert places(find(write(tmp_path / "rows.jsonl", rows)), "duplicate") == []


def test_a_row_near_one_that_is_held_out_is_a_warning(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [pair(A, "x"), pair(B, "y")])
    test = write(tmp_path / "eval" / "test.jsonl", [pair(changed(A, 1), "z")])
    found = find(train, test)
    assert [(Path(each.file).name, each.line, each.kind) for each in found] == [
        ("train.jsonl", 1, "near-leak")
    ]


def test_benchmark_questions_are_found_whatever_the_suite_looks_like(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    write(suites / "one.jsonl", [{"query": QUESTION, "choices": ["8", "9"], "gold": 1}])
    write(
        suites / "two.jsonl",
        [{"context": A, "continuation": "the end"}, {"question": "Who?", "answer": "Me."}],
    )
    (suites / "three.json").write_text(json.dumps([{"prompt": B, "completion": "pass"}], indent=1))
    (suites / "four.csv").write_text(f'question,answer\n"{C}",x\n')
    rows = [
        pair("Something else altogether, which no suite asks of anybody.", "Yes."),
        pair(QUESTION, "Nine."),
        pair("Here is a riddle. " + QUESTION + " Think before you speak.", "Nine."),
        {"prompt": changed(B, 1), "completion": "x"},
        pair("Tell the tale.", "It went so: " + A),
        pair(C.upper(), "y"),
        chat({"role": "system", "content": "Be kind."}, {"role": "user", "content": QUESTION}, {"role": "assistant", "content": "9"}),
    ]  # fmt: skip
    found = find(write(tmp_path / "rows.jsonl", rows), against=[suites])
    assert places(found, "contamination") == [2, 3, 4, 5, 6, 7]
    first = next(each for each in found if each.kind == "contamination")
    assert first.severity == "error"
    assert "one.jsonl:1" in first.message
    assert "farmer" in first.message


def test_without_a_suite_nothing_is_contaminated(tmp_path: Path) -> None:
    assert find(write(tmp_path / "rows.jsonl", [pair(QUESTION, "Nine.")])) == []
