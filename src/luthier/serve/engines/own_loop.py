"""What the own generator's process does all day: take orders, prepare prompts beside it, give every row its next token.

Orders come and answers go as lines of JSON; `own_worker.py` says which.
"""

import json
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TextIO

from luthier.serve.engines.own_rows import Lane, is_memory_fault
from luthier.serve.engines.prepare import Prompt
from luthier.serve.refusal import Refusal


class House(Protocol):
    """The models of a worker, loaded, one lane each."""

    lanes: dict[str, Lane]
    context_tokens: int
    """Of a prompt and its answer."""
    most_rows: int
    """Answered side by side."""

    def answering(self) -> AbstractContextManager[None]:
        """Inside, rows can be answered."""


def facts_of(house: House) -> dict[str, Any]:
    """What the server must know."""
    return {
        "models": list(house.lanes),
        "context_tokens": house.context_tokens,
        "most_rows": house.most_rows,
        "tool_forms": {name: lane.preparer.tool_form for name, lane in house.lanes.items()},
    }


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


def work(house: House, line: Line) -> None:
    """Answer until the input ends."""
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=read_orders, args=(house, orders, line), daemon=True).start()
    run(house, orders, line)


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
    with house.answering():
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
