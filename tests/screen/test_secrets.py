"""Keys and tokens are found by the forms that services publish; the samples are put together here, so that no scanner trips on them."""

import pytest

from luthier.screen.secrets import SECRETS, find_secrets

ALPHABET = "abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123456789abcdefghij"
SAMPLES = {
    "Hugging Face": "hf_" + ALPHABET[:34],
    "OpenAI, Anthropic and others": "sk-" + "proj-" + ALPHABET[:40],
    "Stripe": "sk_" + "live_" + ALPHABET[:24],
    "AWS access key": "AKIA" + "IOSFODNN7" + "EXAMPLE",
    "Google": "AIza" + ALPHABET[:35],
    "GitHub": "ghp_" + ALPHABET[:36],
    "GitLab": "glpat-" + ALPHABET[:20],
    "Slack": "xoxb-" + "123456789012-" + ALPHABET[:24],
    "npm": "npm_" + ALPHABET[:36],
    "PyPI": "pypi-" + "AgE" + ALPHABET[:60],
    "SendGrid": "SG." + ALPHABET[:22] + "." + ALPHABET[:43],
    "JSON web token": "eyJ" + ALPHABET[:17] + ".eyJ" + ALPHABET[:20] + "." + ALPHABET[:43],
}
KEY = "-----BEGIN {0}-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQ==\n-----END {0}-----"


def found(text: str) -> list[str]:
    return [text[span.start : span.end] for span in find_secrets(text)]


def test_every_service_has_a_sample() -> None:
    assert SAMPLES.keys() == SECRETS.keys()


@pytest.mark.parametrize("secret", SAMPLES.values(), ids=list(SAMPLES))
def test_a_token_is_found_whole_wherever_it_stands(secret: str) -> None:
    for text in (
        secret,
        f"export TOKEN={secret}",
        f'"{secret}"',
        f"key: {secret}, and more",
        f"\n{secret}\n",
    ):
        assert found(text) == [secret]


@pytest.mark.parametrize(
    "kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
def test_a_private_key_is_found_from_its_first_line_to_its_last(kind: str) -> None:
    key = KEY.format(kind)
    assert found(f"before {key} after {key}") == [key, key]


def test_a_private_key_that_is_cut_off_counts_to_the_end() -> None:
    cut = KEY.format("PRIVATE KEY")[:-10]
    assert found("text " + cut) == [cut]


@pytest.mark.parametrize(
    "text",
    ["sk-learn", "hf_hub", "a task-oriented-dialogue-system-paper", "AKIA", "ghp_short", KEY.format("PUBLIC KEY"), "xoxo-hugs", "eyJ.eyJ.x"],
)  # fmt: skip
def test_what_is_no_secret_is_left(text: str) -> None:
    assert found(text) == []
