"""A GGUF file behind the server: llama.cpp answers as Luthier's own generator does, rows beside each other, and a bad file ends nothing else."""

import asyncio
import shutil
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.config.compose import load_recipe
from luthier.config.serve import ServeConfig
from luthier.floor.errors import ModelError, UsageError
from luthier.floor.log import Silent
from luthier.floor.rundir import RunDir
from luthier.llamacpp import package
from luthier.llamacpp.library import open_model
from luthier.llamacpp.rows import Rows
from luthier.serve.api import ChatRequest, CompletionRequest
from luthier.serve.engines.gguf_house import GgufHouse
from luthier.serve.engines.own import OwnEngine
from luthier.serve.stage import make_engine
from luthier.serve.subject import find_served
from luthier.text.tokenizer import load_tokenizer, stop_ids
from tests.export.gguf.writing import library, write
from tests.serve.conftest import Loop
from tests.tiny import make_tiny_model

pytestmark = pytest.mark.slow

MOST_NEW_TOKENS = 12
STOP = "e"
PROMPTS = ("The mill near the river", "name: ", "What is the capital of France? The", "a")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("gguf") / "tiny", "llama", tie_embeddings=False)


@pytest.fixture(scope="module")
def file(tiny: Path, llama_cpp: Path) -> Path:
    """The model's file beside its tokenizer, as a person puts them."""
    return write(tiny, "F32", tiny / "tiny.gguf")


def test_rows_beside_each_other_get_the_logits_that_each_gets_alone(file: Path, llama_cpp: Path) -> None:
    prompts = [[5, 6, 7], list(range(600, 0, -2))[:290], [9]]
    prompts[1] = [token % 300 for token in prompts[1]] * 2
    with open_model(library(llama_cpp), file) as model:
        model.start(context_tokens=600, threads=1)
        alone = [
            list(model.logits([*prompt, 11], range(len(prompt) - 1, len(prompt) + 1))) for prompt in prompts
        ]
        rows = Rows(model, most_rows=3, context_tokens=600, threads=1)
        assert abs(rows.join(prompts[:2])[1] - alone[1][0]).max() < 1e-3
        rows.join(prompts[2:])
        rows.leave([0])
        stepped_BV = rows.step([11, 11])
        assert rows.lengths == [581, 2]
        assert abs(stepped_BV[0] - alone[1][1]).max() < 1e-3
        assert abs(rows.join(prompts[:1])[0] - alone[0][0]).max() < 1e-3, "the slot was emptied"
        assert abs(stepped_BV[1] - alone[2][1]).max() < 1e-3


def start_engine(loop: Loop, target: Path, patch: pytest.MonkeyPatch, llama_cpp: Path) -> OwnEngine:
    # The worker looks for the library where the cache folder is.
    patch.setenv("XDG_CACHE_HOME", str(llama_cpp.parents[2]))
    assert package.is_fetched()
    config = ServeConfig(threads=1, context_tokens=128)
    recipe = load_recipe("demo").recipe
    recipe = recipe.model_copy(update={"serve": config})
    engine = make_engine(find_served(str(target), config), recipe, Silent())
    assert isinstance(engine, OwnEngine)
    loop.run(engine.start())
    return engine


