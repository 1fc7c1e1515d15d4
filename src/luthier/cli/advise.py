"""`luthier advise`: what to do with a person's own model, traffic and machine."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import AsJson

advise = typer.Typer(help="Advice on your own model, traffic and machine.", no_args_is_help=True)


class SituationName(enum.StrEnum):
    """The rows of the matrix; a test holds them against knowledge/deployment.py."""

    LOCAL = "local"
    TEAM = "team"
    PRODUCTION = "production"
    EDGE = "edge"
    SERVERLESS = "serverless"


class TaskName(enum.StrEnum):
    """The tasks of the guide's framework."""

    NOVEL = "novel"
    EXTEND = "extend"
    BEHAVIOUR = "behaviour"


Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Candidates: model folders, `embedded`, or ids of the hub. Without one, those that the guide recommends.",
        show_default=False,
    ),
]
TaskOption = Annotated[
    TaskName,
    typer.Option(
        "--task",
        help="novel: new patterns, languages, formats. extend: more of what the model knows. behaviour: other style or rules.",
    ),
]
Domain = Annotated[
    str | None,
    typer.Option(
        "--domain",
        metavar="NAME",
        help="Of the task: code, mathematics, medicine, finance, law.",
        show_default=False,
    ),
]
Rows = Annotated[
    Path | None,
    typer.Option(
        "--rows", metavar="FILE", help="Text or rows: how many bytes a token of each has.", show_default=False
    ),
]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|FOLDER]",
        help="A run, or a folder with a config.json; without one, the newest finished run.",
        show_default=False,
    ),
]
For = Annotated[
    SituationName | None,
    typer.Option("--for", help="What it is for; told from the traffic unless named.", show_default=False),
]
Users = Annotated[
    int | None,
    typer.Option(
        "--users", metavar="N", min=1, help="People who use it at the same time.", show_default=False
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--requests-per-second",
        metavar="R",
        min=0.0,
        help="Requests a second, all together.",
        show_default=False,
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--concurrency", metavar="N", min=1, help="Answers under way at the same time.", show_default=False
    ),
]
Prompt = Annotated[
    int, typer.Option("--prompt-tokens", metavar="N", min=1, help="Of a prompt with its history.")
]
Answer = Annotated[int, typer.Option("--answer-tokens", metavar="N", min=1, help="Of an answer.")]
GpuName = Annotated[
    str | None,
    typer.Option("--gpu", metavar="NAME", help="Such as A10G, T4, H100 or 'RTX 4090'.", show_default=False),
]
Gpus = Annotated[int, typer.Option("--gpus", metavar="N", min=1, help="How many of them.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="No GPU.")]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", help="Of the machine, or of each GPU, such as 16GiB.", show_default=False
    ),
]


@advise.callback()
def _group() -> None:
    """Advice on your own model, traffic and machine."""


@advise.command("deploy", short_help="Where and with which program to serve a model.")
def deploy(
    target: Target = None,
    situation: For = None,
    users: Users = None,
    requests_per_second: Rate = None,
    concurrency: AtOnce = None,
    prompt_tokens: Prompt = 512,
    answer_tokens: Answer = 256,
    gpu: GpuName = None,
    gpus: Gpus = 1,
    cpu: Cpu = False,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Rank the ways to serve a model: what fits the machine, what carries the traffic, and what to type next.

    Arithmetic on config.json, nothing is loaded or measured. Without --gpu or --cpu, this machine is meant.
    """
    from luthier.cli.advice_text import advice_facts, advice_text
    from luthier.cli.advised_model import find_subject, machine_of, traffic_of
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.knowledge.deployment_advice import rank, situation_of

    subject = find_subject(target, Screen())
    machine = machine_of(gpu, gpus=gpus, cpu=cpu, memory=memory)
    traffic = traffic_of(
        users, requests_per_second, concurrency, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens
    )
    chosen = situation.value if situation is not None else situation_of(traffic, machine)
    ranked = rank(subject.model, machine, traffic, chosen)
    if as_json:
        return show_json(advice_facts(subject, machine, traffic, chosen, ranked))
    return show(advice_text(subject, machine, traffic, chosen, ranked))


@advise.command("base", short_help="Which model to train from.")
def base(
    models: Models = None,
    task: TaskOption = TaskName.NOVEL,
    domain: Domain = None,
    rows: Rows = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Load the candidates and measure bits a byte of the rows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge candidates for a base: whether each is one, by what lies in its folder, and which suits the task.

    Nothing is fetched, and nothing loaded without --measure. Of a model that is not on this machine only the name is judged.
    """
    from luthier.cli.advise_base import base_text
    from luthier.cli.measure_bases import measure_bases
    from luthier.cli.output import show, show_json
    from luthier.floor.errors import DataError, UsageError
    from luthier.floor.lookup import did_you_mean
    from luthier.knowledge.base_evidence import DOMAIN_WORDS
    from luthier.plan.base_advice import Question
    from luthier.plan.base_advice import advise as advise_base

    domains = sorted(set(DOMAIN_WORDS.values()))
    if domain is not None and domain not in domains:
        what = f"{domain!r} is no domain that models are known for{did_you_mean(domain, domains)}"
        raise UsageError(
            "usage", what, where="--domain", fix=f"One of {', '.join(domains)}, or leave it out."
        )
    if rows is not None and not rows.is_file():
        raise DataError("data-missing", f"there is no file {rows}", where="--rows", fix="Name a text or rows: --rows FILE")  # fmt: skip
    bits = measure_bases(models or (), rows) if measure else {}
    advice = advise_base(models or (), Question(task.value, domain, rows, bits))
    if as_json:
        return show_json(advice.model_dump(mode="json"))
    return show(base_text(advice))
