"""Write a Modelfile beside a run's GGUF file, with the run's template, ends and sampling; it is kept only if it asks as the run does."""

import hashlib
import json
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from luthier.config.recipe import Recipe
from luthier.export.check_rows import check_template
from luthier.export.gguf.plan import STAGE as GGUF
from luthier.export.gguf.plan import Plan, plan_export
from luthier.export.ollama.dialect import Dialect, Form, dialect_of, refusal
from luthier.export.ollama.modelfile import Modelfile
from luthier.export.ollama.proof import Proof, prove_ids, prove_texts
from luthier.export.ollama.settings import as_parameters, end_texts, parameters_of, read_generation
from luthier.export.stage import work_folder
from luthier.floor.errors import DataError, GateError, UsageError
from luthier.floor.files import sha256_of, write_text
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.knowledge.gguf_types import GGUF_TYPES
from luthier.knowledge.licences import LICENCES, licence_of_base
from luthier.llamacpp import process
from luthier.llamacpp.tasks import Measure
from luthier.reports.gguf import GgufFile, GgufReport
from luthier.reports.ollama import OllamaReport
from luthier.reports.provenance import gather_provenance
from luthier.reports.train import TrainReport
from luthier.text.render import Renderer
from luthier.text.row import Row
from luthier.text.rows import read_held_out
from luthier.text.template import TemplateRenderer

STAGE = "export/ollama"
MODELFILE = "Modelfile"
LONGEST_NAME = 60
# As types/model/name.go has it: an owner before a slash, a tag behind a colon.
NAME = re.compile(
    r"([A-Za-z0-9_][\w-]{0,79}/)?[A-Za-z0-9_][\w.-]{0,79}(:[A-Za-z0-9_][\w.-]{0,79})?", re.ASCII
)


@dataclass(frozen=True)
class Made:
    """A Modelfile that passed its proof."""

    path: Path
    text: str
    report: OllamaReport


def choose_file(recipe: Recipe, run: RunDir) -> tuple[str, bool]:
    """The type of GGUF file to take where none is named, and whether its columns are weighed: what the recipe asks for first, unless the
    run has other files alone."""
    path = run.report(GGUF)
    there = GgufReport.read(path).files if path.is_file() else ()
    wanted = (recipe.export.gguf.types[0], recipe.export.gguf.imatrix)
    found = [(file.type, file.importance is not None) for file in there]
    alike = [each for each in found if each[0] == wanted[0]]
    return wanted if wanted in found or not found else (*alike, *found)[0]


def check_name(name: str | None) -> None:
    """Raise UsageError if Ollama would not take the name of a model."""
    if name is not None and not NAME.fullmatch(name):
        raise UsageError(
            "usage",
            f"{name!r} is no name of a model in Ollama",
            where="--name",
            fix="Take letters, digits, dots, dashes and underscores, and behind a colon a tag: my-model:q5",
        )


def export_ollama(
    recipe: Recipe,
    run: RunDir,
    *,
    name: str | None = None,
    system: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
) -> Made:
    """Write <run>/export/gguf/Modelfile for the first of `export.gguf.types`; <run>/export/ollama/report.json holds the proof.

    Raises UsageError if that file is missing or the Modelfile was changed by hand, GateError gate-template if Ollama would ask
    otherwise than the run (an older Modelfile goes then), and what `plan_export` raises.
    """
    begun = time.monotonic()
    plan = plan_export(recipe, run)
    file = _file(plan)
    path = Path(file.path).with_name(MODELFILE)
    if not overwrite and not dry_run:
        _refuse_changed(path, run)
    with lock_run(run), work_folder(run.path / STAGE) as work:
        try:
            dialect, proof = _prove(plan, file, work, listener, stop)
        except GateError:
            # An older Modelfile beside this file would ask wrongly as well.
            if not dry_run:
                path.unlink(missing_ok=True)
                run.report(STAGE).unlink(missing_ok=True)
            raise
        made = _make(plan, file, dialect, proof, name=name or _model_name(plan), system=system, begun=begun)
        if not dry_run:
            write_text(made.path, made.text)
            made.report.write(run.report(STAGE))
    return made


def _file(plan: Plan) -> GgufFile:
    wanted = plan.recipe.export.gguf.types[0]
    name = plan.path(GGUF_TYPES[wanted]).name
    found = next((file for file in plan.kept if Path(file.path).name == name), None)
    if found is None:
        raise UsageError(
            "run-unfinished",
            f"the run {plan.run.name} has no {wanted} file of its model as it is",
            where=str(plan.folder),
            fix=f"Make it first: luthier export gguf --run {plan.run.path} --quant {wanted}",
        )
    return found


def _refuse_changed(path: Path, run: RunDir) -> None:
    """Raise UsageError if the Modelfile is not the one that an earlier export wrote."""
    if not path.is_file():
        return
    report = run.report(STAGE)
    try:
        known = json.loads(report.read_bytes()).get("modelfile_sha256") if report.is_file() else None
    except (ValueError, AttributeError):  # cut off, or no report of ours
        known = None
    if known == sha256_of(path):
        return
    raise UsageError(
        "usage",
        "the Modelfile was changed by hand, or by another program",
        where=str(path),
        fix="Keep a copy under another name and repeat the command with --overwrite.",
    )


