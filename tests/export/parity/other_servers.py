"""Servers of other makes on loopback: a real tiny model behind the wire forms of llama-server, vLLM and plainer ones, which are not here.

The forms follow llama.cpp's tools/server/README.md and vLLM's documentation of its OpenAI-compatible server.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM

from luthier.text.tokenizer import load_tokenizer, stop_ids

Make = Literal["llamacpp", "vllm", "ollama", "bare"]
Json = dict[str, Any]


class NotTaken(Exception):
    """The server refuses; the status says how."""


class Other:
    """A server of one make over a model folder."""

    def __init__(self, make: Make, folder: Path, *, stops: bool) -> None:
        self.make = make
        self.stops = stops
        self.tokenizer = load_tokenizer(folder)
        self.ends = stop_ids(self.tokenizer)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answer(self, path: str, body: Json) -> Json:
        """What a route tells. Raises NotTaken."""
        routes: dict[str, Callable[[Json], Json]] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._complete,
        }
        if self.make == "llamacpp":
            routes |= {
                "/tokenize": lambda body: {"tokens": self._encode(body.get("content", ""))},
                "/apply-template": lambda body: {"prompt": self.tokenizer.decode(self._render(body))},
            }
        if self.make == "vllm":
            routes["/tokenize"] = self._tokenize
        if path not in routes:
            raise NotTaken(404)
        return routes[path](body)

    def _tokenize(self, body: Json) -> Json:
        ids = self._render(body) if "messages" in body else self._encode(body["prompt"])
        return {"tokens": ids, "count": len(ids), "max_model_len": 512}

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, body: Json) -> list[int]:
        text = self.tokenizer.apply_chat_template(
            body["messages"], tools=body.get("tools"), add_generation_prompt=True, tokenize=False
        )
        return self._encode(text)

    def _chat(self, body: Json) -> Json:
        prompt = self._render(body)
        wanted = body["top_logprobs"] if body.get("logprobs") and self.make != "bare" else 0
        ids, tops = self._generate(prompt, body["max_tokens"], wanted)
        choice: Json = {"message": {"role": "assistant", "content": self._decode(ids)}}
        if wanted:
            choice["logprobs"] = {"content": [self._fact(*each) for each in zip(ids, tops, strict=True)]}
        return self._reply(choice, prompt)

    def _complete(self, body: Json) -> Json:
        prompt = body["prompt"]
        if isinstance(prompt, list) and self.make in ("ollama", "bare"):
            raise NotTaken(400)
        prompt = self._encode(prompt) if isinstance(prompt, str) else prompt
        wanted = body.get("n_probs" if self.make == "llamacpp" else "logprobs", 0)
        ids, tops = self._generate(prompt, body["max_tokens"], wanted)
        choice: Json = {"text": self._decode(ids)}
        if self.make == "llamacpp" and wanted:
            choice["logprobs"] = {"content": [self._fact(*each) for each in zip(ids, tops, strict=True)]}
        elif wanted:
            assert body["return_tokens_as_token_ids"] is True
            choice["logprobs"] = {
                "tokens": [f"token_id:{token}" for token in ids],
                "top_logprobs": [{f"token_id:{token}": value for token, value in top} for top in tops],
            }
        return self._reply(choice, prompt)

    def _generate(self, prompt: list[int], most: int, wanted: int) -> tuple[list[int], list[list[Any]]]:
        ids: list[int] = []
        tops: list[list[Any]] = []
        with torch.inference_mode():
            while len(ids) < most and not (self.stops and ids and ids[-1] in self.ends):
                logprobs_V = self.model(torch.tensor([prompt + ids])).logits[0, -1].log_softmax(-1)
                found = logprobs_V.topk(max(1, wanted))
                ids.append(int(found.indices[0]))
                tops.append(list(zip(found.indices.tolist(), found.values.tolist(), strict=True)))
        return ids, tops

    def _fact(self, token: int, top: list[Any]) -> Json:
        names = {"id": token} if self.make == "llamacpp" else {}
        others = [
            {"token": self.tokenizer.decode([other]), "logprob": value}
            | ({"id": other} if self.make == "llamacpp" else {})
            for other, value in top
        ]
        return {
            "token": self.tokenizer.decode([token]),
            **names,
            "logprob": top[0][1],
            "top_logprobs": others,
        }

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _reply(self, choice: Json, prompt: list[int]) -> Json:
        return {
            "choices": [{"index": 0, "finish_reason": "stop", **choice}],
            "usage": {"prompt_tokens": len(prompt)},
        }


@contextmanager
def serving(
    answer: Callable[[str, Json | None], tuple[int, bytes]], *, retry_after: str = ""
) -> Iterator[str]:
    """A server whose every answer is what a function makes of path and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*answer(self.path, None))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            self._send(*answer(self.path, json.loads(raw)))

        def _send(self, status: int, page: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(page)))
            if retry_after:
                self.send_header("retry-after", retry_after)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def other_server(make: Make, folder: Path, *, stops: bool = True) -> Iterator[str]:
    """A server of one make, which may know of no end of an answer; yields its address."""
    other = Other(make, folder, stops=stops)

    def answer(path: str, body: Json | None) -> tuple[int, bytes]:
        try:
            listed = {"data": [{"id": "m", "owned_by": make}]}
            told = other.answer(path, body) if body is not None else listed
            return 200, json.dumps(told).encode()
        except NotTaken as refusal:
            return int(refusal.args[0]), b'{"error": {"message": "not taken"}}'

    with serving(answer) as url:
        yield url
