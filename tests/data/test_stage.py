"""The data stage keeps its books and leaves nothing half done."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.floor.errors import (
    DataError,
    Interrupted,
    LuthierError,
    ModelError,
    RecipeError,
    SavedAndStopped,
)
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport, SplitCounts
from luthier.text.render import Renderer
from luthier.text.rows import Row
from luthier.text.tokenizer import load_tokenizer
from tests.data.preparing import (
    assert_nothing_is_left,
    make_recipe,
    make_run,
    pairs,
    store_of,
    write_rows,
)


class TestStraightLine:
    def test_the_store_holds_the_rows_as_they_render(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "b.jsonl", pairs(3))
        write_rows(tmp_path / "data" / "a.jsonl", [{"prompt": "first", "completion": "row"}])
        recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0)
        report = prepare(recipe, make_run(tmp_path))
        store = store_of(report)
        renderer = Renderer(load_tokenizer(tiny_base), template="guide")
        origins = [f"{tmp_path}/data/a.jsonl:1", *(f"{tmp_path}/data/b.jsonl:{line}" for line in (1, 2, 3))]
        assert [store.origin(row) for row in range(store.rows)] == origins
        rendered = renderer.render(Row("prompt_completion", "x:1", prompt="first", completion="row"))
        assert store.ids(0).tolist() == rendered.ids
        assert store.trained(0).tolist() == rendered.trained
        assert store.ids(0).dtype == np.uint16

    def test_the_report_is_the_runs_and_says_what_was_read(self, tiny_base: Path, tmp_path: Path) -> None:
        file = write_rows(tmp_path / "data" / "a.jsonl", [{**row, "id": 7} for row in pairs(5)])
        run = make_run(tmp_path)
        report = prepare(make_recipe(tiny_base, tmp_path, validation_fraction=0), run)
        assert DataReport.read(run.report("data")) == report
        assert list(report.files) == [str(file)]
        assert len(report.files[str(file)]) == 64
        assert (report.format, report.template, report.tokenizer) == (
            "prompt_completion",
            "guide",
            str(tiny_base),
        )
        assert report.unused_fields == {"id": 5}
        assert (report.train.rows_in, report.train.rows_kept) == (5, 5)
        assert report.validation is None
        assert (report.train.tokens, report.train.trained_tokens) == (
            store_of(report).tokens,
            store_of(report).trained_tokens,
        )
        assert report.train.longest_row_tokens == store_of(report).lengths_N.max()

    def test_a_share_is_set_apart_for_validation(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(200))
        report = prepare(make_recipe(tiny_base, tmp_path, validation_fraction=0.2), make_run(tmp_path))
        assert report.validation
        train, validation = store_of(report), store_of(report, "validation")
        origins = [store.origin(row) for store in (train, validation) for row in range(store.rows)]
        assert sorted(int(origin.split(":")[1]) for origin in origins) == list(range(1, 201))
        assert 20 < validation.rows < 60

    def test_a_validation_file_is_taken_whole(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(20))
        held_out = write_rows(tmp_path / "held_out.jsonl", pairs(4))
        recipe = make_recipe(tiny_base, tmp_path, validation_path=str(held_out), validation_fraction=0.5)
        report = prepare(recipe, make_run(tmp_path))
        assert (store_of(report).rows, store_of(report, "validation").rows) == (20, 4)
        assert len(report.files) == 2

    def test_conversations_go_through_the_chat_template(self, tiny_base: Path, tmp_path: Path) -> None:
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
        write_rows(tmp_path / "data" / "a.jsonl", [{"messages": turns}])
        report = prepare(make_recipe(tiny_base, tmp_path, validation_fraction=0), make_run(tmp_path))
        assert (report.format, report.template) == ("messages", "chat")
        text = load_tokenizer(tiny_base).decode(store_of(report).ids(0))
        assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"

    def test_long_texts_are_cut_into_rows(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(
            tmp_path / "data" / "a.jsonl", [{"text": "The river runs past the mill. " * 40}, {"text": "x"}]
        )
        recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0, max_length=64, overlong="split")
        report = prepare(recipe, make_run(tmp_path))
        store, tokenizer = store_of(report), load_tokenizer(tiny_base)
        first = [row for row in range(store.rows) if store.origin(row).endswith(":1")]
        ids = [int(id) for row in first for id in store.ids(row)]
        assert tokenizer.decode(ids) == "The river runs past the mill. " * 40 + tokenizer.eos_token
        assert report.train.rows_added_by_splitting == len(first) - 1
        assert store.lengths_N.max() == 64
        assert report.train.longest_row_tokens == len(ids)

    def test_a_model_from_nothing_gets_a_tokenizer_of_its_own(self, tmp_path: Path) -> None:
        words = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "klmnp"]
        write_rows(tmp_path / "data" / "a.jsonl", [{"text": f"{word} {word} and {word}"} for word in words])
        data = {"path": str(tmp_path / "data"), "cache_path": str(tmp_path / "cache"), "format": "text"}
        recipe = Recipe.model_validate({"method": {"kind": "scratch", "vocabulary_size": 280}, "data": data})
        report = prepare(recipe, make_run(tmp_path))
        assert Path(report.tokenizer) == Path(report.store) / "tokenizer"
        tokenizer = load_tokenizer(Path(report.tokenizer))
        assert len(tokenizer) == 280
        assert tokenizer.decode(store_of(report).ids(0)).endswith(tokenizer.eos_token)
        assert prepare(recipe, make_run(tmp_path, "second")).was_cached

    def test_a_ready_tokenizer_may_be_named(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", [{"text": "The river runs."}])
        data = {
            "path": str(tmp_path / "data"),
            "cache_path": str(tmp_path / "cache"),
            "validation_fraction": 0,
        }
        method = {"kind": "scratch", "tokenizer": str(tiny_base)}
        report = prepare(Recipe.model_validate({"method": method, "data": data}), make_run(tmp_path))
        assert report.tokenizer == str(tiny_base)

    def test_importing_the_stage_loads_no_torch(self) -> None:
        code = "import sys, luthier.data.stage; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


class TestBooks:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
    @given(
        rows=st.lists(
            st.tuples(st.text("ab ", max_size=40), st.text("ab ", max_size=40)), min_size=1, max_size=15
        ),
        max_length=st.integers(2, 40),
        overlong=st.sampled_from(["truncate", "drop"]),
        fraction=st.sampled_from([0.0, 0.5]),
    )
    def test_every_row_is_kept_or_left_out_for_a_reason(
        self,
        tiny_base: Path,
        tmp_path_factory: pytest.TempPathFactory,
        rows: list[tuple[str, str]],
        max_length: int,
        overlong: str,
        fraction: float,
    ) -> None:
        folder = tmp_path_factory.mktemp("books")
        write_rows(folder / "data" / "a.jsonl", [{"prompt": p, "completion": c} for p, c in rows])
        recipe = make_recipe(
            tiny_base, folder, max_length=max_length, overlong=overlong, validation_fraction=fraction
        )
        try:
            report = prepare(recipe, make_run(folder))
        except DataError as fault:
            assert fault.code == "data-untrained"
            assert_nothing_is_left(folder)
            return
        self.assert_balanced(report, rows_in=len(rows), max_length=max_length)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, deadline=None)
    @given(
        texts=st.lists(st.text("ab ", max_size=90), min_size=1, max_size=10), max_length=st.integers(2, 20)
    )
    def test_the_books_balance_when_texts_are_split(
        self, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, texts: list[str], max_length: int
    ) -> None:
        folder = tmp_path_factory.mktemp("books")
        write_rows(folder / "data" / "a.jsonl", [{"text": text} for text in [*texts, "ab"]])
        recipe = make_recipe(
            tiny_base, folder, max_length=max_length, overlong="split", validation_fraction=0
        )
        self.assert_balanced(prepare(recipe, make_run(folder)), rows_in=len(texts) + 1, max_length=max_length)

    def assert_balanced(self, report: DataReport, *, rows_in: int, max_length: int) -> None:
        splits = {"train": report.train, "validation": report.validation}
        counts = {name: found for name, found in splits.items() if found}
        assert sum(found.rows_in for found in counts.values()) == rows_in
        for name, found in counts.items():
            assert found.rows_in + found.rows_added_by_splitting == found.rows_kept + sum(
                found.dropped.values()
            )
            store = store_of(report, name)
            assert (store.rows, store.tokens, store.trained_tokens) == (
                found.rows_kept,
                found.tokens,
                found.trained_tokens,
            )
            assert store.fingerprint == found.fingerprint
            assert store.lengths_N.max(initial=0) <= max_length
            assert store.trained_counts_N.min(initial=1) > 0

    def test_each_reason_is_named_and_told(self, tiny_base: Path, tmp_path: Path) -> None:
        rows = [
            *pairs(3),
            {"prompt": " \n", "completion": "c"},
            {"prompt": "p", "completion": ""},
            {"prompt": "p", "completion": "\t"},
            {"prompt": "p" * 100, "completion": "all of the answer is cut off"},
            {"prompt": "p", "completion": "half of the answer is cut off. " * 9},
        ]
        write_rows(tmp_path / "data" / "a.jsonl", rows)
        recorder = Recorder()
        recipe = make_recipe(tiny_base, tmp_path, max_length=60, overlong="truncate", validation_fraction=0)
        counts = prepare(recipe, make_run(tmp_path), listener=recorder).train
        assert counts.dropped == {"empty prompt": 1, "empty completion": 2, "no trained token": 1}
        assert (counts.rows_in, counts.rows_kept, counts.rows_truncated) == (8, 4, 1)
        assert counts.longest_row_tokens > 60
        assert "data: train: 2 of 8 rows left out: empty completion" in recorder.warnings
        assert any("1 row cut to data.max_length" in line for line in recorder.warnings)

    def test_what_truncation_takes_is_counted(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(6))
        whole = prepare(make_recipe(tiny_base, tmp_path, validation_fraction=0), make_run(tmp_path)).train
        cut = prepare(
            make_recipe(
                tiny_base,
                tmp_path,
                validation_fraction=0,
                max_length=whole.longest_row_tokens - 3,
                overlong="truncate",
            ),
            make_run(tmp_path, "cut"),
        ).train
        assert cut.trained_tokens + cut.trained_tokens_lost == whole.trained_tokens
        assert cut.trained_tokens_lost > 0

    def test_conversations_that_teach_nothing_are_counted(self, tiny_base: Path, tmp_path: Path) -> None:
        def chat(*turns: str) -> dict[str, object]:
            roles = ("user", "assistant")
            return {"messages": [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]}

        rows = [chat("a", "b"), chat(), chat("a"), chat("a", "  "), chat("<|im_end|>", "b"), chat("", "b")]
        write_rows(tmp_path / "data" / "a.jsonl", rows)
        counts = prepare(make_recipe(tiny_base, tmp_path, validation_fraction=0), make_run(tmp_path)).train
        assert counts.dropped == {
            "a control token spelt in a conversation": 1,
            "no answer": 2,
            "no messages": 1,
        }
        assert counts.rows_kept == 2

    def test_the_report_refuses_counts_it_does_not_know(self) -> None:
        with pytest.raises(ValidationError):
            SplitCounts.model_validate({"rows_in": 1})


class TestRefusals:
    def refuse(self, recipe: Recipe, folder: Path) -> LuthierError:
        """The fault; and nothing half-written stays behind."""
        with pytest.raises(LuthierError) as caught:
            prepare(recipe, make_run(folder))
        assert_nothing_is_left(folder)
        return caught.value

    def test_bad_lines_are_listed_and_nothing_is_kept(self, tiny_base: Path, tmp_path: Path) -> None:
        rows = [*pairs(4200), "{broken", {"prompt": "p"}]
        file = write_rows(tmp_path / "data" / "a.jsonl", rows)
        fault = self.refuse(make_recipe(tiny_base, tmp_path), tmp_path)
        assert (fault.code, fault.exit_code) == ("data-json", 3)
        assert [problem.split(": ")[0] for problem in fault.problems] == [f"{file}:4201", f"{file}:4202"]

    def test_no_rows(self, tiny_base: Path, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.jsonl").touch()
        assert self.refuse(make_recipe(tiny_base, tmp_path), tmp_path).code == "data-empty"

    def test_no_files(self, tiny_base: Path, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        assert self.refuse(make_recipe(tiny_base, tmp_path), tmp_path).code == "data-missing"

    def test_no_row_with_a_trained_token(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", [{"prompt": "p" * 50, "completion": "c"}] * 3)
        fault = self.refuse(
            make_recipe(tiny_base, tmp_path, max_length=8, overlong="truncate", validation_fraction=0),
            tmp_path,
        )
        assert (fault.code, fault.exit_code) == ("data-untrained", 3)
        assert fault.problems == ("3 rows: no trained token",)

    def test_rows_too_long_where_the_recipe_refuses_them(self, tiny_base: Path, tmp_path: Path) -> None:
        rows = [*pairs(2), {"prompt": "p", "completion": "c" * 500}, {"prompt": "p", "completion": "d" * 600}]
        file = write_rows(tmp_path / "data" / "a.jsonl", rows)
        recipe = make_recipe(tiny_base, tmp_path, max_length=100, overlong="error", validation_fraction=0)
        fault = self.refuse(recipe, tmp_path)
        assert fault.code == "data-long"
        assert fault.problems[0].startswith(f"{file}:3: 50")
        assert fault.problems[1].startswith(f"{file}:4: 60")
        assert "data.overlong=truncate" in fault.fix

    def test_splitting_rows_that_are_no_text(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(2))
        with pytest.raises(RecipeError, match="only rows of text or tokens") as caught:
            prepare(make_recipe(tiny_base, tmp_path, overlong="split"), make_run(tmp_path))
        assert caught.value.code == "cfg-conflict"

    def test_conversations_without_a_template(self, tmp_path: Path) -> None:
        from tests.tiny import make_tiny_model

        base = make_tiny_model(tmp_path / "base", chat_template=None)
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
        write_rows(tmp_path / "data" / "a.jsonl", [{"messages": turns}])
        fault = self.refuse(make_recipe(base, tmp_path), tmp_path)
        assert (fault.code, fault.exit_code) == ("data-template", 3)

    def test_a_tokenizer_larger_than_the_model(self, tmp_path: Path) -> None:
        from tests.tiny import make_tiny_model, make_tiny_tokenizer

        base = make_tiny_model(tmp_path / "base", vocabulary_size=280)
        make_tiny_tokenizer(300).save_pretrained(base)
        write_rows(tmp_path / "data" / "a.jsonl", pairs(2))
        fault = self.refuse(make_recipe(base, tmp_path, validation_fraction=0), tmp_path)
        assert isinstance(fault, ModelError)
        assert "gives the id 297, and the model has embeddings for 280 ids" in fault.what

    def test_a_base_without_tokenizer(self, tmp_path: Path) -> None:
        from tests.tiny import make_tiny_model

        base = make_tiny_model(tmp_path / "base")
        (base / "tokenizer.json").unlink()
        write_rows(tmp_path / "data" / "a.jsonl", pairs(2))
        assert self.refuse(make_recipe(base, tmp_path), tmp_path).code == "mdl-tokenizer"

    @pytest.mark.parametrize(
        ("number", "kind", "exit_code"),
        [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, SavedAndStopped, 75)],
    )
    def test_a_stop_is_served_and_nothing_is_kept(
        self, tiny_base: Path, tmp_path: Path, number: int, kind: type[LuthierError], exit_code: int
    ) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(50))
        flag = StopFlag()
        flag.set(number)
        with pytest.raises(kind) as caught:
            prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path), stop=flag)
        assert caught.value.exit_code == exit_code
        assert_nothing_is_left(tmp_path)
