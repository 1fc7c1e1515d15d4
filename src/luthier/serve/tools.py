"""Find the calls of tools in what a model writes, by the form that its chat template taught it.

`tag` (Hermes, Qwen): <tool_call>{"name": ..., "arguments": {...}}</tool_call>, once or several times.
`bracket` (Mistral): [TOOL_CALLS][{"name": ..., "arguments": {...}}].
`json` (Llama 3): the whole answer is {"name": ..., "parameters": {...}}.
What looks like a call and cannot be read stays text: nothing a model wrote is lost.
"""

import json
import re
import secrets
from typing import Any

from luthier.serve.engines.engine import ToolForm
from luthier.serve.engines.spelling import StopFinder

MARKS: dict[ToolForm, str] = {"tag": "<tool_call>", "bracket": "[TOOL_CALLS]", "json": "{"}
TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


class CallFinder:
    """Passes the text of one choice on up to its first call, and keeps what follows until the answer has ended."""

    def __init__(self, form: ToolForm) -> None:
        self._form = form
        self._before: StopFinder[Any] = StopFinder([MARKS[form]])
        self._whole = ""
        self._passed = 0

    def feed(self, text: str) -> str:
        """What of the text is surely no call."""
        self._whole += text
        if self._form == "json":
            # Only an answer that begins with the object is a call.
            start = self._whole.lstrip()
            return "" if not start or start.startswith(MARKS["json"]) else self._rest()
        passed = self._before.add(text)
        self._passed += len(passed)
        return passed

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """The text that is left, and the calls, as OpenAI writes them."""
        kept = self._whole[self._passed :]
        calls = _read(self._form, kept)
        return ("", calls) if calls else (self._rest(), [])

    def _rest(self) -> str:
        rest = self._whole[self._passed :]
        self._passed = len(self._whole)
        return rest


def _read(form: ToolForm, text: str) -> list[dict[str, Any]]:
    if form == "tag":
        outside = TAGGED.sub("", text).strip()
        found = [] if outside else [_parse(each) for each in TAGGED.findall(text)]
    elif form == "bracket":
        listed = _parse(text.removeprefix(MARKS["bracket"])) if text.startswith(MARKS["bracket"]) else None
        found = listed if isinstance(listed, list) else []
    else:
        found = [_parse(text)]
    calls = [_call(each) for each in found]
    return [call for call in calls if call is not None] if None not in calls else []


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _call(found: Any) -> dict[str, Any] | None:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments", found.get("parameters", {}))
    if not isinstance(arguments, dict):
        return None
    function = {"name": found["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
