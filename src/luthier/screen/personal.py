"""Find personal data in text: e-mail addresses, telephone and card numbers, IBANs, IP addresses.

By form and checksum alone: names and street addresses are not found, and a number that looks like a telephone number counts as
one. Every pattern starts behind a boundary and repeats in bounds, so that the time grows with the text and not with its square.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from luthier.screen.checksums import IBAN_CHARACTERS, is_card_number, is_iban
from luthier.screen.secrets import find_secrets
from luthier.screen.spans import Span, drop_overlaps

# RFC 5321 4.5.3.1: 64 characters before the @; RFC 1035 2.3.4: 63 a label.
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"
EMAIL_BEFORE = re.compile(rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}\Z")
EMAIL_BEHIND = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}\b")
# ITU-T E.164: a plus or 00, then 7 to 15 digits in groups. Without it only the North American form, three, three and four digits
# set apart (NANP: area and exchange start with 2 to 9), since bare digits may be anything.
PHONE = re.compile(
    r"(?<![\w+.-])(?:\+|00)[1-9](?:[ .\-/]?\(?\d\)?){5,13}[ .\-/]?\(?\d(?![\w-]|\.\d)"
    r"|(?<![\w+.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}(?![\w-]|\.\d)"
)
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
# Where one of these two can begin: a search for characters alone is ten times faster than one that looks back at each.
NUMBER_START = re.compile(r"[+(]?\d+")
LEAST_DIGITS = re.compile(r"\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d")
IBAN_START = re.compile(r"[A-Z]{2}\d{2}(?= ?[A-Z0-9])")
IPV4 = re.compile(r"\d\d?\d?\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
IPV6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:")
# RFC 4291 2.4 and IANA: what is handed out. It leaves out `a::b`, which is C++.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

MOST_LOCAL_CHARACTERS = 64
_WORD_OR_DOT = re.compile(r"[\w.]")
KINDS = ("email", "phone", "card", "iban", "ip", "secret")


def find_personal(text: str, kinds: Sequence[str] = KINDS) -> list[Span]:
    """Where the text holds data of these kinds, in order and without overlaps."""
    found: list[Span] = []
    for kind in kinds:
        found += FINDERS[kind](text)
    return drop_overlaps(found)


def _emails(text: str) -> Iterator[Span]:
    """From each @ to both sides, the domain first, since it fails at once where there is none."""
    at, done = text.find("@"), 0
    while at >= 0:
        domain = EMAIL_BEHIND.match(text, at + 1)
        local = EMAIL_BEFORE.search(text, max(done, at - MOST_LOCAL_CHARACTERS - 1), at) if domain else None
        if domain and local:
            yield Span("email", local.start(), domain.end())
            done = domain.end()
        at = text.find("@", at + 1)


def _phones(text: str) -> Iterator[Span]:
    return (Span("phone", *match.span()) for match in _numbers(PHONE, text))


def _cards(text: str) -> Iterator[Span]:
    for match in _numbers(CARD, text):
        if is_card_number(match[0].replace(" ", "").replace("-", "")):
            yield Span("card", *match.span())


def _numbers(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The matches of a pattern that begins where a number does, without overlaps."""
    if not LEAST_DIGITS.search(text):
        return
    done = 0
    for start in NUMBER_START.finditer(text):
        if start.start() < done:
            continue
        # Behind a bracket or a plus, too: either may have nothing to do with the number.
        match = pattern.match(text, start.start()) or (
            pattern.match(text, start.start() + 1) if start[0][0] in "+(" else None
        )
        if match:
            done = match.end()
            yield match


def _ibans(text: str) -> Iterator[Span]:
    """From a country and two digits on, as many letters and digits as its accounts have, in groups or not."""
    for match in IBAN_START.finditer(text):
        missing = IBAN_CHARACTERS.get(match[0][:2], 0) - 4
        if missing < 0 or (match.start() and _is_plain(text[match.start() - 1])):
            continue
        end = match.end()
        while missing and end < len(text):
            end += text[end] == " "
            if end >= len(text) or not _is_plain(text[end]):
                break
            end, missing = end + 1, missing - 1
        is_cut = end < len(text) and (text[end].isalnum() or text[end] == "_")
        if not missing and not is_cut and is_iban(text[match.start() : end].replace(" ", "")):
            yield Span("iban", match.start(), end)


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _addresses(text: str) -> Iterator[Span]:
    """IP addresses of the public network; those of a house or a manual (10.0.0.1, 127.0.0.1, ::1) lead to nobody."""
    for match in IPV4.finditer(text):
        before = text[match.start() - 1 : match.start()]
        address = _address(match[0])
        if address and address.is_global and not _WORD_OR_DOT.match(before):
            yield Span("ip", *match.span())
    if IPV6_HINT.search(text):
        for match in IPV6.finditer(text):
            address = _address(match[0])
            if address and address.is_global and address in GLOBAL_UNICAST:
                yield Span("ip", *match.span())


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


FINDERS = {
    "email": _emails,
    "phone": _phones,
    "card": _cards,
    "iban": _ibans,
    "ip": _addresses,
    "secret": find_secrets,
}
