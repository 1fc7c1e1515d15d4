"""Keep secrets out of what is shown or written: what looks like a token of a known service, and what the environment calls one."""

import os
import re

# The prefixes that Hugging Face, OpenAI and its kin, GitHub and GitLab give their tokens, so that scanners find them.
TOKEN = re.compile(r"\b(hf_|sk-|gh[opsur]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}")
SECRET_ENDINGS = ("TOKEN", "API_KEY", "ACCESS_KEY", "SECRET", "PASSWORD")
# A shorter value would take innocent words out of a message, and is no secret.
LEAST_CHARACTERS = 8


def hide_secrets(text: str) -> str:
    """The text with every token cut down to its prefix, and the value of `HF_TOKEN` and the like written as `$HF_TOKEN`."""
    for name, value in os.environ.items():
        if name.upper().endswith(SECRET_ENDINGS) and len(value) >= LEAST_CHARACTERS:
            text = text.replace(value, f"${name}")
    return TOKEN.sub(r"\1***", text)
