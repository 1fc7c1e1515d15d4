"""The names that dialects give to speakers and fields: what a check goes by to see a row's shape before anything reads it."""

from collections.abc import Mapping

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Those of OpenAI's form, which is the one that training reads."""
CALL = "call"
"""A turn that calls a tool, where calls are turns of their own."""
ROLE_OF: Mapping[str, str] = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "bot": "assistant", "model": "assistant", "ai": "assistant", "claude": "assistant",
    "system": "system", "developer": "developer",
    "function_call": CALL, "tool_call": CALL,
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
SPEAKERS = ("from", "role")
SAID = ("value", "content", "text")
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")

CONVERSATIONS = ("conversations", "conversation", "items", "messages")
"""ShareGPT's list of turns and its variants."""
INPUTS = ("input", "context")
OUTPUTS = ("output", "response", "completion", "answer")
"""Alpaca's, Dolly's and gpteacher's, beside `instruction`."""
QUESTIONS = ("question", "query", "input")
ANSWERS = ("answer", "response", "target", "output")
