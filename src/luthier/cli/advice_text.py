"""How an advice on deployment is shown, and the commands that it ends in."""

from collections.abc import Sequence
from typing import Any

from luthier.cli.advised_model import Subject
from luthier.cli.output import table
from luthier.floor.units import format_bytes, format_count
from luthier.knowledge.deployment import CHANGES, SCENARIOS, Situation
from luthier.knowledge.deployment_advice import SHARE_PROMISED, Ranked, gpus_that_do
from luthier.knowledge.serving_memory import FOLDER, Load, Machine, Traffic, load_of

TYPES_SHOWN = (FOLDER, "Q8_0", "Q5_K_M", "Q4_K_M")


def commands_of(
    ranked: Ranked, subject: Subject, machine: Machine, traffic: Traffic, situation: Situation
) -> list[str]:
    """What to type for a way, from this folder."""
    if ranked.way.form == "gguf":
        return _gguf_commands(ranked, subject, traffic)
    name = subject.typed
    if ranked.way.key == "serverless":
        return [f"luthier serve {name} --render {kind} --out deploy" for kind in ("modal", "replicate")]
    if ranked.way.key == "luthier":
        return _own_commands(name, situation)
    is_merged = subject.run is not None and subject.folder != subject.run.model
    folder = f"{name}/merge/model" if is_merged else str(subject.folder)
    split = f" --tensor-parallel-size {machine.count}" if machine.count > 1 else ""
    number = "" if machine.has_bf16 else " --dtype float16"
    serve = (
        f"vllm serve {folder} --served-model-name tuned --max-model-len {traffic.tokens_each}{split}{number}"
    )
    return [f"luthier merge --run {name}", serve] if is_merged else [serve]


def _gguf_commands(ranked: Ranked, subject: Subject, traffic: Traffic) -> list[str]:
    if subject.run is None:
        return ["luthier export writes GGUF files of runs alone: train one, then luthier advise deploy RUN"]
    chosen = f"--run {subject.typed} --quant {ranked.load.type}"
    if ranked.way.key != "llama.cpp":
        return [f"luthier export ollama {chosen}"]
    slots = min(traffic.at_once, ranked.way.most_at_once)
    jinja = "--jinja " if subject.has_chat_template else ""
    file = f"{subject.typed}/export/gguf/*-{ranked.load.type}.gguf"
    server = f"llama-server {jinja}-m {file} -c {slots * traffic.tokens_each} -np {slots}"
    return [f"luthier export gguf {chosen}", server]


def _own_commands(name: str, situation: Situation) -> list[str]:
    if situation == "local":
        return [f"luthier chat {name}", f"luthier serve {name}"]
    keys = [
        "luthier keys new desk --file keys.json",
        f"luthier serve {name} serve.host=0.0.0.0 serve.keys=keys.json",
    ]
    kinds = ("compose", "k8s") if situation == "production" else ("systemd",)
    return [*keys, *(f"luthier serve {name} --render {kind} --out deploy" for kind in kinds)]


def advice_text(
    subject: Subject, machine: Machine, traffic: Traffic, situation: Situation, ranked: Sequence[Ranked]
) -> str:
    """The advice as a terminal shows it."""
    model = subject.model
    context = f", context {model.context_tokens:,}" if model.context_tokens else ""
    lines = [
        f"model    {model.name}: {model.model_type}, {format_count(model.parameters)} weights{context}, "
        f"cache {format_bytes(model.cache_bytes_per_token)} a token",
        f"on       {machine.name}: {format_bytes(machine.memory_bytes)}, reads {machine.bytes_per_second / 1e9:,.0f} GB/s",
        f"asked    {traffic.requests_per_second:.3g} requests/s of {traffic.prompt_tokens:,} + {traffic.answer_tokens:,} tokens: "
        f"{traffic.tokens_per_second:,.1f} tokens/s, about {traffic.at_once} at once",
        f"so       {SCENARIOS[situation].name}",
        "",
    ]
    for place, each in enumerate(ranked, start=1):
        lines += _way_lines(place, each, commands_of(each, subject, machine, traffic, situation))
    if not any(each.does for each in ranked):
        others = gpus_that_do(model, traffic, situation)
        would = (
            f"{ranked[0].way.name} would on {', '.join(others)}"
            if others
            else "no GPU that is known here does, nor eight"
        )
        lines.append(f"None of them does on {machine.name}: {would}.")
    lines += ["", memory_table(subject, machine, traffic, ranked), ""]
    if model.context_tokens and traffic.tokens_each > model.context_tokens:
        lines += [
            f"careful  {traffic.tokens_each:,} tokens are asked for, the model takes {model.context_tokens:,}",
            "",
        ]
    for change in CHANGES:
        lines += [f"changed  {change.what};", f"         {change.then}"]
    bound = f"Rates are bounds from reading weights and cache; {SHARE_PROMISED:.0%} of one is counted on."
    return "\n".join([*lines, f"measure  {bound} What it does: luthier bench serve {subject.typed}"])


