"""A data path is a file, a folder or a dataset of the hub, and each is told from the others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.config.data import ColumnsConfig, DataConfig
from luthier.data.check.stage import CheckTask, check
from luthier.data.dedup.stage import DedupTask, dedup
from luthier.data.sources import find_sources, is_hub_id
from luthier.data.split_files import SplitTask, split_files
from luthier.floor.errors import DataError, EnvironmentFault
from luthier.floor.log import Recorder, Silent
from luthier.text.rows import read_rows
from tests.data.preparing import pairs, write_rows


@pytest.mark.parametrize("name", ["databricks/dolly-15k", "tatsu-lab/alpaca", "org/name.v2"])
def test_owner_and_name_mean_the_hub(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name",
    ["./data", "data", "../a/b", "/abs/olute", "a/b/c", "org/rows.jsonl", "~/rows", "https://x/y", "a/../b"],
)
def test_everything_else_is_local(name: str) -> None:
    assert not is_hub_id(name)


def test_a_misspelt_file_in_a_folder_that_exists_is_no_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "data" / "train.jsonl", pairs(1))
    assert not is_hub_id("data/trian")
    with pytest.raises(DataError, match=r"there is no data/trian.jsonl; did you mean data/train.jsonl\?"):
        find_sources(DataConfig(path="data/trian.jsonl"), Silent())


def test_the_same_file_is_hashed_once_and_by_its_bytes(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", pairs(2))
    sources = find_sources(DataConfig(path=str(file), validation_path=str(file)), Silent())
    assert list(sources.hashes) == [str(file)]
    write_rows(file, pairs(3))
    assert find_sources(DataConfig(path=str(file)), Silent()).hashes != sources.hashes


def test_files_beside_the_json_lines_of_a_folder_are_named(tmp_path: Path) -> None:
    """A folder is read for its JSON lines; that its tables are not read is no secret."""
    write_rows(tmp_path / "a.jsonl", pairs(2))
    (tmp_path / "b.csv").write_text("prompt,completion\nx,y\n")
    (tmp_path / "c.json").write_text("[]")
    (tmp_path / "README.md").write_text("About them.")
    (tmp_path / "c.report.json").write_text("{}")
    said = Recorder()
    warning = f"{tmp_path} is read for its *.jsonl; its other files of rows are not read: b.csv, c.json"
    assert len(find_sources(DataConfig(path=str(tmp_path)), said).train) == 1
    assert said.warnings == [warning]
    with check(CheckTask((tmp_path,)), listener=said) as checked:
        assert [file.name for file in checked.files] == ["a.jsonl"]
    dedup(DedupTask((tmp_path,)), listener=said)
    split_files(SplitTask((tmp_path,), {"test": 0.5}, seed=1), listener=said)
    assert said.warnings.count(warning) == 4
    assert find_sources(DataConfig(path=str(tmp_path), pattern="a.*"), said)
    assert said.warnings.count(warning) == 4


COMMIT = "0123456789" * 4


class FakeDataset:
    """What `datasets` gives for a small table, as far as it is used."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.column_names = list(columns)
        self.cache_files = [{"filename": f"/cache/owner___rows/default/0.0.0/{COMMIT}/rows.arrow"}]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def select_columns(self, names: list[str]) -> "FakeDataset":
        return FakeDataset({name: self._columns[name] for name in names})

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self), batch_size):
            yield {name: values[start : start + batch_size] for name, values in self._columns.items()}


