"""What is dropped, what stays, and what is said about it."""

import json
import signal
from pathlib import Path

import pytest

from luthier.config.data import ColumnsConfig
from luthier.data.dedup import sketch
from luthier.data.dedup.scan import Rereader
from luthier.floor.errors import DataError, EnvironmentFault, Interrupted, UsageError
from luthier.floor.stop import StopFlag
from luthier.text.columns import named_columns
from tests.data.dedup.planting import (
    changed,
    conflicts,
    dropped_rows,
    kept_lines,
    run,
    sentence,
    write_rows,
)
from tests.data.files_of_rows import write_as

A, B = sentence(1), sentence(2)
LONG = sentence(7, words=12)


def test_kept_rows_are_copied_byte_for_byte_in_order(tmp_path: Path) -> None:
    first = b'{ "text":  "caf\\u00e9 one",\t"id": 7 }'
    second = '{"text": "日本語 \U0001f3bb two"}\r'.encode()
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b"\xef\xbb\xbf" + first + b"\n\n" + second + b"\n" + first + b"\n" + b'{"text": "last"}'
    )
    report = run(tmp_path, source)
    assert kept_lines(tmp_path) == [first + b"\n", second + b"\n", b'{"text": "last"}\n']
    assert (report.rows_in, report.rows_kept, report.dropped) == (4, 3, {"exact": 1})
    assert dropped_rows(tmp_path) == [
        {"row": f"{source}:4", "repeats": f"{source}:1", "kind": "exact", "jaccard": 1.0}
    ]


def test_a_near_row_is_dropped_with_its_jaccard_and_a_row_below_stays(tmp_path: Path) -> None:
    far = changed(changed(changed(A, 1), 2), 3)
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in (A, B, changed(A, 5), far)])
    report = run(tmp_path, source)
    assert report.dropped == {"near": 1}
    [row] = dropped_rows(tmp_path)
    assert (row["row"], row["repeats"]) == (f"{source}:3", f"{source}:1")
    assert row["jaccard"] == pytest.approx(35 / 41, abs=1e-6)
    assert report.engine == "rensa"


def test_a_row_that_is_near_dropped_rows_only_stays(tmp_path: Path) -> None:
    one = changed(A, 1)
    two = changed(one, 2)
    chain = [A, one, two, changed(two, 3)]
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in chain])
    run(tmp_path, source)
    second, fourth = dropped_rows(tmp_path)
    assert (second["row"], second["repeats"]) == (f"{source}:2", f"{source}:1")
    assert (fourth["row"], fourth["repeats"]) == (f"{source}:4", f"{source}:3")
    assert all(row["jaccard"] >= 0.8 and "via" not in row for row in (second, fourth))


def test_an_exact_repeat_of_a_dropped_row_leads_to_the_row_that_stays(tmp_path: Path) -> None:
    near = changed(A, 1)
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in (A, near, near)])
    report = run(tmp_path, source)
    assert report.dropped == {"exact": 1, "near": 1}
    twin = dropped_rows(tmp_path)[1]
    assert (twin["kind"], twin["repeats"]) == ("exact", f"{source}:1")
    assert (twin["via"], twin["via_jaccard"]) == (f"{source}:2", 1.0)


def test_exact_only_leaves_near_rows_and_needs_no_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_engine() -> None:
        raise EnvironmentFault("env-extra", "not installed")

    monkeypatch.setattr("luthier.data.dedup.stage.find_engine", find_engine)
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in (A, changed(A, 1), A)])
    report = run(tmp_path, source, exact_only=True)
    assert report.dropped == {"exact": 1}
    assert (report.threshold, report.engine, report.pairs_compared) == (None, None, 0)


def test_conflicting_answers_are_listed_and_stay(tmp_path: Path) -> None:
    rows = [
        {"prompt": A, "completion": "yes"},
        {"prompt": A.upper() + "!", "completion": "no"},
        {"prompt": A, "completion": "yes"},
        {"prompt": B, "completion": LONG + " one"},
        {"prompt": B, "completion": LONG + " two"},
    ]
    source = write_rows(tmp_path / "in.jsonl", rows)
    report = run(tmp_path, source)
    assert report.dropped == {"exact": 1}
    assert (report.prompts_as_written.conflicting, report.prompts_folded.conflicting) == (1, 2)
    assert (report.prompts_as_written.repeated, report.prompts_folded.repeated) == (2, 3)
    listed = {
        tuple(row["answer"] for row in each["rows"]): each["same_as_written"] for each in conflicts(tmp_path)
    }
    assert listed == {("yes", "no"): False, (LONG + " one", LONG + " two"): True}
    assert report.conflicts_kept == 2