def _way_lines(place: int, ranked: Ranked, commands: Sequence[str]) -> list[str]:
    if not ranked.does:
        return [f"-  {ranked.way.name}", *(f"     {text}" for text in ranked.objections)]
    lines = [f"{place}  {ranked.way.name}, {ranked.load.type}", *(f"     {text}" for text in ranked.reasons)]
    if ranked.way.runs_here:
        lines.append(f"     {_rate(ranked.load)}")
    return [*lines, *(f"       {command}" for command in commands)]


def _rate(load: Load) -> str:
    return (
        f"{format_bytes(load.weight_bytes)} of weights, {format_bytes(load.cache_bytes)} of cache; at best "
        f"{load.tokens_per_second_each:,.0f} tokens/s of one answer, {load.tokens_per_second:,.0f} of {max(1, load.most_at_once)}"
    )


def memory_table(subject: Subject, machine: Machine, traffic: Traffic, ranked: Sequence[Ranked]) -> str:
    """Weights and cache by type, and whether both go into the machine."""
    most = max(each.way.most_at_once for each in ranked)
    types = dict.fromkeys([*TYPES_SHOWN, *(each.load.type for each in ranked)])
    loads = [load_of(subject.model, machine, traffic, type=type, most_at_once=most) for type in types]
    room = f"into {format_bytes(machine.usable_bytes)}"
    rows = [("weights in", "weights", "answers", "cache", "together", room)]
    rows += [
        (
            load.type,
            format_bytes(load.weight_bytes),
            f"{min(traffic.at_once, load.most_at_once):,}",
            format_bytes(load.cache_bytes),
            format_bytes(load.weight_bytes + load.cache_bytes),
            "fits" if load.fits else "no",
        )
        for load in loads
    ]
    return table(rows)


def advice_facts(
    subject: Subject, machine: Machine, traffic: Traffic, situation: Situation, ranked: Sequence[Ranked]
) -> dict[str, Any]:
    """The same for programs."""
    model = subject.model
    return {
        "model": {
            "name": model.name,
            "run": str(subject.run.path) if subject.run is not None else None,
            "folder": str(subject.folder),
            "model_type": model.model_type,
            "parameters": model.parameters,
            "context_tokens": model.context_tokens,
            "cache_bytes_per_token": model.cache_bytes_per_token,
        },
        "machine": {
            "name": machine.name,
            "is_gpu": machine.is_gpu,
            "memory_bytes": machine.memory_bytes,
            "usable_bytes": machine.usable_bytes,
            "bytes_per_second": machine.bytes_per_second,
        },
        "traffic": {
            "requests_per_second": traffic.requests_per_second,
            "prompt_tokens": traffic.prompt_tokens,
            "answer_tokens": traffic.answer_tokens,
            "at_once": traffic.at_once,
            "tokens_per_second": traffic.tokens_per_second,
        },
        "situation": situation,
        "ways": [
            {
                **_way_facts(each),
                "commands": commands_of(each, subject, machine, traffic, situation) if each.does else [],
            }
            for each in ranked
        ],
        "gpus_that_do": gpus_that_do(model, traffic, situation),
        "changed": [
            {"what": change.what, "then": change.then, "source": change.source} for change in CHANGES
        ],
    }


def _way_facts(ranked: Ranked) -> dict[str, Any]:
    load = ranked.load
    return {
        "name": ranked.way.name,
        "does": ranked.does,
        "is_guides_pick": ranked.is_guides_pick,
        "type": load.type,
        "reasons": list(ranked.reasons),
        "objections": list(ranked.objections),
        "weight_bytes": load.weight_bytes,
        "cache_bytes": load.cache_bytes,
        "most_at_once": load.most_at_once,
        "tokens_per_second": load.tokens_per_second,
        "tokens_per_second_each": load.tokens_per_second_each,
    }
