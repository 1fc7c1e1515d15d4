"""What a person brings to a synthesis is a program: a pattern, a schema, a template. None of them may run for ever."""

import json
import time
from pathlib import Path

import pytest

from luthier.data.synth.judge import Judge
from luthier.data.synth.prompts import load_prompts
from luthier.data.synth.seeds import Seed
from luthier.data.synth.task import Checks
from luthier.floor.errors import DataError, UsageError

pytestmark = pytest.mark.slow

CATASTROPHE = r"^(a+)+$"
ANSWER = {"status": "answered", "text": "a" * 60 + "b", "finish_reason": "stop", "refusal": None}


def test_a_catastrophic_pattern_is_told_and_not_waited_for() -> None:
    judge, started = Judge(Checks(pattern=CATASTROPHE)), time.process_time()
    with pytest.raises(UsageError, match="took longer than 2 s on an answer of 61 characters") as caught:
        judge.rule(ANSWER)
    assert time.process_time() - started < 4
    assert caught.value.where == "--match"
    assert "the answers so far are kept" in caught.value.fix
    assert judge.rule({**ANSWER, "text": "aaa"}).reason is None, "and the next answer is judged as ever"


def test_a_catastrophic_pattern_of_a_schema_is_told_too(tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "string", "pattern": CATASTROPHE}))
    with pytest.raises(UsageError, match=r"--schema .* took longer"):
        Judge(Checks(schema=schema)).rule({**ANSWER, "text": json.dumps(ANSWER["text"])})


def test_a_template_that_does_not_end_is_refused(tmp_path: Path) -> None:
    template = tmp_path / "prompt.txt"
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    template.write_text(loop + "{{ seed }}")
    with pytest.raises(UsageError, match="user took longer than 5 s for one seed"):
        load_prompts(template).messages(Seed("s:1", {"seed": "x"}, "0"))


@pytest.mark.parametrize(
    "bomb", ["{{ seed * 3000000000 }}", "{{ 3000000000 * [seed] }}", "{{ 9 ** 99999999 }}{{ seed }}"]
)
def test_a_step_that_would_fill_the_memory_is_refused(tmp_path: Path, bomb: str) -> None:
    template = tmp_path / "prompt.txt"
    template.write_text(bomb)
    with pytest.raises(DataError, match="does not go with this seed"):
        load_prompts(template).messages(Seed("s:1", {"seed": "x"}, "0"))


def test_ordinary_sums_and_repeats_are_left_alone(tmp_path: Path) -> None:
    template = tmp_path / "prompt.txt"
    template.write_text("{{ '-' * 3 }} {{ 6 * 7 }} {{ 2 ** 10 }} {{ 1.5 * 2 }} {{ seed }}")
    [message] = load_prompts(template).messages(Seed("s:1", {"seed": "x"}, "0"))
    assert message["content"] == "--- 42 1024 3.0 x"
