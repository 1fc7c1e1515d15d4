"""Find a name, or the names nearest to a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], *, at_most: int = 1) -> list[str]:
    """The known names most like `name`, best first; none if nothing is alike.

    A dotted name is compared whole and by its last part, since a right key in the wrong section is the commonest slip.
    """
    names = sorted(set(known))
    found = get_close_matches(name, names, n=at_most, cutoff=0.6)
    if len(found) < at_most:
        last = name.rsplit(".", 1)[-1]
        by_last = {known_name.rsplit(".", 1)[-1]: known_name for known_name in reversed(names)}
        matches = get_close_matches(last, by_last, n=at_most, cutoff=0.7)
        found += [by_last[match] for match in matches if by_last[match] not in found]
    return found[:at_most]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing if no known name is alike."""
    found = nearest(name, known)
    return f"; did you mean {found[0]}?" if found else ""
