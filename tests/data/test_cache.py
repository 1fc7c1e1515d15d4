"""The data stage finds its own work again, whole or not at all."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.data.stage import prepare
from luthier.floor.errors import (
    LuthierError,
)
from luthier.floor.log import Recorder
from luthier.reports.data import DataReport
from tests.data.preparing import (
    assert_nothing_is_left,
    make_recipe,
    make_run,
    pairs,
    store_of,
    write_rows,
)


class TestCache:
    def counted(self, report: DataReport) -> dict[str, object]:
        return report.model_dump(exclude={"seconds", "was_cached", "provenance"})

    def test_the_same_rows_are_prepared_once(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        recipe = make_recipe(tiny_base, tmp_path)
        first = prepare(recipe, make_run(tmp_path, "first"))
        second = prepare(recipe, make_run(tmp_path, "second"))
        assert (first.was_cached, second.was_cached) == (False, True)
        assert self.counted(first) == self.counted(second)

    def test_a_run_that_has_its_report_is_left_alone(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        run = make_run(tmp_path)
        recipe = make_recipe(tiny_base, tmp_path)
        first = prepare(recipe, run)
        written = run.report("data").stat().st_mtime_ns
        assert prepare(recipe, run) == first
        assert run.report("data").stat().st_mtime_ns == written
        again = prepare(recipe, run, again=True)
        assert not again.was_cached
        assert self.counted(again) == self.counted(first)

    @pytest.mark.parametrize(
        "change",
        [
            {"max_length": 100},
            {"overlong": "drop"},
            {"validation_fraction": 0.3},
            {"template": "chat"},
            {"train_on": "last"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_setting_that_changes_tokens_gets_a_place_of_its_own(
        self, tiny_base: Path, tmp_path: Path, change: dict[str, object]
    ) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        before = prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path, "before"))
        after = prepare(make_recipe(tiny_base, tmp_path, **change), make_run(tmp_path, "after"))
        assert before.store != after.store
        assert not after.was_cached

    def test_changed_rows_or_another_tokenizer_get_a_place_of_their_own(
        self, tiny_base: Path, tiny_llama: Path, tmp_path: Path
    ) -> None:
        from tests.tiny import make_tiny_model

        file = write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        stores = [prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path, "a")).store]
        other = make_tiny_model(tmp_path / "base", eos="<|im_end|>")
        stores.append(prepare(make_recipe(other, tmp_path), make_run(tmp_path, "b")).store)
        with open(file, "a", encoding="utf-8") as rows:
            rows.write('{"prompt": "one", "completion": "more"}\n')
        stores.append(prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path, "c")).store)
        assert len(set(stores)) == 3

    @pytest.mark.parametrize("damage", ["cut", "flip", "remove", "counts", "no_counts"])
    def test_damage_is_noticed_and_mended(self, tiny_base: Path, tmp_path: Path, damage: str) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        recipe = make_recipe(tiny_base, tmp_path)
        first = prepare(recipe, make_run(tmp_path, "first"))
        ids = Path(first.store) / "train" / "ids.bin"
        content = ids.read_bytes()
        if damage == "cut":
            ids.write_bytes(content[:-2])
        elif damage == "flip":
            ids.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "remove":
            ids.unlink()
        elif damage == "counts":
            (Path(first.store) / "prepared.json").write_text("{")
        else:
            (Path(first.store) / "prepared.json").unlink()
        recorder = Recorder()
        second = prepare(recipe, make_run(tmp_path, "second"), listener=recorder)
        assert not second.was_cached
        assert any("preparing anew" in line for line in recorder.warnings)
        assert self.counted(first) == self.counted(second)
        store_of(second).verify()

    def test_what_a_killed_preparation_left_is_swept(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        recipe = make_recipe(tiny_base, tmp_path)
        report = prepare(recipe, make_run(tmp_path, "first"))
        stale = Path(report.store).with_name(f".tmp-{Path(report.store).name}-99999999")
        stale.mkdir()
        (stale / "ids.bin").write_bytes(b"half")
        prepare(recipe, make_run(tmp_path, "second"), again=True)
        assert not stale.exists()

    @pytest.mark.slow
    def test_a_kill_at_any_write_leaves_a_cache_that_is_whole_or_not_there(
        self, tiny_base: Path, tmp_path: Path
    ) -> None:
        """F25 of the fault catalogue, enumerated: the process dies at its first fsync or rename, its second, and so on."""
        write_rows(tmp_path / "data" / "a.jsonl", pairs(10))
        expected = prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path, "expected"))
        context = multiprocessing.get_context("fork")
        for deaths in range(1, 100):
            shutil.rmtree(tmp_path / "cache")
            worker = context.Process(target=prepare_and_die, args=(tiny_base, tmp_path, deaths))
            worker.start()
            worker.join(60)
            if worker.exitcode == 0:
                break
            assert worker.exitcode == -signal.SIGKILL
            mended = prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path, "mended"))
            assert self.counted(mended) == self.counted(expected)
            store_of(mended).verify()
            assert not list((tmp_path / "cache").rglob(".tmp-*"))
        assert deaths > 10

    def test_two_processes_prepare_the_same_rows_once(self, tiny_base: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        context = multiprocessing.get_context("fork")
        workers = [
            context.Process(target=prepare_quietly, args=(tiny_base, tmp_path, name))
            for name in ("one", "two")
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0]
        reports = [
            json.loads((tmp_path / name / "data" / "report.json").read_text()) for name in ("one", "two")
        ]
        assert sorted(report["was_cached"] for report in reports) == [False, True]

    def test_disk_full_is_told_and_nothing_is_kept(
        self, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        write_rows(tmp_path / "data" / "a.jsonl", pairs(40))
        with monkeypatch.context() as patch:
            patch.setattr("luthier.floor.files.os.rename", refuse)
            with pytest.raises(LuthierError) as caught:
                prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path))
        assert (caught.value.code, caught.value.exit_code) == ("env-disk", 5)
        assert_nothing_is_left(tmp_path)


def prepare_quietly(base: Path, folder: Path, name: str) -> None:
    prepare(make_recipe(base, folder), make_run(folder, name))


def prepare_and_die(base: Path, folder: Path, deaths: int) -> None:
    """Prepare, and be killed at the `deaths`-th fsync or rename."""
    calls = 0

    def deadly(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return counted

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, deadly(getattr(os, name)))
    prepare(make_recipe(base, folder), make_run(folder, f"killed-{deaths}"))