def test_rows_with_different_short_answers_are_never_near(tmp_path: Path) -> None:
    rows = [{"prompt": A, "completion": "yes"}, {"prompt": changed(A, 1), "completion": "no"}]
    rows += [{"prompt": B, "completion": "no"}, {"prompt": changed(B, 1), "completion": "no"}]
    report = run(tmp_path, write_rows(tmp_path / "in.jsonl", rows))
    assert report.dropped == {"near": 1}
    assert dropped_rows(tmp_path)[0]["row"].endswith(":4")


def test_rows_of_the_other_set_are_left_out_and_it_is_not_touched(tmp_path: Path) -> None:
    test = write_rows(tmp_path / "test.jsonl", [{"text": B}, {"text": B}, {"text": changed(A, 1)}])
    before = test.read_bytes()
    rows = [{"text": text} for text in (A, B, A, sentence(3), sentence(3))]
    train = write_rows(tmp_path / "train.jsonl", rows)
    report = run(tmp_path, train, against=(test,), pairs_shown=9)
    assert report.dropped == {"exact": 1, "against-exact": 1, "against-near": 2}
    assert (report.rows_in, report.rows_against, report.rows_kept) == (5, 3, 1)
    near, exact, twin, _ = dropped_rows(tmp_path)
    assert (near["repeats"], near["kind"]) == (f"{test}:3", "against-near")
    assert (exact["repeats"], exact["kind"]) == (f"{test}:1", "against-exact")
    assert (twin["via"], twin["repeats"]) == (f"{train}:1", f"{test}:3")
    assert test.read_bytes() == before
    assert {pair.kind for pair in report.pairs} == {"against-exact", "against-near"}
    assert {pair.repeated_text for pair in report.pairs} == {B, changed(A, 1)}


def test_a_leaked_question_goes_whatever_its_answer(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [{"prompt": A, "completion": "yes"}])
    test = write_rows(tmp_path / "test.jsonl", [{"prompt": changed(A, 1), "completion": "no"}])
    assert run(tmp_path, train, against=(test,)).dropped == {"against-near": 1}
    assert kept_lines(tmp_path) == []


def test_several_sources_become_one_file_and_repeat_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    one = write_rows(folder / "a.jsonl", [{"text": A}, {"text": B}])
    write_rows(folder / "b.jsonl", [{"messages": [{"role": "user", "content": A}]}, {"text": B}][1:])
    report = run(tmp_path, folder)
    assert kept_lines(tmp_path) == one.read_bytes().splitlines(keepends=True)
    assert dropped_rows(tmp_path)[0]["repeats"] == f"{one}:2"
    assert report.rows_in == 3


def test_a_dry_run_writes_nothing_and_shows_clusters_and_pairs(tmp_path: Path) -> None:
    texts = [A, changed(A, 1), changed(A, 2), B, B]
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    report = run(tmp_path, source, out=None, pairs_shown=2)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert [(cluster.row, cluster.rows_dropped) for cluster in report.largest_clusters] == [
        (f"{source}:1", 2),
        (f"{source}:4", 1),
    ]
    assert [pair.kind for pair in report.pairs] == ["near", "near"]
    assert report.pairs[0].text in texts
    assert report.out is None


def test_a_file_that_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}, {"text": A}])
    run(tmp_path, source)
    written = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"out\.jsonl is there already"):
        run(tmp_path, source)
    write_rows(source, [{"text": B}])
    assert (tmp_path / "out.jsonl").read_bytes() == written
    run(tmp_path, source, overwrite=True)
    assert kept_lines(tmp_path) == source.read_bytes().splitlines(keepends=True)


def test_a_folder_is_no_file_to_write_and_is_refused_before_the_work(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}])
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"out\.jsonl is a folder"):
        run(tmp_path, source, overwrite=True)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("in.csv", (":2", ":5")),
        ("in.json", ("#row 1", "#row 4")),
        ("in.jsonl.gz", (":1", ":4")),
        ("in.parquet", ("#row 1", "#row 4")),
    ],
)
def test_rows_of_any_format_are_compared_and_written_as_lines_with_their_fields(
    tmp_path: Path, name: str, places: tuple[str, str]
) -> None:
    texts = (A, B, changed(A, 5), A.upper() + ".")
    source = write_as(tmp_path / name, [{"text": text, "id": str(n)} for n, text in enumerate((*texts, A))])
    report = run(tmp_path, source, threshold=0.95, pairs_shown=5)
    assert report.dropped == {"exact": 1, "near": 1}
    kept = [json.loads(line) for line in kept_lines(tmp_path)]
    assert kept == [{"text": text, "id": str(n)} for n, text in enumerate(texts[:3])]
    near = next(row for row in dropped_rows(tmp_path) if row["kind"] == "near")
    assert (near["repeats"], near["row"]) == (f"{source}{places[0]}", f"{source}{places[1]}")
    assert not list(tmp_path.glob(".tmp-*"))