class TestHub:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What `load_dataset` is called with, and what it gives or raises."""
        datasets = pytest.importorskip("datasets")
        said: dict[str, Any] = {}

        def load_dataset(name: str, **options: Any) -> FakeDataset:
            said.update(options, name=name)
            answer = said["answer"]
            if isinstance(answer, Exception):
                raise answer
            return FakeDataset(answer)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return said

    def config(self, folder: Path, **settings: Any) -> DataConfig:
        return DataConfig(path="owner/rows", cache_path=str(folder / "cache"), **settings)

    def test_the_rows_of_a_dataset_become_a_file(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        asked["answer"] = {"prompt": ["p"] * 2500, "id": list(range(2500)), "completion": ["c\u00e9"] * 2500}
        sources = find_sources(self.config(tmp_path, revision=COMMIT, hub_split="test"), Silent())
        assert (asked["name"], asked["revision"], asked["split"]) == ("owner/rows", COMMIT, "test")
        assert sources.kind == "prompt_completion"
        assert sources.unread_columns == {"id": 2500}
        rows = list(read_rows(sources.train, "auto"))
        assert len(rows) == 2500
        assert (rows[0].completion, rows[2499].origin.rpartition(":")[2]) == ("c\u00e9", "2500")
        assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["test.jsonl"]

    def test_another_version_than_the_one_asked_for_is_refused(
        self, tmp_path: Path, asked: dict[str, Any]
    ) -> None:
        asked["answer"] = {"text": ["a"]}
        with pytest.raises(DataError, match=f"revision {'f' * 40} is not there") as caught:
            find_sources(self.config(tmp_path, revision="f" * 40), Silent())
        assert caught.value.code == "data-hub"
        assert not (tmp_path / "cache").exists()

    def test_the_same_rows_fetched_again_have_the_same_hash(
        self, tmp_path: Path, asked: dict[str, Any]
    ) -> None:
        asked["answer"] = {"text": ["a", "b"]}
        first = find_sources(self.config(tmp_path), Silent())
        assert find_sources(self.config(tmp_path), Silent()) == first

    def test_nulls_in_messages_are_passed_over(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        turn = {"role": "user", "content": "hi", "tool_calls": None, "weight": None}
        asked["answer"] = {"messages": [[turn]]}
        sources = find_sources(self.config(tmp_path), Silent())
        assert next(read_rows(sources.train, "auto")).messages[0].content == "hi"

    def test_other_columns_are_refused_by_name(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        asked["answer"] = {"frage": ["a"], "antwort": ["b"]}
        with pytest.raises(DataError, match="it has: frage, antwort") as caught:
            find_sources(self.config(tmp_path), Silent())
        assert caught.value.code == "data-field"
        assert not (tmp_path / "cache").exists()

    def test_columns_that_ask_and_answer_are_recognised(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        asked["answer"] = {"instruction": ["a"], "input": ["b"], "output": ["c"], "id": [1]}
        sources = find_sources(self.config(tmp_path), Silent())
        (row,) = sources.read_train()
        assert (row.prompt, row.completion) == ("a\n\nb", "c")
        assert sources.unread_columns == {"id": 1}

    def test_columns_that_are_named_are_fetched(self, tmp_path: Path, asked: dict[str, Any]) -> None:
        asked["answer"] = {"frage": ["a"], "antwort": [7], "text": ["t"]}
        columns = ColumnsConfig(prompt=("frage",), completion=("antwort",))
        sources = find_sources(self.config(tmp_path, columns=columns), Silent())
        (row,) = sources.read_train()
        assert (row.prompt, row.completion) == ("a", "7")
        assert sources.unread_columns == {"text": 1}

    @pytest.mark.parametrize(
        "fault",
        [
            ConnectionError("Couldn't reach 'owner/rows' on the Hub"),
            FileNotFoundError("Dataset 'owner/rows' doesn't exist on the Hub"),
            ValueError("Unknown split \"tset\". Should be one of ['train']."),
            RuntimeError("Dataset scripts are no longer supported, but found rows.py"),
        ],
        ids=lambda fault: type(fault).__name__,
    )
    def test_what_the_hub_refuses_is_told(
        self, tmp_path: Path, asked: dict[str, Any], fault: Exception
    ) -> None:
        asked["answer"] = fault
        with pytest.raises(DataError) as caught:
            find_sources(self.config(tmp_path), Silent())
        assert (caught.value.code, caught.value.exit_code) == ("data-hub", 3)
        assert str(fault) in caught.value.what

    def test_a_missing_library_is_named_with_its_install_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "datasets", None)
        with pytest.raises(EnvironmentFault) as caught:
            find_sources(self.config(tmp_path), Silent())
        assert caught.value.code == "env-extra"
        assert 'pip install "luthier[datasets]"' in caught.value.fix


def test_a_real_dataset_table_is_written_as_it_is(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from luthier.data.hub import _write

    rows = [{"messages": [{"role": "user", "content": "a\nb \u2028"}]}, {"messages": []}]
    _write(datasets.Dataset.from_list(rows), tmp_path / "rows.jsonl")
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().split("\n")[:-1]] == rows
