"""The process of Luthier's own generator: loads the models, then answers orders, a line of JSON each, on standard input and output.

In a process of its own, so that the server stays quick while torch holds the interpreter, and lives on if this one dies.

In: the specification; then {"do": "prepare" | "generate" | "cancel", ...}. Out: {"is": "ready" | "failed"}; then "prepared",
"refused", "pieces", "lost". It ends when its input does. Log lines go to standard error.
"""

import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from luthier.config.method import QloraMethod
from luthier.floor.errors import LuthierError
from luthier.knowledge.model_config import text_config
from luthier.knowledge.model_folder import check_model_folder
from luthier.modelling.adapters import attach_adapter
from luthier.modelling.attention import choose_attention
from luthier.modelling.device import choose_device, choose_precision
from luthier.modelling.generate import fitting_tokens
from luthier.modelling.load import load_base
from luthier.modelling.running_batch import answering
from luthier.serve.engines.own_rows import Lane, is_memory_fault
from luthier.serve.engines.prepare import Preparer, Prompt
from luthier.serve.refusal import Refusal

# Where config.json does not say how many tokens the model looks at.
UNBOUNDED_CONTEXT = 2**20
# How many rows are worth having under way: more only make each of them slower on a CPU.
USUAL_ROWS = {"cpu": 16, "cuda": 64}


