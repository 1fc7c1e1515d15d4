"""GGUF files: those that are proven go up with their figures; without a proof, or as other bytes, none does."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.rundir import RunDir
from luthier.publish.stage import publish
from luthier.reports.gguf import GgufFile, GgufReport
from luthier.reports.ollama import OllamaReport
from luthier.reports.provenance import gather_provenance
from tests.publish.card_rules import faults_of_card, read_metadata
from tests.publish.hub import Site, digest
from tests.publish.published_run import REPO, add_merge, copied, prepared

pytestmark = pytest.mark.slow
Run = tuple[Recipe, RunDir]
TYPES = ("Q8_0", "Q5_K_M")
PROVEN: dict[str, Any] = {
    "made_by": "gguf", "texts_checked": 12, "tokens_checked": 345, "mean_kl": 0.00042, "allowed_kl": 0.01, "max_kl": 0.02,
    "top1_agreement": 0.995, "max_logit_difference": 0.3, "perplexity_before": 4.321, "perplexity_after": 4.325,
    "answers_checked": 4, "same_answer_share": 0.875, "stop_ids": (0,),
}  # fmt: skip


def name_of(type: str) -> str:
    return f"base-run-{type}.gguf"


@pytest.fixture
def own(run: Run, tiny_base: Path, tmp_path: Path) -> Run:
    """A merged run with two small files and the report of their proof."""
    recipe, own = copied(run, tmp_path)
    add_merge(own, tiny_base)
    write_gguf(own)
    return recipe, own


def write_gguf(run: RunDir, **figures: Any) -> None:
    folder = run.stage("export/gguf")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for type in TYPES:
        content = b"GGUF\x03\0\0\0" + type.encode() * 100
        (folder / name_of(type)).write_bytes(content)
        # Elsewhere, as in a run that was moved since.
        path = f"/elsewhere/{name_of(type)}"
        facts = {"type": type, "path": path, "file_bytes": len(content), "sha256": digest(content)}
        files.append(GgufFile(**(facts | PROVEN | figures)))
    GgufReport(
        inputs_hash="0", seconds=1.0, provenance=gather_provenance(), folder=str(folder), source=str(run.stage("merge") / "model"),
        tokenizer="qwen2", is_normalizing=True, rows_checked=4, llama_cpp="0.5.0", files=tuple(files),
    ).write(folder / "report.json")  # fmt: skip


def test_proven_files_go_up_with_their_figures(own: Run, site: Site) -> None:
    ready = prepared(*own, what="gguf")
    assert not ready.objections
    report = publish(ready)
    files = site.repos[REPO].files
    assert {name_of(type) for type in TYPES} <= set(files)
    assert report.what == "gguf"
    assert not [name for name in files if name.endswith((".safetensors", "report.json"))]
    card = files["README.md"].decode()
    assert faults_of_card(card) == []
    for type in TYPES:
        size = len(files[name_of(type)])
        assert (
            f"| `{name_of(type)}` | {type} | {size} B | 4.20e-04 | 99.50% | 4.321 | 4.325 | 87.5% |" in card
        )
    assert "345 tokens" in card
    assert "NFC" in card
    assert "/elsewhere" not in card


def test_the_card_says_how_to_ask_it_with_llama_cpp_and_ollama(own: Run) -> None:
    card = prepared(*own, what="gguf").card.read_text()
    assert f"llama-server -hf {REPO}:Q8_0" in card
    assert f"ollama pull hf.co/{REPO}:Q8_0" in card
    assert "Other types, behind the colon: Q5_K_M." in card
    (line,) = [line for line in card.splitlines() if '"raw": true' in line]
    asked = json.loads(line.strip().removeprefix("-d '").removesuffix("'"))
    assert asked["prompt"] == "Your question\n", "as it was trained: without a template"
    found = read_metadata(card)
    assert (found["library_name"], found["base_model_relation"]) == ("gguf", "finetune")
    assert "gguf" in found["tags"]


def write_ollama(run: RunDir, *, of: str) -> None:
    """The proof of a template for Ollama, as an export leaves it."""
    OllamaReport(
        inputs_hash="0", seconds=1.0, provenance=gather_provenance(), modelfile="Modelfile", modelfile_sha256="0", name="tuned",
        gguf="/elsewhere/file.gguf", gguf_sha256=of, type="Q8_0", style="single prompts", template="{{ .Prompt }}\n",
        stops=("<|im_end|>",), parameters={"temperature": 0.0, "num_ctx": 2048.0}, system="Be brief.", licence="",
        conversations_checked=6, rows_checked=4, prompts_checked=4, ids_checked=10, prompts_left_out={}, prompts_with_blanks=0,
        without_tools="none", other_tools="", writes_day=False, has_later_system=True,
    ).write(run.report("export/ollama"))  # fmt: skip


def test_what_ollama_needs_goes_along_once_it_was_proven(own: Run, site: Site) -> None:
    content = (own[1].stage("export/gguf") / name_of("Q8_0")).read_bytes()
    write_ollama(own[1], of=digest(content))
    ready = prepared(*own, what="gguf")
    assert f'ollama run hf.co/{REPO}:Q8_0 "' in ready.card.read_text()
    publish(ready)
    files = site.repos[REPO].files
    assert (files["template"], files["system"]) == (b"{{ .Prompt }}\n", b"Be brief.")
    assert json.loads(files["params"]) == {"stop": ["<|im_end|>"], "temperature": 0, "num_ctx": 2048}
    assert "Modelfile" not in files


def test_a_template_that_was_proven_of_another_file_stays(own: Run) -> None:
    write_ollama(own[1], of="0" * 64)
    ready = prepared(*own, what="gguf")
    assert not {"template", "params", "system"} & {upload.path for upload in ready.uploads}
    assert '"raw": true' in ready.card.read_text()


def against(own: Run) -> list[str]:
    found = prepared(*own, what="gguf").objections
    assert {each.word for each in found} <= {"gate-parity"}
    assert all("luthier export gguf" in each.fix or "luthier merge" in each.fix for each in found)
    return [each.what for each in found]


def test_files_without_a_report_are_refused(own: Run) -> None:
    own[1].report("export/gguf").unlink()
    with pytest.raises(LuthierError, match="no GGUF files that were proven") as caught:
        prepared(*own, what="gguf")
    assert "luthier export gguf" in caught.value.fix


def test_a_file_that_was_put_there_is_refused(own: Run) -> None:
    (own[1].stage("export/gguf") / "other-Q4_0.gguf").write_bytes(b"GGUF")
    (what,) = against(own)
    assert "other-Q4_0.gguf" in what
    assert "without a proof" in what


def test_a_file_of_other_bytes_than_the_proven_ones_is_refused(own: Run) -> None:
    path = own[1].stage("export/gguf") / name_of("Q8_0")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    (what,) = against(own)
    assert "is not the file that was proven" in what
    path.unlink()
    (what,) = against(own)
    assert "not there" in what


@pytest.mark.parametrize("figures", [{"mean_kl": 0.5}, {"tokens_checked": 0}, {"texts_checked": 0}])
def test_a_proof_that_fails_is_refused(own: Run, figures: dict[str, float]) -> None:
    write_gguf(own[1], **figures)
    assert len(against(own)) == len(TYPES)


def test_files_older_than_the_merge_are_refused(own: Run) -> None:
    later = own[1].report("export/gguf").stat().st_mtime + 10
    os.utime(own[1].report("merge"), (later, later))
    (what,) = against(own)
    assert "older than the model" in what
