"""Licences: what fits, what does not, what a person answers for, and what Llama's agreements ask."""

from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.errors import GateError
from luthier.floor.rundir import RunDir
from luthier.knowledge.licences import LICENCES, find_licence, licence_of_base, licence_of_text, objection
from luthier.publish.objections import refuse
from luthier.reports.publish import Objection
from tests.publish.card_rules import LICENCES as NAMES_OF_HUB
from tests.publish.published_run import prepared

Run = tuple[Recipe, RunDir]


def against(run: Run, **settings: Any) -> list[Objection]:
    return list(prepared(*run, **settings).objections)


@pytest.mark.parametrize(
    ("base", "data", "published"),
    [
        ("apache-2.0", "cc-by-4.0", "apache-2.0"),
        ("apache-2.0", "cc0-1.0", "mit"),
        ("mit", "cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("mit", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        ("apache-2.0", "cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("gpl-3.0", "odc-by", "gpl-3.0"),
    ],
)
def test_licences_that_fit_pass(run: Run, base: str, data: str, published: str) -> None:
    assert against(run, base_licence=base, data_licences=[data], licence=published) == []


@pytest.mark.parametrize(
    ("base", "data", "published", "why"),
    [
        ("apache-2.0", "cc-by-sa-4.0", "apache-2.0", "keeps its terms"),
        ("apache-2.0", "cc-by-nc-4.0", "apache-2.0", "forbids commercial use"),
        ("apache-2.0", "cc-by-nc-sa-4.0", "cc-by-nc-4.0", "keeps its terms"),
        ("apache-2.0", "cc-by-nd-4.0", "cc-by-nd-4.0", "nothing derived"),
        ("gpl-3.0", "mit", "mit", "keeps its terms"),
        ("apache-2.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "keeps its terms"),
    ],
)
def test_licences_that_do_not_fit_stand_against_it(
    run: Run, base: str, data: str, published: str, why: str
) -> None:
    found = against(run, base_licence=base, data_licences=[data], licence=published)
    assert [each.word for each in found] == ["publish-licence"]
    assert why in found[0].what
    guilty = base if data == "mit" else data
    assert guilty in found[0].what
    assert f"publish.acknowledged=[{guilty}]" in found[0].fix


def test_what_a_person_answers_for_passes_and_the_card_says_so(run: Run) -> None:
    ready = prepared(*run, data_licences=["cc-by-sa-4.0"], acknowledged=["CC BY SA 4.0"])
    assert not ready.objections
    assert "The author answers for publishing in spite of: `cc-by-sa-4.0`." in ready.card.read_text()


def test_an_unknown_licence_is_a_question_until_someone_answers_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the rows' folder, which may tell the licence, is not there
    found = against(run, data_licences=[])
    assert [each.word for each in found] == ["publish-licence"]
    assert "the licence of the data" in found[0].what
    assert "is not known" in found[0].what
    assert "publish.acknowledged=[unknown]" in found[0].fix
    assert against(run, data_licences=[], acknowledged=["unknown"]) == []


def test_a_name_that_nobody_knows_is_no_permission(run: Run) -> None:
    (found,) = against(run, data_licences=["do-as-you-like"])
    assert "do-as-you-like" in found.what
    assert "is not known here" in found.what
    assert against(run, data_licences=["do-as-you-like"], acknowledged=["do-as-you-like"]) == []


def test_no_licence_of_the_publication_is_asked_for_with_one_that_fits(run: Run) -> None:
    (found,) = against(run, licence=None, base_licence="mit", data_licences=["cc-by-sa-4.0"])
    assert (found.word, found.fix) == ("publish-card", "publish.licence=cc-by-sa-4.0")


def test_a_llama_keeps_its_licence_name_display_notice_and_copy(run: Run, tmp_path: Path) -> None:
    llama: dict[str, Any] = {"base_model": "meta-llama/Llama-3.2-1B", "licence": "llama3.2"}
    found = against(run, **llama)
    assert len(found) == 2
    assert "begins with 'Llama'" in found[0].what
    assert found[0].fix == "publish.repo=me/Llama-colours"
    assert "a copy of it goes along" in found[1].what
    text = tmp_path / "LICENSE.txt"
    text.write_text("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n")
    ready = prepared(*run, **llama, repo="me/Llama-colours", licence_file=str(text))
    assert not ready.objections
    assert "**Built with Llama**" in ready.card.read_text()
    files = {upload.path: upload.read().decode() for upload in ready.uploads if upload.path.isupper()}
    assert files["LICENSE"] == text.read_text()
    assert files["NOTICE"].startswith(
        "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright ©"
    )


def test_a_llama_under_another_licence_is_refused(run: Run) -> None:
    found = against(run, base_model="meta-llama/Llama-3.1-8B", repo="me/Llama-colours")
    assert any("llama3.1" in each.what and "keeps its terms" in each.what for each in found)


def test_all_objections_come_in_one_error_of_exit_code_1(run: Run) -> None:
    ready = prepared(*run, repo=None, data_licences=["cc-by-nd-4.0"])
    fault = refuse(ready.facts, ready.objections)
    assert isinstance(fault, GateError)
    assert fault.exit_code == 1
    told = fault.render()
    assert "2 things stand against" in told
    assert "luthier publish --repo OWNER/NAME" in told
    assert "cc-by-nd-4.0" in told


def test_every_name_that_is_said_to_be_the_hubs_is_one() -> None:
    assert {each.name for each in LICENCES.values() if each.on_hub} <= NAMES_OF_HUB


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("   Apache License\n   Version 2.0, January 2004", "apache-2.0"),
        ("Creative Commons Attribution-ShareAlike 4.0 International Public License", "cc-by-sa-4.0"),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "llama3"),
        ("Qwen RESEARCH LICENSE AGREEMENT", "qwen-research"),
        ("All rights reserved.", None),
        ("MIT License or Apache License, Version 2.0", None),
    ],
)
def test_a_licence_is_known_by_its_first_lines(text: str, name: str | None) -> None:
    found = licence_of_text(text)
    assert (found.name if found else None) == name


def test_well_known_bases_and_other_spellings() -> None:
    for base, name in {
        "Qwen/Qwen2.5-0.5B-Instruct": "apache-2.0",
        "Qwen/Qwen2.5-3B": "qwen-research",
        "meta-llama/Meta-Llama-3-8B": "llama3",
        "nobody/knows": None,
    }.items():
        found = licence_of_base(base)
        assert (found.name if found else None) == name
    assert find_licence("Apache License 2.0").name == "apache-2.0"
    assert find_licence("CC BY-SA 4.0").name == "cc-by-sa-4.0"


def test_no_licence_says_anything_against_itself_but_where_nothing_derived_may_go_out() -> None:
    for each in LICENCES.values():
        assert (objection(each, each) is None) is not each.forbids_change
