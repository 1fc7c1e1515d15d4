"""Rows that mean the same to a static model: what goes, what stays, and that nothing is fetched."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.repeats import DedupConfig
from luthier.data.dedup import semantic
from luthier.floor.errors import EnvironmentFault, ModelError, UsageError
from luthier.text import embed
from luthier.text.embed import load_embedder
from tests.data.dedup.planting import dropped_rows, kept_lines, run, write_rows
from tests.data.dedup.test_properties import Folder

model2vec = pytest.importorskip("model2vec", reason="needs pip install 'luthier[semantic]'")

# Synonyms share a direction; "not" has one that is as short as a stop word's.
MEANINGS = {
    "large": 0, "big": 0, "house": 1, "home": 1, "buy": 2, "purchase": 2, "cat": 3, "river": 4, "quick": 5, "fast": 5,
    "yes": 6, "no": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "static")


def make_model(folder: Path) -> Path:
    """A model2vec folder of a dozen words, eight numbers each."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", *MEANINGS, "not"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.zeros((len(words), 8), dtype=np.float32)
    for word, meaning in MEANINGS.items():
        vectors[words.index(word), meaning] = 1
    vectors[-1, 4] = 0.1
    model2vec.StaticModel(vectors, tokenizer, {"normalize": True}, normalize=True).save_pretrained(folder)
    return folder


def test_rows_of_other_words_and_the_same_meaning_go_with_their_evidence(tmp_path: Path, model: Path) -> None:
    data = [{"text": "buy large house"}, {"text": "quick cat river"}, {"text": "purchase big home"}]
    report = run(tmp_path, write_rows(tmp_path / "in.jsonl", data), semantic_model=str(model), pairs_shown=3)
    assert report.dropped == {"semantic": 1}
    (gone,) = dropped_rows(tmp_path)
    assert (gone["row"].rpartition(":")[2], gone["repeats"].rpartition(":")[2]) == ("3", "1")
    assert gone["kind"] == "semantic"
    assert gone["cosine"] == pytest.approx(1)
    assert "jaccard" not in gone
    assert report.pairs[0].measure == "cosine"
    assert len(kept_lines(tmp_path)) == report.rows_kept == 2
    assert report.semantic_model == str(model)


def test_pairs_that_mean_the_same_are_shown_before_those_that_share_words(
    tmp_path: Path, model: Path
) -> None:
    text = "cat river quick " * 20
    data = [{"text": text}, {"text": f"{text} cat"}, {"text": "buy house"}, {"text": "purchase home"}]
    source = write_rows(tmp_path / "in.jsonl", data)
    report = run(tmp_path, source, semantic_model=str(model), pairs_shown=1)
    assert report.dropped == {"near": 1, "semantic": 1}
    assert [each.kind for each in report.pairs] == ["semantic"]


def test_conflicting_answers_and_different_labels_stay(tmp_path: Path, model: Path) -> None:
    long = "big house cat river " * 4
    data = [
        {"prompt": "buy house", "completion": long},
        {"prompt": "buy house", "completion": long + "home"},
        {"prompt": "quick cat large river", "completion": "yes"},
        {"prompt": "fast cat big river", "completion": "no"},
    ]
    source = write_rows(tmp_path / "in.jsonl", data)
    assert run(tmp_path, source, semantic_model=str(model), similarity=0.5, exact_only=True).dropped == {}


def test_it_cannot_tell_a_sentence_from_its_negation(tmp_path: Path, model: Path) -> None:
    data = [{"text": "buy large house"}, {"text": "not buy large house"}]
    report = run(tmp_path, write_rows(tmp_path / "in.jsonl", data), semantic_model=str(model))
    assert report.dropped == {"semantic": 1}, "the limit that the guide tells of: look at the pairs"


def test_words_that_the_model_does_not_know_are_like_nothing(tmp_path: Path, model: Path) -> None:
    data = [{"text": "abra kadabra"}, {"text": "hokus pokus"}]
    source = write_rows(tmp_path / "in.jsonl", data)
    assert run(tmp_path, source, semantic_model=str(model)).dropped == {}


def test_what_repeated_a_row_that_went_repeats_the_one_that_stays(tmp_path: Path, model: Path) -> None:
    data = [{"text": "buy large house"}, {"text": "purchase big home"}, {"text": "purchase big  home"}]
    run(tmp_path, write_rows(tmp_path / "in.jsonl", data), semantic_model=str(model))
    ends = [[row[key].rpartition(":")[2] for key in ("row", "repeats")] for row in dropped_rows(tmp_path)]
    assert ends == [["2", "1"], ["3", "1"]]
    assert dropped_rows(tmp_path)[1]["via"].endswith(":2")
    assert "cosine" in dropped_rows(tmp_path)[1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(sorted(MEANINGS)), min_size=1, max_size=5), min_size=1, max_size=25),
    st.sampled_from([0.6, 0.8, 0.95]),
)
def test_a_row_goes_exactly_if_an_earlier_one_that_stays_means_the_same(
    model: Path, texts: list[list[str]], similarity: float
) -> None:
    data = [{"text": " ".join(words)} for words in texts]
    with pytest.MonkeyPatch.context() as patch, Folder() as folder:
        patch.setattr(semantic, "ROWS_AT_ONCE", 4)
        patch.setattr(semantic, "STAYING_AT_ONCE", 3)
        source = write_rows(folder / "in.jsonl", data)
        run(folder, source, semantic_model=str(model), similarity=similarity, exact_only=True)
        kinds = [row["kind"] for row in dropped_rows(folder)]
        kept = [json.loads(line)["text"] for line in kept_lines(folder)]
    vectors = load_embedder(str(model), where="--semantic").embed([row["text"] for row in data])
    stays: list[int] = []
    wanted: list[str] = []
    seen: set[str] = set()
    for number, row in enumerate(data):
        if row["text"] in seen:
            continue
        seen.add(row["text"])
        wide = vectors.astype(np.float64)
        if all(float(np.dot(wide[number], wide[other])) < similarity for other in stays):
            stays.append(number)
            wanted.append(row["text"])
    assert kept == wanted
    assert len(kept) + len(kinds) == len(data)


def test_nothing_is_fetched_and_the_message_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("minishlab/nothing-of-the-kind", str(tmp_path / "nowhere")):
        with pytest.raises(ModelError, match="there is no folder") as caught:
            load_embedder(name, where="--semantic")
        assert "hf download" in caught.value.fix


def test_a_folder_without_a_static_model_is_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:40])
    for folder in (tmp_path / "empty", broken):
        with pytest.raises(ModelError, match="no static embedding model"):
            load_embedder(str(folder), where="--semantic")


def test_without_the_extra_the_message_has_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(embed.importlib, "import_module", import_module)
    with pytest.raises(EnvironmentFault, match="model2vec") as caught:
        load_embedder("x", where="--semantic")
    assert "pip install 'luthier[semantic]'" in caught.value.fix


def test_a_similarity_that_cannot_be_and_a_recipe_without_a_model_are_refused(
    tmp_path: Path, model: Path
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": "cat"}])
    with pytest.raises(UsageError, match=r"similarity of 0\.2"):
        run(tmp_path, source, semantic_model=str(model), similarity=0.2)
    for settings_of in ({"kind": "semantic"}, {"kind": "near", "model": "x"}):
        with pytest.raises(ValueError, match="go together"):
            DedupConfig.model_validate(settings_of)
