"""Modelfiles are read back as they were written, by the rules of Ollama's reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.config.recipe import Recipe
from luthier.export.ollama.modelfile import Instruction, Modelfile, read
from luthier.export.ollama.settings import as_parameters, end_texts, parameters_of
from luthier.export.ollama.stage import check_name
from luthier.floor.errors import UsageError
from tests.tiny import make_tiny_tokenizer

# Signs that Ollama's reader keeps: printable ones, blanks and line ends.
VALUE = st.text(alphabet=st.sampled_from('ab é"#{}\n\t\\/FROM <|'), max_size=12)


@given(VALUE, VALUE, VALUE, st.text(alphabet=st.sampled_from("ab c\u00a0\n"), max_size=6))
def test_what_is_written_is_what_ollama_reads(template: str, stop: str, system: str, licence: str) -> None:
    made = Modelfile(
        "./a b.gguf", template, (("stop", stop), ("temperature", "0.7")), system, licence, ("FROM a",)
    )
    try:
        text = made.text()
    except ValueError as fault:
        assert "Ollama would read" in str(fault) or "not closed" in str(fault)
        return
    assert list(read(text)) == made.instructions
    assert "\u00a0" not in made.licence


def test_signs_that_ollama_drops_are_refused_and_not_lost() -> None:
    with pytest.raises(ValueError, match="Ollama would read 'Beverybrief' as SYSTEM"):
        Modelfile("./a.gguf", "x", (), system="Be\u00a0very\u200bbrief").text()
    with pytest.raises(ValueError, match="Ollama would not read"):
        Modelfile("./a.gguf", 'a """\nb', ()).text()


def test_a_file_is_read_as_the_documentation_says() -> None:
    """The example of docs/modelfile.md, and its rules: any case, any order, comments, texts over lines."""
    text = (
        "# the base\nfrom ./ollama-model.gguf\n\n# sets the temperature to 1\nPARAMETER temperature 1\n"
        'parameter stop "AI assistant:"\nTEMPLATE """{{ if .System }}\n"quoted"\n{{ end }}"""\n'
        "SYSTEM You are Mario from super mario bros, acting as an assistant."
    )
    assert list(read(text)) == [
        Instruction("FROM", "./ollama-model.gguf"),
        Instruction("PARAMETER temperature", "1"),
        Instruction("PARAMETER stop", "AI assistant:"),
        Instruction("TEMPLATE", '{{ if .System }}\n"quoted"\n{{ end }}'),
        Instruction("SYSTEM", "You are Mario from super mario bros, acting as an assistant."),
    ]
    for wrong in ("FORM x\n", "FROM", 'TEMPLATE """a\n'):
        with pytest.raises(ValueError, match=r"no instruction|not closed"):
            list(read(wrong))


def test_every_end_of_the_run_is_a_stop() -> None:
    tokenizer = make_tiny_tokenizer()
    eos, turn = "<|endoftext|>", "<|im_end|>"
    assert end_texts(tokenizer, {}, answer_end="") == (eos, turn)
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    given = {"eos_token_id": [start, tokenizer.eos_token_id]}
    assert end_texts(tokenizer, given, answer_end="</assistant>") == (
        eos,
        turn,
        "<|im_start|>",
        "</assistant>",
    )


@pytest.mark.parametrize("ends", [10**9, -5, True, 2**70, [1.5, "a", None, -1], {"a": 1}])
def test_ends_and_settings_that_are_none_are_left_out(ends: object) -> None:
    assert end_texts(make_tiny_tokenizer(), {"eos_token_id": ends}, answer_end="") == (
        "<|endoftext|>",
        "<|im_end|>",
    )
    recipe = Recipe.model_validate({"model": {"name": "base"}})
    odd = {
        "do_sample": True,
        "temperature": float("nan"),
        "top_p": -1,
        "top_k": "all",
        "min_p": 1e300,
        "repetition_penalty": True,
    }
    found = parameters_of(recipe, odd, context_tokens=4096)
    assert found == {
        "temperature": 1,
        "top_k": 50,
        "top_p": 1,
        "min_p": 0,
        "repeat_penalty": 1,
        "num_ctx": 4096,
    }


def test_sampling_is_the_models_own_or_greedy_and_the_context_bounded() -> None:
    sections = {"model": {"name": "base"}, "data": {"max_length": 6000}, "evaluate": {"max_new_tokens": 100}}
    recipe = Recipe.model_validate(sections)
    greedy = parameters_of(recipe, {"temperature": 0.6}, context_tokens=32768)
    assert greedy == {
        "temperature": 0,
        "top_k": 0,
        "top_p": 1,
        "min_p": 0,
        "repeat_penalty": 1,
        "num_ctx": 6100,
    }
    given = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05}
    sampled = parameters_of(recipe, given, context_tokens=2048)
    assert (sampled["temperature"], sampled["repeat_penalty"]) == (0.7, 1.05)
    assert (sampled["top_k"], sampled["num_ctx"]) == (50, 2048)
    listed = as_parameters(["<|im_end|>"], sampled)
    assert listed[:2] == (("stop", "<|im_end|>"), ("temperature", "0.7"))
    assert ("num_ctx", "2048") in listed


@pytest.mark.parametrize("name", ["a b", "", "../x", "a:b:c", "x" * 200, "-a"])
def test_a_name_that_ollama_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)
    check_name("me/my-model.1:q5_k_m")
