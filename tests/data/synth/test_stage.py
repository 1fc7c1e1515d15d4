"""Rows from an endpoint over real HTTP: the books, what is left out, and that nothing is asked twice."""

import dataclasses
import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from luthier.data.synth.stage import plan_synth, synth
from luthier.data.synth.task import Checks, Sampling
from luthier.floor.errors import DataError, Interrupted, UsageError
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.reports.synth import SynthReport
from tests.data.synth.asking_for import ANSWERS, TOPICS, make_task, rows_of, topic_of
from tests.data.synth.endpoint_server import Asked, Reply, endpoint

pytestmark = pytest.mark.slow


def well(asked: Asked, before: int) -> Reply:
    return Reply(ANSWERS[topic_of(asked.prompt)])


def balances(report: SynthReport) -> bool:
    left = sum(report.dropped.values()) + report.unanswered + report.not_asked
    return report.answers_wanted == report.rows + left


def test_each_seed_becomes_a_row_with_its_provenance_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, sampling=Sampling(0.2, 64, {"top_p": 0.9}))
        report = synth(task)
    assert (report.rows, report.requests, report.dropped) == (6, 6, {})
    rows = rows_of(task.out)
    assert [row["completion"] for row in rows] == [ANSWERS[topic] for topic in TOPICS]
    assert rows[1]["prompt"] == "Write one sentence about lenses."
    origin = rows[1]["synth"]
    assert origin["seed"] == f"{tmp_path}/seeds.jsonl:2"
    assert origin["endpoint"] == server.address.removeprefix("http://").removesuffix("/v1")
    assert (origin["model"], origin["finish_reason"]) == ("tiny", "stop")
    assert origin["usage"] == {"prompt_tokens": 10, "completion_tokens": 5}
    assert origin["settings"] == {"temperature": 0.2, "max_tokens": 64, "top_p": 0.9}
    assert origin["template"] == report.template_sha256
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].body | {"messages": []} == {
        "model": "tiny", "messages": [], "temperature": 0.2, "max_tokens": 64, "top_p": 0.9,
    }  # fmt: skip
    assert (report.prompt_tokens, report.completion_tokens) == (60, 30)
    assert server.most_at_once <= 3


def test_typed_again_nothing_is_asked_and_the_rows_are_the_same_bytes(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address)
        synth(task)
        before = task.out.read_bytes()
        again = synth(task)
        more = synth(dataclasses.replace(task, rows=8, exact_only=True))
    assert again.requests == 0
    assert task.out.read_bytes() == before
    assert len(server.asked) == 8, "two more than the seeds are the first two again"
    assert (more.answers_wanted, more.requests, more.dropped) == (8, 2, {"duplicate: exact": 2})


def test_what_is_no_answer_is_left_out_with_its_reason(tmp_path: Path) -> None:
    replies = {
        "rivers": Reply("It runs and runs and", finish_reason="length"),
        "lenses": Reply(""),
        "bread": Reply("I'm sorry, but I can't help with that."),
        "tides": Reply(None, refusal="No."),
        "sparrows": Reply("Sorry as the sparrows are, I can see them."),
        "glass": Reply(ANSWERS["glass"]),
    }
    with endpoint(lambda asked, before: replies[topic_of(asked.prompt)]) as server:
        task = make_task(tmp_path, server.address, checks=Checks(attempts=2))
        report = synth(task)
    assert report.dropped == {"refused": 2, "truncated by length": 1, "empty": 1}
    assert report.rows == 2
    assert balances(report)
    assert report.requests == 7, "an empty answer is asked for twice"
    ledger = rows_of(tmp_path / "rows.dropped")
    assert [(line["seed"].rpartition(":")[2], line["reason"]) for line in ledger] == [
        ("1", "truncated by length"), ("2", "empty"), ("3", "refused"), ("4", "refused"),
    ]  # fmt: skip


