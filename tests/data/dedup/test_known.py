"""Public rows whose repeats and conflicts were counted by other means; bench/dedup/known.py does the whole data sets."""

from pathlib import Path

from luthier.data.dedup.stage import DedupTask, dedup
from tests.data.dedup.planting import conflicts, kept_lines, run

SAMPLES = Path(__file__).parent / "samples"


def test_the_conflicting_descriptions_of_nl2bash_are_found_and_all_stay(tmp_path: Path) -> None:
    report = run(tmp_path, SAMPLES / "nl2bash.jsonl")
    assert report.rows_in == 60
    assert (report.prompts_as_written.conflicting, report.prompts_as_written.repeated) == (4, 5)
    kept = b"".join(kept_lines(tmp_path)).decode()
    lines = (SAMPLES / "nl2bash.jsonl").read_text().splitlines(keepends=True)
    listed = [int(row["row"].rpartition(":")[2]) for each in conflicts(tmp_path) for row in each["rows"]]
    assert all(lines[number - 1] in kept for number in listed)


def test_the_folded_repeats_of_banking77_are_counted() -> None:
    report = dedup(DedupTask(sources=(SAMPLES / "banking77.jsonl",)))
    assert (report.prompts_folded.repeated, report.prompts_as_written.repeated) == (10, 2)
    assert report.prompts_folded.conflicting == 1


def test_a_lower_threshold_never_keeps_more_of_them() -> None:
    kept = [
        dedup(DedupTask(sources=(SAMPLES / "banking77.jsonl",), threshold=threshold)).rows_kept
        for threshold in (1.0, 0.8, 0.6, 0.4)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1]
