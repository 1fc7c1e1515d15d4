"""`luthier export ollama`: a Modelfile beside a GGUF file of the run, and the commands of the programs that take either."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson, RunName, Words

if TYPE_CHECKING:
    from luthier.cli.screen import Screen
    from luthier.config.recipe import Recipe
    from luthier.export.ollama.stage import Made
    from luthier.floor.rundir import RunDir
    from luthier.floor.stop import StopFlag

Type = Annotated[
    str | None,
    typer.Option(
        "--quant",
        metavar="TYPE",
        help="The GGUF file to take, such as Q5_K_M; one that is not there is made. Without it, one of the run's.",
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="The model's name in Ollama.", show_default=False)
]
System = Annotated[
    str,
    typer.Option(
        "--system", metavar="TEXT", help="A system text that belongs to the model.", show_default=False
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a Modelfile that was changed by hand.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Prove and show the Modelfile; write nothing.")]


def ollama(
    words: Words = None,
    run: RunName = None,
    quant: Type = None,
    name: Name = None,
    system: System = "",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a Modelfile for Ollama beside a GGUF file of a run.

    The chat template becomes one in Ollama's own syntax, and must write the run's rows, and conversations of every shape, as the run
    does, character for character and token for token; else no file is left. A run that is not merged or exported yet is so first.
    """
    from luthier.cli.choose import finished_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    recipe_name, overrides = split_words(words)
    chosen = finished_run(run, screen)
    with listen_for_stop(StopFlag()) as stop:
        from luthier.export.ollama.stage import check_name, choose_file, export_ollama

        check_name(name)
        recipe = recipe_of_run(chosen, recipe_name, overrides).recipe
        type, weighs = (quant.upper(), recipe.export.gguf.imatrix) if quant else choose_file(recipe, chosen)
        wanted = [f"export.gguf.types=[{type}]", f"export.gguf.imatrix={str(weighs).lower()}"]
        recipe = recipe_of_run(chosen, recipe_name, [*overrides, *wanted]).recipe
        if not dry_run:
            _make_file(recipe, chosen, screen, stop)
        options = {"name": name, "system": system, "overwrite": overwrite, "dry_run": dry_run}
        made = export_ollama(recipe, chosen, **options, listener=screen, stop=stop)  # type: ignore[arg-type]
    for warning in warnings(made):
        screen.warn(warning)
    if as_json:
        facts = {
            "run": str(chosen.path),
            "written": not dry_run,
            "text": made.text,
            "commands": commands(made),
        }
        return show_json({**facts, **made.report.model_dump(mode="json")})
    return show(made.text.rstrip("\n") if dry_run else made_text(chosen, made))


def made_facts(run: "RunDir", made: "Made", *, written: bool) -> dict[str, object]:
    """The same for programs."""
    facts = {"run": str(run.path), "written": written, "text": made.text, "commands": commands(made)}
    return {**facts, **made.report.model_dump(mode="json")}


def _make_file(recipe: "Recipe", run: "RunDir", screen: "Screen", stop: "StopFlag") -> None:
    """Merge the run and write its GGUF file, where that is not done yet."""
    from luthier.export.gguf.plan import needs_merge
    from luthier.export.gguf.stage import export_gguf
    from luthier.export.stage import merge

    if needs_merge(recipe, run):
        screen.say("The run has no merged model of these inputs yet: merging first")
        merge(recipe, run, listener=screen, stop=stop)
    export_gguf(recipe, run, listener=screen, stop=stop)


def warnings(made: "Made") -> list[str]:
    """What Ollama does otherwise than the run, though the template is right."""
    report = made.report
    said = []
    if report.style in ("single prompts", "plain texts"):
        said.append(
            f"The run was trained on {report.style}: each question is asked by itself, without history or system text."
        )
    reasons = {
        "neighbours": "Ollama joins neighbours of one role into one message before the template sees them",
        "tools": f"Ollama will refuse requests with tools: {report.without_tools}",
        "other_tools": f"Ollama sorts the fields of tools and calls. {report.other_tools}",
        "roles": "Ollama knows no other roles than system, user, assistant and tool",
    }
    for reason, count in report.prompts_left_out.items():
        said.append(f"{count} prompts of the rows were not compared: {reasons[reason]}.")
    if report.prompts_with_blanks:
        said.append(
            f"{report.prompts_with_blanks} prompts of the rows have white space around a text, which the run's template takes "
            "off and Ollama leaves: send texts without it."
        )
    if not report.has_later_system:
        said.append(
            "A system text between other messages comes out otherwise than in the run: send it first."
        )
    if report.writes_day:
        said.append(
            "The chat template writes the day's date; the Modelfile keeps today's. Make it again when that matters."
        )
    return said


def commands(made: "Made") -> dict[str, list[str]]:
    """For each program what to type, or to do."""
    report = made.report
    gguf, name = shown(Path(report.gguf)), Path(report.gguf).name
    server = f"llama-server -m {gguf} -c {int(report.parameters['num_ctx'])}"
    listed = {
        "Ollama": [f"ollama create {report.name} -f {shown(made.path)}", f"ollama run {report.name}"],
        "Open WebUI": [
            "docker run -d -p 127.0.0.1:3000:8080 --add-host=host.docker.internal:host-gateway "
            "-v open-webui:/app/backend/data ghcr.io/open-webui/open-webui:main"
        ],
    }
    if not report.style.startswith("the run's chat template"):
        # The others would ask by the chat template that came with the base, which this run was not trained on.
        end = "" if report.style == "plain texts" else "\\n"
        question = f'{{"prompt": "QUESTION{end}", "temperature": 0}}'
        return {**listed, "llama.cpp": [server, f"curl http://127.0.0.1:8080/completion -d '{question}'"]}
    return {
        **listed,
        "llama.cpp": [f"{server} --jinja"],
        "LM Studio": [f"lms import --copy {gguf}"],
        "Jan": [f"Settings > Model Providers > Llama.cpp > Import: {gguf}"],
        "text-generation-webui": [f"cp {gguf} user_data/models/ && ./start_linux.sh --model {name}"],
    }


def shown(path: Path) -> str:
    """A path as short as it can be typed, quoted for a shell."""
    import shlex

    here = Path.cwd()
    return shlex.quote(
        str(path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path)
    )


def made_text(run: "RunDir", made: "Made") -> str:
    """Where it lies, what was proven, and what to type next."""
    from luthier.cli.choose import shown_path

    report = made.report
    sampling = ", ".join(f"{name} {value:g}" for name, value in report.parameters.items())
    lines = [
        f"file    {shown(made.path)}",
        f"from    {Path(report.gguf).name}",
        f"form    {report.style}",
        f"stops   {' '.join(report.stops)}",
        f"set     {sampling}",
        f"proof   the same text for {report.prompts_checked:,} prompts of {report.rows_checked:,} rows and "
        f"{report.conversations_checked:,} other conversations; llama.cpp makes the run's ids of {report.ids_checked:,}",
        f"run     {shown_path(run)}",
        "",
        "next",
    ]
    for program, typed in commands(made).items():
        lines += [f"  {program if not place else '':<23}{line}" for place, line in enumerate(typed)]
    return "\n".join(lines)