def test_an_answer_that_fails_its_schema_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(
        json.dumps({"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}})
    )

    def choose(asked: Asked, before: int) -> Reply:
        topic = topic_of(asked.prompt)
        if topic == "bread":
            return Reply('{"q": 7}')
        good = json.dumps({"q": f"What of {topic}?"})
        return Reply(["no json", f"```json\n{good}\n```"][before] if topic == "rivers" else good)

    with endpoint(choose) as server:
        task = make_task(tmp_path, server.address, seeds=TOPICS[:3])
        (tmp_path / "template.yaml").write_text(
            "user: Write one sentence about {{ topic }}.\nprompt: '{{ answer.q }}'\ncompletion: About {{ topic }}.\n"
        )
        checks = Checks(schema=tmp_path / "schema.json")
        task = dataclasses.replace(task, template=tmp_path / "template.yaml", checks=checks)
        report = synth(task)
    rows = [(row["prompt"], row["completion"]) for row in rows_of(task.out)]
    assert rows == [("What of rivers?", "About rivers."), ("What of lenses?", "About lenses.")]
    assert report.dropped == {"failed check": 1}
    assert report.requests == 2 + 1 + 3
    (line,) = rows_of(tmp_path / "rows.dropped")
    assert line["detail"] == "$.q: 7 is not of type 'string'"


def test_a_folder_of_rows_in_several_formats_is_compared_with_whole(tmp_path: Path) -> None:
    """What a command left beside its rows is no row, and no format is passed over since another is there."""
    have = tmp_path / "have"
    have.mkdir()
    rows = [
        {"prompt": f"Write one sentence about {topic}.", "completion": ANSWERS[topic]}
        for topic in ("rivers", "lenses", "bread", "tides")
    ]
    (have / "a.csv").write_text('prompt,completion\n"{prompt}","{completion}"\n'.format(**rows[0]))
    parquet.write_table(pyarrow.Table.from_pylist([rows[1]]), have / "b.parquet")
    (have / "c.json").write_text(json.dumps([rows[2]]))
    (have / "d.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[3]).encode() + b"\n"))
    (have / "e.jsonl").write_text(json.dumps({"prompt": "Why?", "completion": "For that reason."}) + "\n")
    (have / "e.report.json").write_text("{}")
    (have / "README.md").write_text("# About these\n")
    with endpoint(well) as server:
        report = synth(make_task(tmp_path, server.address, against=(have,)))
    assert report.dropped == {"duplicate: against-exact": 4}
    repeats = [line["detail"].removeprefix(f"repeats {have}/") for line in rows_of(tmp_path / "rows.dropped")]
    assert [each.split(",")[0] for each in repeats] == [
        "a.csv:2",
        "b.parquet#row 1",
        "c.json#row 1",
        "d.jsonl.gz:1",
    ]


def test_rows_that_exist_already_are_left_out_exactly_and_nearly(tmp_path: Path) -> None:
    prompt = "Write one sentence about {}."
    near = ANSWERS["lenses"].replace("whoever", "anyone")
    there = [("rivers", ANSWERS["rivers"]), ("lenses", near)]
    held = [json.dumps({"prompt": prompt.format(topic), "completion": text}) for topic, text in there]
    (tmp_path / "held.jsonl").write_text("\n".join(held) + "\n")
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, against=(tmp_path / "held.jsonl",), threshold=0.7)
        report = synth(task)
    assert report.dropped == {"duplicate: against-exact": 1, "duplicate: against-near": 1}
    assert report.rows == 4
    first = rows_of(tmp_path / "rows.dropped")[0]
    assert first["detail"] == f"repeats {tmp_path}/held.jsonl:1, Jaccard 1.000"
    assert first["seed"] == f"{tmp_path}/seeds.jsonl:1"


def test_the_budget_is_never_passed_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, sampling=Sampling(answer_tokens=5), most_tokens=50)
        listener = Recorder()
        report = synth(task, listener=listener)
        assert (report.rows, report.not_asked) == (3, 3)
        assert report.prompt_tokens + report.completion_tokens <= 50
        assert "3 prompts were not sent" in listener.warnings[0]
        whole = synth(dataclasses.replace(task, most_tokens=1000))
    assert (whole.rows, whole.requests, whole.not_asked) == (6, 3, 0)
    assert len(server.asked) == 6


def test_a_budget_that_allows_nothing_is_said_to(tmp_path: Path) -> None:
    with endpoint(well) as server, pytest.raises(UsageError, match="most-tokens 50 allows no prompt"):
        synth(make_task(tmp_path, server.address, most_tokens=50))
    assert not server.asked


def test_tokens_that_nobody_counted_are_guessed_and_said_to_be(tmp_path: Path) -> None:
    with endpoint(lambda asked, before: Reply(usage={"prompt_tokens": "many"})) as server:
        listener = Recorder()
        report = synth(make_task(tmp_path, server.address, seeds=TOPICS[:1]), listener=listener)
    assert (report.prompt_tokens, report.completion_tokens, report.answers_without_usage) == (8, 3, 1)
    assert "did not count" in listener.warnings[-1]


def test_a_stop_keeps_what_was_answered_and_ends_at_once(tmp_path: Path) -> None:
    stop = StopFlag()

    def choose(asked: Asked, before: int) -> Reply:
        if topic_of(asked.prompt) == "bread" and not before:
            stop.set(signal.SIGINT)
            return Reply("late", wait_s=3.0)
        return well(asked, before)

    with endpoint(choose) as server:
        task = make_task(tmp_path, server.address)
        with pytest.raises(Interrupted, match="answers are kept"):
            synth(task, stop=stop)
        assert not task.out.exists()
        report = synth(task)
    assert report.rows == 6
    prompts = [asked.prompt for asked in server.asked]
    answered_twice = {prompt for prompt in prompts if prompts.count(prompt) > 1}
    assert answered_twice <= {f"Write one sentence about {topic}." for topic in TOPICS[2:]}


def test_a_dry_run_sends_and_writes_nothing(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, sampling=Sampling(answer_tokens=100))
        before = sorted(tmp_path.iterdir())
        plan = plan_synth(task)
        assert sorted(tmp_path.iterdir()) == before
        assert not server.asked
        synth(task)
        after = plan_synth(dataclasses.replace(task, rows=7))
    assert (plan.answers_wanted, plan.answers_there, plan.answer_tokens_at_most) == (6, 0, 600)
    assert plan.prompt_tokens_guessed == sum(-(-len(f"Write one sentence about {t}.") // 4) for t in TOPICS)
    assert plan.first_prompts[0] == [{"role": "user", "content": "Write one sentence about rivers."}]
    assert len(plan.first_prompts) == 3
    assert (after.answers_wanted, after.answers_there) == (7, 6)


def test_a_system_message_makes_messages(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, seeds=["rivers"])
        path = tmp_path / "template.yaml"
        path.write_text("system: Be short.\nuser: Write one sentence about {{ topic }}.\n")
        task = dataclasses.replace(task, template=path)
        with pytest.raises(UsageError, match="has no place for it"):
            plan_synth(dataclasses.replace(task, form="prompt_completion"))
        assert synth(task).format == "messages"
    roles = [message["role"] for message in rows_of(task.out)[0]["messages"]]
    assert roles == ["system", "user", "assistant"]


def test_null_leaves_a_field_out_of_the_request(tmp_path: Path) -> None:
    with endpoint(well) as server:
        settings = {"max_tokens": None, "max_completion_tokens": 9}
        synth(make_task(tmp_path, server.address, seeds=["rivers"], sampling=Sampling(0.5, 9, settings)))
    assert set(server.asked[0].body) == {"model", "messages", "temperature", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, "answers to another model: tiny, not other"),
        ({"sampling": Sampling(1.0)}, "answers to another settings"),
    ],
)
def test_answers_of_two_askings_are_not_mixed(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address)
        synth(task)
        with pytest.raises(UsageError, match=said):
            synth(dataclasses.replace(task, **change))
        report = synth(dataclasses.replace(task, overwrite=True, **change))
    assert report.requests == 6


def test_no_file_is_replaced_that_another_wrote(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address)
        task.out.write_text("mine\n")
        with pytest.raises(UsageError, match="is there already"):
            synth(task)
        task.out.unlink()
        synth(task)
        task.out.write_text(task.out.read_text() + '{"prompt": "p", "completion": "by hand"}\n')
        with pytest.raises(UsageError, match="changed since it was written"):
            synth(task)
    assert "by hand" in task.out.read_text()


def test_all_faulty_seeds_are_named_before_anything_is_sent(tmp_path: Path) -> None:
    with endpoint(well) as server:
        task = make_task(tmp_path, server.address, seeds=["rivers", {"subject": "x"}, {"topik": "y"}])
        with pytest.raises(DataError) as raised:
            synth(task)
    assert raised.value.where == f"{tmp_path}/seeds.jsonl:2"
    assert "seeds.jsonl:3" in raised.value.problems[1]
    assert "'topic' is undefined" in raised.value.problems[0]
    assert not server.asked


def test_answers_that_all_fail_leave_a_ledger_and_say_so(tmp_path: Path) -> None:
    with endpoint(lambda asked, before: Reply("no")) as server:
        task = make_task(tmp_path, server.address, checks=Checks(pattern="^yes$", attempts=1))
        with pytest.raises(DataError, match="no answer became a row") as raised:
            synth(task)
        assert raised.value.problems == ("6 failed check",)
        assert not task.out.exists()
        assert len(rows_of(tmp_path / "rows.dropped")) == 6
        with pytest.raises(DataError):
            synth(task)
    assert len(server.asked) == 6, "what failed as often as it may is not asked for again"
