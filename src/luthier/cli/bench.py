"""`luthier bench`: how fast this machine trains and answers, how near that is to what it could, and what holds it back."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import AsJson

bench = typer.Typer(help="Measure this machine: training and generation.", no_args_is_help=True)


class ShapeName(enum.StrEnum):
    """The shapes; a test holds them against luthier.knowledge.shapes."""

    TINY = "tiny"
    QWEN_05B = "qwen2.5-0.5b"
    LLAMA_1B = "llama-3.2-1b"
    LLAMA_8B = "llama-3.1-8b"


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe whose model and rows are measured, and settings. Without one, random weights and made-up rows.",
        show_default=False,
    ),
]
Shape = Annotated[
    ShapeName | None,
    typer.Option(
        "--shape",
        help="Without a recipe: the sizes of the model. By default the largest that fits.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the result as JSON, too.", show_default=False),
]


@bench.command("train", short_help="Measure training: tokens a second and what a step is spent on.")
def train(
    words: Words = None,
    shape: Shape = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Timed steps.")] = 20,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Steps before them, not timed.")] = 5,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train for some steps in a temporary folder, time them and trace three of them.

    Nothing of it is kept, and nothing of your runs changes.
    """
    from luthier.cli.bench_text import show_bench
    from luthier.cli.bench_train import TrainBench

    report = TrainBench(words, shape, steps=steps, warmup=warmup).run()
    show_bench(report, out, as_json=as_json)


@bench.command("generate", short_help="Measure generation: new tokens a second and what holds it back.")
def generate(
    words: Words = None,
    shape: Shape = None,
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Prompts answered.")] = 128,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens of each answer.")] = 64,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Answer prompts with the base model, time it and trace a few tokens.

    Nothing of it is kept, and nothing of your runs changes.
    """
    from luthier.cli.bench_generate import GenerateBench
    from luthier.cli.bench_text import show_bench

    report = GenerateBench(words, shape, prompts=prompts, new_tokens=new_tokens).run()
    show_bench(report, out, as_json=as_json)
