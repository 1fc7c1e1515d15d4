"""Tables without a header: their columns by position."""

from pathlib import Path

import pytest

from luthier.text.problems import Problems
from luthier.text.readers.formats import read_records


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_without_a_header_the_first_line_is_a_row(tmp_path: Path, name: str) -> None:
    between = "," if name.endswith("csv") else "\t"
    (tmp_path / name).write_text(f"a{between}b\n\nc{between}d\n")
    found = list(read_records(tmp_path / name, Problems(), by_position=True))
    assert found == [
        (f"{tmp_path / name}:1", {"column_1": "a", "column_2": "b"}),
        (f"{tmp_path / name}:3", {"column_1": "c", "column_2": "d"}),
    ]


def test_a_header_that_has_such_a_name_is_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,column_2\n1,b\n")
    assert [fields for _, fields in read_records(tmp_path / "t.csv", Problems(), by_position=True)] == [
        {"id": "1", "column_2": "b"}
    ]


def test_a_line_of_another_width_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\nc\n")
    problems = Problems()
    assert len(list(read_records(tmp_path / "t.csv", problems, by_position=True))) == 1
    assert problems.count == 1


def test_an_open_quotation_mark_in_the_first_line_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"a,b\nc,d\n')
    problems = Problems()
    assert not list(read_records(tmp_path / "t.csv", problems, by_position=True))
    assert problems.count == 1
