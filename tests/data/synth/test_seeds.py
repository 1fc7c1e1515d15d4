"""Seeds from files of three kinds, templates, and what is wrong with them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.synth.judge import Judge
from luthier.data.synth.prompts import load_prompts
from luthier.data.synth.seeds import Seed, name_of, read_askings, read_seeds
from luthier.data.synth.task import Checks
from luthier.floor.errors import DataError, LuthierError, UsageError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.jsonl", '{"a": "x, y", "b": "1"}\n\n{"a": "two\\nlines", "b": ""}\n'),
        ("s.csv", '\ufeffa,b\n"x, y",1\n,\n"two\nlines",\n'),
        ("s.tsv", 'a\tb\nx, y\t1\n"two\nlines"\t\n'),
    ],
)
def test_seeds_are_the_same_from_json_lines_and_tables(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    fields = [seed.fields for seed in read_seeds(path)]
    assert fields == [{"a": "x, y", "b": "1"}, {"a": "two\nlines", "b": ""}]


def test_plain_lines_are_seeds_too(tmp_path: Path) -> None:
    path = tmp_path / "seeds.txt"
    path.write_text("rivers\n\n  lenses \r\n")
    assert [(seed.origin, seed.fields) for seed in read_seeds(path)] == [
        (f"{path}:1", {"seed": "rivers"}), (f"{path}:3", {"seed": "lenses"}),
    ]  # fmt: skip


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.integers(1, 30))
def test_no_two_askings_share_a_key_and_more_rows_keep_the_first_ones(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[str], rows: int
) -> None:
    path = tmp_path_factory.mktemp("seeds") / "s.txt"
    path.write_text("\n".join(seeds))
    keys = [asking.key for asking in read_askings(path, rows=rows)]
    assert len(keys) == len(set(keys)) == rows
    assert keys == [asking.key for asking in read_askings(path, rows=rows + 5)][:rows]
    assert len(list(read_askings(path, rows=None))) == len(seeds)


def test_a_seed_is_known_by_its_fields_not_by_its_place() -> None:
    assert name_of({"a": 1, "b": 2}) == name_of({"b": 2, "a": 1}) != name_of({"a": 1, "b": 3})


@pytest.mark.parametrize(
    ("name", "content", "where", "said"),
    [
        ("s.jsonl", b'{"a": 1}\n{"a": \n', ":2", "not JSON"),
        ("s.jsonl", b"[1]\n", ":1", "an array"),
        ("s.csv", b"a,b\n1,2\n1,2,3\n", ":3", "3 cells under 2 columns"),
        ("s.csv", b"a,a\n1,2\n", ":1", "names a column twice"),
        ("s.csv", b'a\n"open\n', ":2", "not a table"),
        ("s.txt", b"good\n\xff\xfe\n", ":2", "0xFF: not UTF-8"),
        ("s.txt", b"\x1f\x8b\x08", ":1", "gzip archive"),
        ("s.txt", b"\n \n", "", "there is no seed"),
        ("s.jsonl", b"[" * 10_000, ":1", "nested deeper"),
    ],
)
def test_a_faulty_seed_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, where: str, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        list(read_seeds(path))
    assert raised.value.where == f"{path}{where}"


@given(content=st.binary(max_size=300), name=st.sampled_from(["s.jsonl", "s.csv", "s.tsv", "s.txt"]))
def test_any_bytes_are_seeds_or_a_named_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("seeds") / name
    path.write_bytes(content)
    try:
        assert list(read_seeds(path))
    except LuthierError as fault:
        assert str(path) in fault.where


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.txt", "Hello", "every prompt would be the same"),
        ("t.txt", "{{ a", "user, line 1"),
        ("t.txt", "{% include 'x' %}{{ a }}{% endfor %}", "unknown tag 'endfor'"),
        ("t.yaml", "- a", "holds `user: ...`"),
        ("t.yaml", "usr: '{{ a }}'", "'usr' is no part of a template"),
        ("t.yaml", "system: '{{ a }}'", "`user` is missing"),
        ("t.yaml", "user: 7", "`user` is not text"),
        ("t.yaml", "user: [", "not YAML"),
    ],
)
def test_a_template_that_is_none_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_prompts(path)


@pytest.mark.parametrize(
    "text",
    [
        "{{ a.__class__.__mro__ }}",
        "{{ ''.__class__ }}{{ a }}",
        "{{ b }}",
        "{{ a.append(1) }}",
        "{% include '/etc/passwd' %}{{ a }}",
        "{{ a }}{{ 1 / 0 }}",
        "{% for x in range(10**9) %}x{% endfor %}{{ a }}",
    ],
)
def test_what_a_template_may_not_do_is_a_fault_of_that_seed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="does not go with this seed"):
        load_prompts(path).messages(Seed("s:1", {"a": []}, "x"))


def test_what_a_seed_says_is_text_and_no_template(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("Say {{ a }}.")
    seed = Seed("s:1", {"a": "{{ b }}{% raw %}<script>"}, "x")
    assert load_prompts(path).messages(seed)[0]["content"] == "Say {{ b }}{% raw %}<script>."


def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    for text in ('{"$ref": "http://127.0.0.1:9/x"}', '{"type": 7}', "{", "[" * 1000, '"x"'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"is no JSON schema|nested"):
            Judge(Checks(schema=path))


@pytest.mark.parametrize(
    ("text", "is_refusal"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, I cannot write this.", True),
        ("As an AI language model, I have no opinion.", True),
        ("I can't assist with that request.", True),
        ("Unfortunately, I am unable to share it.", True),
        ("I'm sorry you lost the match; here is a poem.", False),
        ("As an airline, we fly.", False),
        ("I can't wait to tell you of lenses.", False),
        ("They said: as an AI language model it refuses.", False),
    ],
)
def test_refusals_are_known_by_how_they_begin(text: str, is_refusal: bool) -> None:
    record = {"status": "answered", "text": text, "finish_reason": "stop", "refusal": None}
    assert (Judge(Checks()).rule(record).reason == "refused") is is_refusal