def _prove(
    plan: Plan, file: GgufFile, work: Path, listener: Listener, stop: StopFlag | None
) -> tuple[Dialect, Proof]:
    """Translate the run's form of conversations, and prove it on texts and ids."""
    rows = _rows(plan.recipe)
    template = check_template(plan.recipe, plan.data, rows[0])
    form: Form = "text" if rows[0].kind == "text" else template
    begin = process.measure(Measure(library=str(plan.library), model=file.path), work=work, stop=stop).begin
    if begin and begin != (plan.tokenizer.bos_token_id,):
        raise refusal(
            f"llama.cpp puts the tokens {list(begin)} before every prompt of this file", where=file.path
        )
    listener.say("Comparing what Ollama would ask with what the run was trained on")
    with ExitStack() as stack:
        jinja = stack.enter_context(TemplateRenderer(plan.tokenizer)) if template == "chat" else None
        dialect = dialect_of(form, plan.tokenizer, jinja, puts_bos=bool(begin))
        written, proof = prove_texts(dialect, rows)
    renderer = Renderer(plan.tokenizer, template=template)
    try:
        same = prove_ids(
            written,
            renderer,
            plan.tokenizer,
            form,
            file=Path(file.path),
            library=plan.library,
            work=work,
            stop=stop,
        )
    finally:
        renderer.close()
    return dialect, proof.with_ids(same, answer_end=renderer.answer_end)


def _rows(recipe: Recipe) -> list[Row]:
    """Held-out rows, or where there are none the first of those that were trained on: a template has no favourites."""
    sources = ((recipe.evaluate.path, recipe.evaluate.format), (recipe.data.path, recipe.data.format))
    for path, format in sources:
        if Path(path).exists():
            return list(islice(read_held_out(Path(path), recipe.data, format), recipe.merge.check_rows))
    raise DataError(
        "data-missing",
        f"neither evaluate.path = {recipe.evaluate.path} nor data.path = {recipe.data.path} is there to compare on",
        fix="Name a file of rows: luthier export ollama evaluate.path=FILE.jsonl",
    )


def _make(
    plan: Plan, file: GgufFile, dialect: Dialect, proof: Proof, *, name: str, system: str, begun: float
) -> Made:
    """Put the file together. Raises UsageError for a system text that has no place in it."""
    if system and not dialect.has_system:
        raise UsageError(
            "usage",
            f"the run's form of conversations has no place for a system text ({dialect.name})",
            where="--system",
            fix="Leave --system out, or say it in the question.",
        )
    generation = read_generation(plan.source.architecture.folder)
    stops = end_texts(plan.tokenizer, generation, answer_end=proof.answer_end)
    context = int(plan.facts.config.get("max_position_embeddings") or 2**31)
    parameters = parameters_of(plan.recipe, generation, context_tokens=context)
    path = Path(file.path).with_name(MODELFILE)
    modelfile = Modelfile(
        source=f"./{Path(file.path).name}",
        template=dialect.go,
        parameters=as_parameters(stops, parameters),
        system=system,
        licence=_licence(plan),
        comments=_comments(plan, dialect, generation, name),
    )
    try:
        text = modelfile.text()
    except ValueError as fault:
        raise UsageError(
            "usage", str(fault), where=str(path), fix="Leave such signs out of --system."
        ) from fault
    return Made(path, text, _report(path, modelfile, file, dialect, proof, name=name, begun=begun))


def _report(
    path: Path,
    modelfile: Modelfile,
    file: GgufFile,
    dialect: Dialect,
    proof: Proof,
    *,
    name: str,
    begun: float,
) -> OllamaReport:
    text = modelfile.text()
    return OllamaReport(
        inputs_hash=hashlib.sha256(f"{file.sha256}\n{text}".encode()).hexdigest(),
        seconds=time.monotonic() - begun,
        provenance=gather_provenance(),
        modelfile=str(path),
        modelfile_sha256=hashlib.sha256(text.encode()).hexdigest(),
        name=name,
        gguf=file.path,
        gguf_sha256=file.sha256,
        type=file.type,
        style=dialect.name,
        template=modelfile.template,
        stops=modelfile.stops,
        parameters=modelfile.numbers,
        system=modelfile.system,
        licence=modelfile.licence,
        conversations_checked=proof.conversations,
        rows_checked=proof.rows,
        prompts_checked=proof.prompts,
        ids_checked=proof.same_ids,
        prompts_left_out=proof.left_out,
        prompts_with_blanks=proof.with_blanks,
        without_tools=dialect.tools,
        other_tools=proof.other_tools,
        writes_day=dialect.writes_day,
        has_later_system=proof.has_later_system,
    )


def _comments(plan: Plan, dialect: Dialect, generation: dict[str, object], name: str) -> tuple[str, ...]:
    sampled = (
        "as its generation_config.json says"
        if generation.get("do_sample") is True
        else "greedily, as it was evaluated"
    )
    return (
        f"{plan.source.name}: ollama create {name} -f {MODELFILE}",
        f"Conversations: {dialect.name}; proven to be what the model was trained on.",
        f"Answers: {sampled}; num_ctx is the longest conversation, and memory that Ollama takes.",
    )


def _model_name(plan: Plan) -> str:
    """A name that Ollama takes: the base's, in small letters, with the run's."""
    base = Path(plan.recipe.model.name or "model").name.lower()
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in base)
    return f"{kept.strip('._-')[:LONGEST_NAME] or 'model'}-tuned"


def _licence(plan: Plan) -> str:
    """What the recipe says of the published model, else what is known of its base."""
    named = plan.recipe.publish.licence
    known = LICENCES.get(named) if named else licence_of_base(TrainReport.read(plan.run.report("train")).base)
    if known is None:
        return named or ""
    return f"{known.title}: {known.source}"
