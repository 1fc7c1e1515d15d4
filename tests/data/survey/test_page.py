"""The page in a real browser: it renders, its scripts run without a word, and what rows say stays text."""

import json
import re
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from luthier.data.survey.page import differing, make_page
from luthier.data.survey.script_json import SPELT
from luthier.reports.survey import LikePair
from tests.browser import Tab, tab
from tests.data.survey.surveying import HOSTILE, hostile_rows, surveyed

EVIL_NAME = "<img src=x onerror=alert(1)>.jsonl"


@pytest.fixture(scope="module")
def page(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about rows that attack it."""
    folder = tmp_path_factory.mktemp("page")
    found = surveyed(tiny_base, folder, hostile_rows(), name=EVIL_NAME)
    attacks = [
        LikePair(kind=text, likeness=text, row=text, text=text, other=text, other_text=text[::-1])
        for text in HOSTILE
    ]
    found = found.model_copy(
        update={
            "title": HOSTILE[0],
            "repeats": found.repeats.model_copy(update={"pairs": attacks, "found": len(attacks)}),
            "leaks": found.leaks.model_copy(update={"told": HOSTILE[1]}),
        }
    )
    path = folder / "page.html"
    path.write_text(make_page(found, version="1", command=HOSTILE[2]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Tab]:
    """The page, opened."""
    with tab() as opened:
        opened.look(width=1100, height=900, scheme="light")
        opened.open(page)
        yield opened


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_in_the_file_loads_runs_or_styles_but_what_is_its_own(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    tags = [tag for tag, _ in elements]
    assert (tags.count("script"), tags.count("style")) == (2, 1)
    assert not {"img", "iframe", "object", "embed", "link", "base", "audio", "video"} & set(tags)
    attributes = {name for _, attrs in elements for name in attrs}
    assert not {
        name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset", "action")
    }
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in elements)
    policy = next(attrs["content"] for tag, attrs in elements if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not set(text) & {chr(code) for code in SPELT}, "no sign of the rows hides or turns text around"


def test_the_numbers_are_there_without_a_script(page: Path) -> None:
    headings = re.findall(r"<h2 [^>]*>([^<]+)</h2>", page.read_text(encoding="utf-8"))
    assert len(headings) == 9
    assert "How long rows are" in headings


@pytest.mark.slow
def test_the_page_renders_without_a_complaint_and_asks_for_nothing(browser: Tab, page: Path) -> None:
    assert browser.value("document.documentElement.dataset.ready") == str(len(hostile_rows()))
    assert browser.complaints == []
    assert browser.asked == [page.resolve().as_uri()]
    assert browser.value("document.title").startswith(HOSTILE[0]), "no script changed the title"
    assert browser.value("document.querySelectorAll('main section').length") == 9
    assert browser.value("document.querySelectorAll('img, main svg [onload], #row *:not(span)').length") == 0
    assert EVIL_NAME in browser.value("document.getElementById('sources').textContent")


@pytest.mark.slow
def test_every_hostile_row_is_shown_as_it_is(browser: Tab) -> None:
    shown = []
    browser.value("document.activeElement.blur()")
    for _ in range(len(hostile_rows())):
        shown.append(browser.value("document.getElementById('row').textContent"))
        browser.press("j")
    for text in HOSTILE:
        spelt = text.translate(SPELT | {0x2028: "\u2028", 0x2029: "\u2029"})
        assert any(spelt in each for each in shown), text
    assert browser.complaints == []
    for _ in shown:
        browser.press("ArrowLeft")
    assert browser.value("document.getElementById('place').textContent") == f"1 of {len(shown)}"


@pytest.mark.slow
def test_the_trained_tokens_are_marked_and_rows_are_found(browser: Tab) -> None:
    browser.press("/")
    browser.type('onerror="document')
    assert (
        browser.value("document.getElementById('place').textContent")
        == f"1 of 2 found among {len(hostile_rows())}"
    )
    marked = "[...document.querySelectorAll('#row .t')].map((each) => each.textContent).join('')"
    texts = [browser.value(marked)]
    browser.value("document.getElementById('after').click()")
    texts.append(browser.value(marked))
    assert f"{HOSTILE[0]}<|endoftext|>" in texts
    assert "yes<|endoftext|>" in texts
    browser.value("document.getElementById('find').focus()")
    browser.type("nowhere at all")
    assert browser.value("document.getElementById('place').textContent") == "no row has it"
    browser.press("Escape")
    browser.press("e")
    assert browser.value("document.getElementById('row').classList.contains('edges')") is True
    assert browser.complaints == []


def light_of(png: bytes) -> float:
    """The mean of the bytes of a PNG's first rows, from 0 to 255: the filters are undone as far as that needs."""
    content, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            content += png[at + 8 : at + 8 + length]
        at += 12 + length
    pixels = zlib.decompress(content)[1:]
    return sum(pixels[:3]) / 3  # the first pixel stands in for the paper: no filter changes it


@pytest.mark.slow
def test_it_is_light_or_dark_as_the_person_prefers_and_the_button_says_otherwise(browser: Tab) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.value("scrollTo(0, 0)")
    seen = {}
    for scheme in ("light", "dark"):
        browser.look(width=1100, height=900, scheme=scheme)
        browser.value("scrollTo(0, 0)")
        seen[scheme] = browser.value(paper)
        light = light_of(browser.screenshot())
        assert light > 200 if scheme == "light" else light < 60
    browser.value("document.getElementById('theme').click()")
    assert browser.value(paper) == seen["light"]
    browser.value("document.getElementById('theme').click()")
    assert browser.value(paper) == seen["dark"]


CONTRAST = """(() => {
  const light = (text) => { const parts = text.match(/[\\d.]+/g).map(Number);
    const linear = parts.slice(0, 3).map((each) => each / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]; };
  const paper = (node) => { for (; node; node = node.parentElement) { const colour = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$|transparent|color\\(/.test(colour)) return colour; } return "rgb(255, 255, 255)"; };
  const bad = [];
  for (const node of document.querySelectorAll("p, th, td, h1, h2, h3, a, dt, dd, summary, button, span, mark, code, figcaption")) {
    if (!node.textContent.trim() || node.closest(".sign, [hidden], .sr, .skip") || node.disabled) continue;
    const [one, two] = [light(getComputedStyle(node).color), light(paper(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.className} ${node.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return bad; })()"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_enough_to_be_read(browser: Tab, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    browser.value("delete document.documentElement.dataset.theme")
    browser.look(width=1100, height=900, scheme=scheme)
    assert browser.value(CONTRAST) == []


@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(browser: Tab) -> None:
    browser.look(width=360, height=740, scheme="light")
    assert browser.value("document.documentElement.scrollWidth") <= 360
    browser.look(width=1100, height=900, scheme="light")


def test_two_texts_are_shown_with_what_differs() -> None:
    pair = LikePair(
        kind="near", likeness="", row="a:1", text="one two, three", other="b:1", other_text="one 2, three"
    )
    left, right = differing(pair)
    assert left == [("one ", False), ("two", True), (", three", False)]
    assert [text for text, differs in right if differs] == ["2"]


def test_the_rows_are_json_that_cannot_end_its_element(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert not set("<>&") & set(data)
    assert len(json.loads(data)) == len(hostile_rows())
