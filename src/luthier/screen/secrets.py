"""Find keys and tokens in text, by the prefixes that services give them so that scanners can.

A password has no form and is not found. The forms are those that the services publish, with the length a little open, since they
lengthen their tokens from time to time.
"""

import re
from collections.abc import Iterator

from luthier.screen.spans import Span

SECRETS: dict[str, str] = {
    "Hugging Face": r"hf_[A-Za-z0-9]{20,}",
    "OpenAI, Anthropic and others": r"sk-[A-Za-z0-9_-]{16,}",
    "Stripe": r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "AWS access key": r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    "Google": r"AIza[A-Za-z0-9_-]{35}",
    "GitHub": r"(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "GitLab": r"glpat-[A-Za-z0-9_-]{16,}",
    "Slack": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "npm": r"npm_[A-Za-z0-9]{30,}",
    "PyPI": r"pypi-AgE[A-Za-z0-9_-]{30,}",
    "SendGrid": r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}",
    "JSON web token": r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
}
_TOKEN = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(SECRETS.values())})")
# A look for each of these takes a tenth of the time of the pattern, and most texts hold none.
_HINTS = (
    "hf_", "sk-", "k_live_", "k_test_", "AKIA", "ASIA", "AIza", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "glpat-", "xox",
    "npm_", "pypi-AgE", "SG.", "eyJ",
)  # fmt: skip
# RFC 7468: a private key of any sort between its two lines.
_KEY_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----")


def find_secrets(text: str) -> Iterator[Span]:
    """Where the text holds a key or a token of a known service, or a private key; one without its end line counts to the end."""
    if any(hint in text for hint in _HINTS):
        for match in _TOKEN.finditer(text):
            yield Span("secret", *match.span())
    done = 0
    for match in _KEY_BEGIN.finditer(text):
        if match.start() < done:
            continue
        end_line = f"-----END {match[1]}-----"
        end = text.find(end_line, match.end())
        done = len(text) if end < 0 else end + len(end_line)
        yield Span("secret", match.start(), done)