class Line:
    """Writes one JSON object a line; from two threads, so under a lock."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, **facts: Any) -> None:
        text = json.dumps(facts) + "\n"
        with self._lock:
            self._stream.write(text)
            self._stream.flush()


class House:
    """The models, loaded, one lane each."""

    def __init__(self, specification: dict[str, Any]) -> None:
        if specification.get("threads"):
            torch.set_num_threads(specification["threads"])
        models = specification["models"]
        device = choose_device(specification["device"])
        precision = choose_precision("auto", device)
        quantization = specification.get("quantization")
        base_folder = Path(models[0]["base_folder"] or models[0]["folder"])
        config = check_model_folder(base_folder).config
        self.model: Any = load_base(
            base_folder,
            dtype=precision.dtype,
            device=device,
            attention=choose_attention(
                "auto", device, computes_in_fp32=precision.name == "fp32", config=config
            ),
            quantization=QloraMethod.model_validate(quantization) if quantization else None,
        )
        names: dict[str, str | None] = {}
        for number, model in enumerate(models):
            is_adapter = model["base_folder"] is not None
            names[model["name"]] = f"adapter{number}" if is_adapter else None
            if is_adapter:
                self.model = attach_adapter(
                    self.model, Path(model["folder"]), dtype=precision.dtype, name=f"adapter{number}"
                )
        self._active: str | None = "unknown"
        preparers: dict[tuple[str, str | None], Preparer] = {}
        self.lanes: dict[str, Lane] = {}
        for model in models:
            key = (model["tokenizer_folder"], model["template"])
            if key not in preparers:
                preparers[key] = Preparer(Path(key[0]), model["template"])
            name = names[model["name"]]
            self.lanes[model["name"]] = Lane(
                model["name"], self.model, preparers[key], partial(self._activate, name)
            )
        text = text_config(config)
        found = text.get("max_position_embeddings") or text.get("n_positions") or UNBOUNDED_CONTEXT
        self.context_tokens = min(int(found), specification.get("context_tokens") or int(found))
        fitting = max(1, fitting_tokens(self.model) // self.context_tokens)
        usual = USUAL_ROWS.get(device.type, 16)
        self.most_rows = specification.get("most_rows") or (
            usual if device.type == "cpu" else min(usual, fitting)
        )

    def _activate(self, adapter: str | None) -> None:
        if adapter == self._active or not hasattr(self.model, "peft_config"):
            return
        if adapter is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(adapter)
        self._active = adapter

    def facts(self) -> dict[str, Any]:
        """What the server must know."""
        return {
            "models": list(self.lanes),
            "context_tokens": self.context_tokens,
            "most_rows": self.most_rows,
            "tool_forms": {name: lane.preparer.tool_form for name, lane in self.lanes.items()},
        }


def prepare(lane: Lane, order: dict[str, Any]) -> list[Prompt]:
    """The prompts of an order, rendered and encoded."""
    if "messages" in order:
        return [lane.preparer.conversation(order["messages"], order["tools"])]
    return [lane.preparer.prompt(given) for given in order["prompts"]]


def answer_preparation(house: House, order: dict[str, Any], line: Line) -> None:
    """Do one preparation and tell its result."""
    try:
        prompts = prepare(house.lanes[order["model"]], order)
    except Refusal as refusal:
        told = {
            "status": refusal.status,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
        }
        line.say(**{"is": "refused"}, id=order["id"], **told)
        return
    line.say(
        **{"is": "prepared"},
        id=order["id"],
        prompts=[prompt.ids for prompt in prompts],
        texts=[prompt.text for prompt in prompts],
    )


def tell_our_fault(id: int, line: Line, done: "Future[None]") -> None:
    """A preparation that failed by a fault of ours must not leave its client waiting."""
    fault = done.exception()
    if fault is not None:
        traceback.print_exception(fault)
        told = {
            "status": 500,
            "code": "api-engine",
            "message": "the request could not be prepared",
            "param": None,
        }
        line.say(**{"is": "refused"}, id=id, **told)


def read_orders(house: House, orders: "queue.SimpleQueue[dict[str, Any] | None]", line: Line) -> None:
    """Hand orders on until the input ends. Templates are rendered one after the other, in a thread that may wait for them."""
    with ThreadPoolExecutor(1) as preparing:
        for text in sys.stdin:
            order = json.loads(text)
            if order["do"] == "prepare":
                done = preparing.submit(answer_preparation, house, order, line)
                done.add_done_callback(partial(tell_our_fault, order["id"], line))
            else:
                orders.put(order)
    orders.put(None)


def run(house: House, orders: "queue.SimpleQueue[dict[str, Any] | None]", line: Line) -> None:
    """Step by step until the input ends; between steps rows join and leave."""
    lanes = list(house.lanes.values())
    with answering(house.model):
        while True:
            is_idle = all(lane.is_idle for lane in lanes)
            taken = _take_orders(orders, wait=is_idle)
            if taken is None:
                return
            _follow(house, taken)
            for lane in lanes:
                _turn(lane, line)


def _take_orders(
    orders: "queue.SimpleQueue[dict[str, Any] | None]", *, wait: bool
) -> list[dict[str, Any]] | None:
    """All orders that are there; None if there will be no more."""
    taken = [orders.get()] if wait else []
    while not orders.empty():
        taken.append(orders.get())
    return None if None in taken else [order for order in taken if order is not None]


def _follow(house: House, orders: Sequence[dict[str, Any]]) -> None:
    cancelled = {handle for order in orders if order["do"] == "cancel" for handle in order["handles"]}
    for order in orders:
        if order["do"] == "generate":
            house.lanes[order["model"]].take(order)
    if cancelled:
        for lane in house.lanes.values():
            lane.drop(cancelled)


def _turn(lane: Lane, line: Line) -> None:
    try:
        reports = lane.turn()
    except RuntimeError as fault:
        if not is_memory_fault(fault):
            raise
        line.say(
            **{"is": "lost"},
            handles=lane.fail(),
            message="the device has too little memory for these answers",
        )
        return
    if reports:
        line.say(**{"is": "pieces"}, pieces=reports)


def main() -> int:
    # Whatever a library prints must not get between the lines.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    line = Line(out)
    # It warns, when PEFT imports it, that a kernel is not there which nobody asked for.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    specification = json.loads(sys.stdin.readline())
    try:
        house = House(specification)
    except LuthierError as fault:
        line.say(**{"is": "failed"}, kind=type(fault).__name__, **fault.as_json())
        return fault.exit_code
    line.say(**{"is": "ready"}, **house.facts())
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=read_orders, args=(house, orders, line), daemon=True).start()
    run(house, orders, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
