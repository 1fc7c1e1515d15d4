"""Make text that people wrote for a page readable for a small model: joined lines, no markup, no front matter.

Knows strings only. Every function gives back text whose paragraphs are parted by one blank line.
"""

import re

WRAP_CHARS = 110  # lines of a hard-wrapped file are shorter than this; paragraphs on one line are not
PARAGRAPH_CHARS = (
    200  # title pages, tables of contents and dedications have no paragraph this long before the story
)
LETTERS_MIN = 0.72  # share of letters and spaces in a block of prose; code, tables and rules have less

ROLE = re.compile(r":[a-z][a-z:+-]*:`~?!?([^`<]+?)(?:\s*<[^`>]*>)?`")
LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
HYPERLINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_+")
SPACES = re.compile(r"[ \t\u00a0]{2,}")
GLUED_SENTENCES = re.compile(r"(?<=[a-z)\]][.!?])(?=[A-Z][a-z])")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\ufeff]")
MOJIBAKE = re.compile("\ufffd|â€|Ã[\u0080-\u00bf]|Â[\u0080-\u00bf]")


def is_broken(text: str) -> bool:
    """True where bytes were decoded with the wrong table: the row cannot be mended, so it is dropped."""
    return MOJIBAKE.search(text) is not None


def clean_novel(text: str) -> str:
    """A novel from its first real paragraph on, one line a paragraph, single spaces."""
    paragraphs = [SPACES.sub(" ", p).strip() for p in unwrap(tidy(text))]
    first = next((i for i, p in enumerate(paragraphs) if len(p) >= PARAGRAPH_CHARS), 0)
    return "\n\n".join(p for p in paragraphs[first:] if p)


def clean_manual(text: str) -> str:
    """The prose of a technical page: no directives, roles, links, navigation, tables; short code survives."""
    lines = [
        line
        for line in tidy(text).split("\n")
        if not line.lstrip().startswith((".. ", "|", "+--", "---", "==="))
    ]
    text = LINK.sub(r"\1", HYPERLINK.sub(r"\1", ROLE.sub(r"\1", "\n".join(lines))))
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", text)]
    return "\n\n".join(block for block in blocks if is_prose(block))


def clean_article(text: str) -> str:
    """Modern running text: tidy, and sentences that lost the paragraph break between them get it back."""
    return GLUED_SENTENCES.sub("\n\n", SPACES.sub(" ", tidy(text))).strip()


def tidy(text: str) -> str:
    """Unix line ends, no control characters, no trailing spaces."""
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(line.rstrip() for line in text.split("\n"))


def is_prose(block: str) -> bool:
    """True for a block of mostly letters that is no lone navigation line."""
    if len(block) < 20:
        return False
    kept = sum(char.isalpha() or char == " " for char in block)
    return kept / len(block) >= LETTERS_MIN


def unwrap(text: str) -> list[str]:
    """The paragraphs of a text, hard-wrapped lines joined; verse and short dialogue lines stay apart."""
    lines = text.split("\n")
    filled = sorted(len(line) for line in lines if line.strip())
    if not filled:
        return []
    width, median = filled[int(len(filled) * 0.9)], filled[len(filled) // 2]
    if width > WRAP_CHARS or median < 45:
        return [line.strip() for line in lines]
    paragraphs: list[str] = []
    joining = False
    for line in lines:
        if joining and line.strip():
            paragraphs[-1] += " " + line.strip()
        else:
            paragraphs.append(line.strip())
        # A line well short of the width ends its paragraph; so does an empty one.
        joining = len(line) > 0.75 * width
    return paragraphs