async def ask(engine: OwnEngine, **fields: Any) -> tuple[str, list[float], str | None]:
    (model,) = engine.facts.models if len(engine.facts.models) == 1 else engine.facts.models[:1]
    kind = ChatRequest if "messages" in fields else CompletionRequest
    request = kind.model_validate({"model": model, **fields})
    prepared = await engine.prepare(request)
    text, logprobs, finish = "", [], None
    async with aclosing(engine.answer(prepared, most_new_tokens=MOST_NEW_TOKENS)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            text += piece.text
            logprobs += [fact.logprob for fact in piece.facts]
            finish = piece.finish or finish
    return text, logprobs, finish


async def ask_all(engine: OwnEngine) -> list[tuple[str, list[float], str | None]]:
    greedy = [ask(engine, prompt=prompt, temperature=0, logprobs=1) for prompt in PROMPTS]
    drawn = [ask(engine, prompt=PROMPTS[0], temperature=1.5, seed=seed, logprobs=1) for seed in (1, 1, 2)]
    chat = ask(engine, messages=[{"role": "user", "content": "Hello"}], temperature=0, logprobs=True)
    return await asyncio.gather(
        *greedy, *drawn, chat, ask(engine, prompt="a", temperature=0, stop=[STOP], logprobs=1)
    )


def greedy_answer(folder: Path, prompt: str) -> tuple[str, list[float]]:
    """What Transformers says, and how likely it finds each of its tokens."""
    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = list(tokenizer(prompt)["input_ids"])
    start, logprobs = len(ids), []
    with torch.inference_mode():
        for _ in range(MOST_NEW_TOKENS):
            logprob_V = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            if int(logprob_V.argmax()) in stop_ids(tokenizer):
                break
            ids.append(int(logprob_V.argmax()))
            logprobs.append(float(logprob_V.max()))
    return tokenizer.decode(ids[start:], skip_special_tokens=True), logprobs


def test_llama_cpp_answers_several_clients_as_transformers_answers_each(
    file: Path, tiny: Path, loop: Loop, llama_cpp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy, drawn by a seed, conversations and stops: nine requests at once, more than there are slots."""
    engine = start_engine(loop, file, monkeypatch, llama_cpp)
    try:
        assert (engine.facts.name, engine.facts.most_rows) == ("llama.cpp", 4)
        found = loop.run(ask_all(engine))
        for prompt, (text, logprobs, finish) in zip(PROMPTS, found, strict=False):
            expected, expected_logprobs = greedy_answer(tiny, prompt)
            assert (text, finish) == (expected, "length" if len(logprobs) == MOST_NEW_TOKENS else "stop")
            assert logprobs == pytest.approx(expected_logprobs, abs=0.02)
        texts = [text for text, _, _ in found]
        assert texts[4] == texts[5] != texts[6], "the seed decides"
        assert found[-1][2] == "stop"
        assert texts[-1] == texts[3].partition(STOP)[0]
        loop.run(leave_early(engine))
        assert [text for text, _, _ in loop.run(ask_all(engine))] == texts, "rows that clients left are gone"
    finally:
        loop.run(engine.stop())


async def leave_early(engine: OwnEngine) -> None:
    request = CompletionRequest.model_validate(
        {"model": engine.facts.models[0], "prompt": "a", "temperature": 2, "seed": 3}
    )
    prepared = await engine.prepare(request)
    for _ in range(6):
        async with aclosing(engine.answer(prepared, most_new_tokens=100)) as pieces:  # type: ignore[type-var]
            await anext(pieces)


def test_a_bad_file_or_a_tokenizer_of_another_model_is_refused(
    file: Path, llama_cpp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(llama_cpp.parents[2]))
    lone = Path(shutil.copy(file, tmp_path / "lone.gguf"))
    with pytest.raises(UsageError, match="no tokenizer lies beside it"):
        make_engine(find_served(str(lone), ServeConfig()), load_recipe("demo").recipe, Silent())
    other = make_tiny_model(tmp_path / "other", "llama", vocabulary_size=270)
    strange, cut = Path(shutil.copy(file, other / "strange.gguf")), other / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-5000])
    for path, code in ((strange, "gguf-tokenizer"), (cut, "gguf-load")):
        # What the worker's process does, without its start.
        with pytest.raises(ModelError) as caught:
            GgufHouse(find_served(str(path), ServeConfig()).for_own(ServeConfig(), device="cpu"))
        assert (caught.value.code, caught.value.where) == (code, str(path))


def test_a_runs_file_is_served_with_the_runs_tokenizer_and_form(adapter_run: RunDir, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(adapter_run.path, tmp_path / "run")))
    path = run.path / "export" / "gguf" / "tuned-F16.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    (model,) = find_served(str(path), ServeConfig()).models
    assert (model.name, model.tokenizer_folder) == ("tuned-F16", run.model)
