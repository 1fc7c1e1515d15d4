"""JSON for a script element: whatever texts it holds, no sign in it can end the element, hide, or turn text around."""

import json
from typing import Any

# Signs that turn the direction of text around, or cannot be seen; spelt out, so that a text cannot look like another.
_HIDDEN = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
]
SPELT = {code: f"\\u{code:04x}" for code in _HIDDEN if chr(code) not in "\n\t"}
_ESCAPED = SPELT | {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def script_json(value: Any) -> str:
    """The value as JSON, in which `<`, `>`, `&` and hidden signs are escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)
