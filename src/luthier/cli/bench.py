"""`luthier bench`: how fast this machine trains, answers and serves, how near that is to what it could, and what holds it back."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import AsJson
from luthier.cli.server_key import KeyFrom, key_of

bench = typer.Typer(help="Measure this machine: training, generation and serving.", no_args_is_help=True)


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


ServeWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[URL|RUN|FOLDER] [serve.KEY=VALUE]...",
        help="A server of OpenAI's API that runs, or what to serve for the while, with settings. Without one, the newest finished run.",
        show_default=False,
    ),
]
Rates = Annotated[
    list[float] | None,
    typer.Option(
        "--rate",
        metavar="R",
        help="Requests a second, sent whether the earlier ones are answered or not; repeated, one after the other. 1 if none is named.",
        show_default=False,
    ),
]
Level = Annotated[
    list[str] | None,
    typer.Option(
        "--at-most",
        metavar="FIGURE=MOST",
        help="What people may wait: first_token_p95=500ms, request_p99=5s, token_gap_p50=40ms, errors=1%. Repeated for others.",
        show_default=False,
    ),
]
Rows = Annotated[
    Path | None,
    typer.Option(
        "--rows",
        metavar="FILE",
        help="Rows whose prompts are asked; otherwise made-up ones.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Which of its models; the first.", show_default=False),
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


@bench.command("serve", short_help="Measure a server under load: how long people wait at each rate.")
def serve(
    words: ServeWords = None,
    rate: Rates = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long each rate is sent.")] = 30,
    at_most: Level = None,
    rows: Rows = None,
    model: Model = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")] = 64,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=2, help="Of the answers.")] = 0,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds until an answer failed.")
    ] = 60,
    key_from: KeyFrom = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of arrivals and made-up prompts.")] = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Send requests at times that do not hang on the answers, as people do, and say how long they waited.

    With --at-most the exit code is 1 if no rate keeps the level. A server that runs already only gets requests.
    """
    from luthier.cli.bench_serve import LoadTest, level_of, rates_of, show_load

    test = LoadTest(
        words=words or (),
        rates=rates_of(rate),
        seconds=seconds,
        rows=rows,
        model=model,
        most_new_tokens=max_tokens,
        temperature=temperature,
        level=level_of(at_most),
        key=key_of(key_from),
        timeout_s=timeout,
        seed=seed,
    )
    show_load(test.run(), out, as_json=as_json)
