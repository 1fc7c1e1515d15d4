"""GGUF files of a publication: only those that the export's report proves, byte for byte the ones that were proven.

The export deletes a file that does not answer as the merged model does; here is caught what was put there, edited or left over since.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.floor.units import format_bytes
from luthier.publish.facts import Facts
from luthier.publish.files import Upload
from luthier.publish.markdown import code, table
from luthier.reports.gguf import GgufFile, GgufReport
from luthier.reports.publish import Objection

PARITY_WORD = "gate-parity"
ENDING = ".gguf"


def name_of(file: GgufFile) -> str:
    """A file's name in its folder; the report has the whole path, which a run that was moved has no longer."""
    return Path(file.path).name


def gguf_objections(facts: Facts, uploads: Sequence[Upload]) -> Iterator[Objection]:
    """What stands against the GGUF files: no proof, a failed one, or one of other bytes than those that would go up."""
    report = facts.gguf
    if report is None:
        return
    again = f"luthier export gguf --again --run {facts.run.path}"
    source = facts.run.report("train" if facts.is_whole else "merge")
    if facts.run.report("export/gguf").stat().st_mtime_ns < source.stat().st_mtime_ns:
        yield _objection("the GGUF files are older than the model that they were made from", again)
    sent = {upload.path: upload for upload in uploads}
    for file in report.files:
        if (why := _fault(file, sent.get(name_of(file)))) is not None:
            yield _objection(f"{name_of(file)} {why}", again)
    proven = {name_of(file) for file in report.files}
    for path in sorted(facts.folder.glob(f"*{ENDING}")):
        if path.name not in proven:
            yield _objection(
                f"{path.name} lies among the GGUF files without a proof in their report",
                f"Take it out of {facts.folder}, or make it anew: luthier export gguf --quant TYPE --run {facts.run.path}",
            )


def _fault(file: GgufFile, upload: Upload | None) -> str | None:
    """Why a file must not go up; None if its proof holds for these very bytes."""
    if upload is None:
        return "is in the report of the export, and not there"
    if upload.sha256 != file.sha256:
        return "is not the file that was proven: its SHA-256 is another one"
    if not file.mean_kl <= file.allowed_kl or file.tokens_checked <= 0 or file.texts_checked <= 0:
        return (
            f"is not proven to answer as the merged model does ({file.tokens_checked:,} tokens, "
            f"mean KL {file.mean_kl:.3g} nats a token, allowed is {file.allowed_kl:g})"
        )
    return None


def _objection(what: str, fix: str) -> Objection:
    return Objection(word=PARITY_WORD, what=what, fix=fix)


def gguf_section(report: GgufReport) -> list[str]:
    """The lines of the card's section on the files and their proof, without its heading."""
    rows: list[tuple[str, ...]] = [
        ("file", "type", "size", "mean KL", "same first token", "perplexity, model", "perplexity, file", "same answers")
    ]  # fmt: skip
    rows += [
        (
            code(name_of(file)),
            file.type,
            format_bytes(file.file_bytes),
            f"{file.mean_kl:.2e}",
            f"{file.top1_agreement:.2%}",
            f"{file.perplexity_before:.4g}",
            f"{file.perplexity_after:.4g}",
            "not measured" if file.same_answer_share is None else f"{file.same_answer_share:.1%}",
        )
        for file in report.files
    ]
    tokens = max((file.tokens_checked for file in report.files), default=0)
    lines = [
        f"Each file was loaded by llama.cpp {report.llama_cpp} and compared with the model in its original form on "
        f"{report.rows_checked:,} held-out rows, {tokens:,} tokens. Mean KL is in nats a token; a file beyond its bound was not kept.",
        "",
        *table(rows, right=tuple(range(2, 8))),
    ]
    if report.is_normalizing:
        lines += ["", "Send texts in Unicode form NFC: the model's tokenizer brings them into it, and llama.cpp does not."]  # fmt: skip
    return lines
