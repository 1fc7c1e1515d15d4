from pathlib import Path

import pytest

from luthier.evaluate.questions import QuestionSet, read_questions
from luthier.floor.errors import DataError, SavedAndStopped
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.text.tokenizer import load_tokenizer
from tests.evaluate.rows import PAIRS, make_recipe, pairs, write_rows

CHAT = {
    "messages": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Second."},
    ]
}


def read(
    base: Path, tmp_path: Path, rows: list, *, most_prompt_tokens: int = 4096, **evaluate
) -> QuestionSet:
    path = write_rows(tmp_path / "test.jsonl", rows)
    return read_questions(
        make_recipe(base, path, **evaluate),
        RunDir(tmp_path / "run"),
        load_tokenizer(base),
        most_prompt_tokens=most_prompt_tokens,
        stop=StopFlag(),
    )


def test_a_prompt_is_followed_by_a_newline_and_its_answer_by_the_end_of_text(
    tiny_base: Path, tmp_path: Path
) -> None:
    found = read(tiny_base, tmp_path, pairs())
    tokenizer = load_tokenizer(tiny_base)
    assert found.template == "guide"
    assert len(found.questions) == len(PAIRS)
    for question, (prompt, completion) in zip(found.questions, PAIRS, strict=True):
        assert (question.prompt, question.expected) == (prompt, completion)
        assert tokenizer.decode(question.prompt_ids) == prompt + "\n"
        targets = [
            token for token, is_target in zip(question.ids, question.is_target, strict=True) if is_target
        ]
        assert targets[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(targets[:-1]) == completion
        assert question.ids[: len(question.prompt_ids)] == question.prompt_ids
        assert question.expected_bytes == len(completion.encode("utf-8"))
        assert question.origin == f"{tmp_path / 'test.jsonl'}:{found.questions.index(question) + 1}"


def test_a_long_prompt_loses_its_beginning_in_question_and_loss_alike(
    tiny_base: Path, tmp_path: Path
) -> None:
    whole = read(tiny_base, tmp_path, pairs()).questions[0]
    found = read(tiny_base, tmp_path, pairs(), most_prompt_tokens=5)
    question = found.questions[0]
    assert question.prompt_is_cut
    assert question.prompt_ids == whole.prompt_ids[-5:]
    assert question.ids == whole.ids[len(whole.prompt_ids) - 5 :]
    assert question.is_target.sum() == whole.is_target.sum()
    assert not found.questions[3].prompt_is_cut or len(PAIRS[3][0].encode()) >= 5


def test_of_a_conversation_the_last_answer_is_asked_for(tiny_base: Path, tmp_path: Path) -> None:
    question = read(tiny_base, tmp_path, [CHAT]).questions[0]
    tokenizer = load_tokenizer(tiny_base)
    asked = tokenizer.decode(question.prompt_ids)
    assert asked.endswith("<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n")
    assert "First." in asked
    assert "Second." not in asked
    assert question.expected == "Second."
    targets = [token for token, is_target in zip(question.ids, question.is_target, strict=True) if is_target]
    assert tokenizer.decode(targets) == "Second.<|im_end|>"


def test_plain_texts_are_foretold_and_not_asked(tiny_base: Path, tmp_path: Path) -> None:
    found = read(tiny_base, tmp_path, [{"text": "The Mill is a pub."}])
    question = found.questions[0]
    assert not found.are_asked
    assert question.prompt_ids == ()
    assert question.expected == "The Mill is a pub."
    assert question.is_target.sum() == len(question.ids) - 1


def test_the_first_so_many_rows_are_taken(tiny_base: Path, tmp_path: Path) -> None:
    assert len(read(tiny_base, tmp_path, pairs(), most_rows=3).questions) == 3


def test_a_conversation_without_an_answer_is_refused_by_its_place(tiny_base: Path, tmp_path: Path) -> None:
    rows = [CHAT, {"messages": [{"role": "user", "content": "One?"}]}]
    with pytest.raises(DataError, match="no answer of the assistant") as caught:
        read(tiny_base, tmp_path, rows)
    assert caught.value.where == f"{tmp_path / 'test.jsonl'}:2"


def test_an_empty_file_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tiny_base, tmp_path, [])
    assert caught.value.code == "data-empty"


def test_rows_are_the_same_rows_by_prompt_and_expected_answer(tiny_base: Path, tmp_path: Path) -> None:
    first = read(tiny_base, tmp_path, pairs()).sha256
    assert read(tiny_base, tmp_path / "elsewhere", pairs()).sha256 == first
    changed = [*pairs()[:-1], {"prompt": PAIRS[-1][0], "completion": "something else"}]
    assert read(tiny_base, tmp_path, changed).sha256 != first
    assert read(tiny_base, tmp_path, pairs()[::-1]).sha256 != first


def test_a_stop_ends_the_reading(tiny_base: Path, tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set(15)
    path = write_rows(tmp_path / "test.jsonl", pairs())
    with pytest.raises(SavedAndStopped):
        read_questions(
            make_recipe(tiny_base, path),
            RunDir(tmp_path),
            load_tokenizer(tiny_base),
            most_prompt_tokens=99,
            stop=stop,
        )
