"""The official client is the judge: chats, completions, streams, choices, seeds, log probabilities, models, errors."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from luthier.evaluate.stage import evaluate
from luthier.floor.rundir import RunDir
from tests.evaluate.rows import make_recipe, write_rows
from tests.serve.conftest import BASE, TUNED, Running

# The engine's process takes seconds to start.
pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def client(server: Running) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_the_models_are_listed_by_name(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [TUNED, BASE]
    assert client.models.retrieve(BASE).id == BASE
    with pytest.raises(NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    asked = {"model": TUNED, "messages": HELLO, "max_tokens": 20, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        == whole.choices[0].message.content
    )
    assert (
        [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1]
        == whole.choices[0].finish_reason
        == "length"
    )
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 20
    assert chunks[0].choices[0].delta.role == "assistant"


def test_greedy_answers_are_those_of_eval(client: OpenAI, adapter_run: RunDir, tmp_path) -> None:
    prompts = ["What is the capital of France?", "name: The Mill | food: English", "Grüße, 世界 🌍!", "a"]
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "x"}]}
        for text in prompts
    ]
    recipe = make_recipe("embedded", write_rows(tmp_path / "test.jsonl", rows), max_new_tokens=24)
    for subject, model in (("tuned", TUNED), ("base", BASE)):
        evaluate(recipe, adapter_run, subject=subject)
        said = [line["generated"] for line in read_lines(adapter_run, subject)]
        got = [
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=24, temperature=0
            )
            for text in prompts
        ]
        assert [answer.choices[0].message.content for answer in got] == said
        assert len(set(said)) == len(prompts)


def read_lines(run: RunDir, subject: str) -> list[dict]:
    import json

    text = (run.stage("evaluate") / subject / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_seed_repeats_an_answer_whoever_else_is_answered(client: OpenAI) -> None:
    asked = {"model": BASE, "prompt": "The restaurant", "max_tokens": 16, "temperature": 1, "seed": 7, "n": 3}
    first, second = (client.completions.create(**asked) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in second.choices]
    assert len(set(texts)) == 3
    assert first.usage.completion_tokens == sum(16 for _ in texts)
    alone = client.completions.create(**asked | {"n": 1})
    assert alone.choices[0].text == texts[0]
    other = client.completions.create(**asked | {"seed": 8})
    assert [choice.text for choice in other.choices] != texts


def test_a_stop_string_is_cut_off_across_tokens(client: OpenAI) -> None:
    asked = {"model": BASE, "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[7:15]
    assert len(stop) == 8
    before = whole[: whole.index(stop)]
    cut = client.completions.create(**asked, stop=[stop, "never there"]).choices[0]
    assert (cut.text, cut.finish_reason) == (before, "stop")
    streamed = [chunk.choices[0].text for chunk in client.completions.create(**asked, stop=stop, stream=True)]
    assert "".join(streamed) == before
    near = client.completions.create(**asked, stop=stop[:-1] + "\u2620").choices[0]
    assert (near.text, near.finish_reason) == (whole, "length")


def test_log_probabilities_are_those_of_the_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=BASE, messages=HELLO, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    ).choices[0]
    tokens = answer.logprobs.content
    assert "".join(token.token for token in tokens) == answer.message.content
    for token in tokens:
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert [other.logprob for other in token.top_logprobs] == sorted(
            (other.logprob for other in token.top_logprobs), reverse=True
        )
    plain = client.completions.create(
        model=BASE, prompt="Hello", max_tokens=4, temperature=0, logprobs=2
    ).choices[0]
    assert "".join(plain.logprobs.tokens) == plain.text
    assert [len(top) for top in plain.logprobs.top_logprobs] == [2, 2, 2, 2]
    assert plain.logprobs.text_offset[0] == 0


def test_several_prompts_are_several_choices(client: OpenAI) -> None:
    asked = {"model": BASE, "max_tokens": 5, "temperature": 0}
    both = client.completions.create(prompt=["Hello", "Once upon"], **asked)
    alone = [
        client.completions.create(prompt=text, **asked).choices[0].text for text in ("Hello", "Once upon")
    ]
    assert [choice.text for choice in both.choices] == alone
    as_ids = client.completions.create(prompt=[39, 807, 78], **asked)
    assert as_ids.usage.prompt_tokens == 3


def test_control_tokens_in_a_text_are_plain_text(client: OpenAI) -> None:
    plain = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=1, temperature=0)
    spelt = client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "Hello<|im_end|>"}], max_tokens=1, temperature=0
    )
    assert spelt.usage.prompt_tokens - plain.usage.prompt_tokens > 2


def test_refusals_are_errors_that_the_client_knows(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert unknown.value.code == "api-model"
    with pytest.raises(BadRequestError) as wrong:
        client.chat.completions.create(model=BASE, messages=HELLO, temperature=3)
    assert (wrong.value.code, wrong.value.param) == ("api-field", "temperature")
    with pytest.raises(BadRequestError) as long:
        client.completions.create(model=BASE, prompt="a " * 3000)
    assert long.value.code == "api-context"
    assert "2048" in long.value.message
    schema = {"name": "x", "schema": {"type": "object"}}
    with pytest.raises(BadRequestError) as unable:
        client.chat.completions.create(
            model=BASE, messages=HELLO, response_format={"type": "json_schema", "json_schema": schema}
        )
    assert (unable.value.code, unable.value.param) == ("api-unsupported", "response_format")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(BadRequestError, match="leaves tools out"):
        client.chat.completions.create(model=BASE, messages=HELLO, tools=[tool])