def test_named_columns_are_compared_and_a_test_set_may_have_its_own(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text(f"1\t{A}\tyes\n2\t{B}\tno\n3\t{A}\tyes\n")
    test = write_rows(tmp_path / "test.jsonl", [{"prompt": B, "completion": "no"}])
    columns = named_columns(ColumnsConfig(prompt="column_2", completion="column_3"))
    report = run(tmp_path, tmp_path / "in.tsv", against=(test,), columns=columns)
    assert report.dropped == {"exact": 1, "against-exact": 1}
    assert [json.loads(line)["column_1"] for line in kept_lines(tmp_path)] == ["1"]


def test_a_broken_row_of_a_table_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,id\na,1\nb\n")
    with pytest.raises(DataError) as fault:
        run(tmp_path, tmp_path / "in.csv")
    assert fault.value.where == f"{tmp_path}/in.csv:3"
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_lines_of_json_are_read_whatever_their_file_is_called(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.json", [{"text": A}, {"text": A}])
    assert run(tmp_path, source).rows_kept == 1


def test_a_source_is_never_written_over(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "out.jsonl", [{"text": A}, {"text": A}])
    with pytest.raises(UsageError, match="would be written over"):
        run(tmp_path, source, overwrite=True)
    assert len(source.read_bytes().splitlines()) == 2


def test_the_report_beside_the_rows_is_the_report(tmp_path: Path) -> None:
    report = run(tmp_path, write_rows(tmp_path / "in.jsonl", [{"text": A}]))
    written = json.loads((tmp_path / "out.report.json").read_text())
    assert written == report.model_dump(mode="json")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"in.jsonl", "out.jsonl", "out.dropped.jsonl", "out.conflicts.jsonl", "out.report.json"}


def test_every_faulty_line_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}, b"{oops", {"txt": A}, {"text": A}])
    with pytest.raises(DataError) as fault:
        run(tmp_path, source)
    assert [problem.split(": ")[0] for problem in fault.value.problems] == [f"{source}:2", f"{source}:3"]
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [b"", b"  "])
    other = write_rows(tmp_path / "other.jsonl", [{"text": A}])
    with pytest.raises(DataError) as fault:
        run(tmp_path, source, against=(other,))
    assert fault.value.code == "data-empty"


def test_a_file_that_changes_meanwhile_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}, {"text": B}])
    check = Rereader.check_unchanged

    def change_then_check(self: Rereader) -> None:
        write_rows(source, [{"text": A}, {"text": B}, {"text": LONG}])
        check(self)

    monkeypatch.setattr(Rereader, "check_unchanged", change_then_check)
    with pytest.raises(DataError) as fault:
        run(tmp_path, source)
    assert fault.value.code == "data-changed"
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_that_is_not_there_is_refused_without_speaking_of_settings(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "train.jsonl", [{"text": A}])
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "trian.jsonl", tmp_path / "empty"):
        with pytest.raises(DataError) as fault:
            run(tmp_path, source, against=(missing,))
        assert (fault.value.code, fault.value.where) == ("data-missing", str(missing))
        assert "data." not in fault.value.fix
        assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("batch_rows", [1, 4096])
def test_an_interrupted_search_leaves_nothing_behind(tmp_path: Path, batch_rows: int) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}, {"text": changed(A, 1)}])
    stop = StopFlag()
    stop.set(signal.SIGINT)
    with pytest.raises(Interrupted, match="nothing was written"):
        run(tmp_path, source, stop=stop, batch_rows=batch_rows)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}])
    with pytest.raises(UsageError, match="named twice"):
        run(tmp_path, source, against=(tmp_path / "." / "in.jsonl",))


@pytest.mark.parametrize("threshold", [0.29, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(tmp_path: Path, threshold: float) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": A}])
    with pytest.raises(UsageError, match="threshold"):
        run(tmp_path, source, threshold=threshold)


def test_both_engines_find_the_planted_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [sentence(seed) for seed in range(30)]
    rows = [{"text": text} for text in [*texts, *(changed(text, 99) for text in texts)]]
    source = write_rows(tmp_path / "in.jsonl", rows)
    assert run(tmp_path, source).dropped == {"near": 30}
    real = sketch.find_engine

    def datasketch_only() -> sketch.Engine:
        import datasketch

        assert real().name == "rensa"
        return sketch.DatasketchEngine(datasketch)

    monkeypatch.setattr("luthier.data.dedup.stage.find_engine", datasketch_only)
    report = run(tmp_path, source, overwrite=True)
    assert (report.engine, report.dropped) == ("datasketch", {"near": 30})
