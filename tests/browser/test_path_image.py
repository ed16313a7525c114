"""Forwards' pictures in a browser: whatever the font, each text has its place."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from typing import Final

from playwright.sync_api import Page, sync_playwright
import pytest

from custom_components.bypass_router.path_image.model import model_of
from custom_components.bypass_router.path_image.svg import draw
from tests.path_situations import LONG, WEB, situations
from tests.test_translations import LANGUAGES

from .browser import PROGRAM

pytestmark = pytest.mark.browser

# What stands for all fonts there are: narrow ones, the widest, and those with letters
# of one width; and bold ones where the picture asks for none.
FONTS: Final = {
    "the browser's own": "font-family: sans-serif",
    "none of the picture's own": "",
    "DejaVu Sans Bold": "font-family: 'DejaVu Sans'; font-weight: 700",
    "DejaVu Sans Mono Bold": "font-family: 'DejaVu Sans Mono'; font-weight: 700",
    "Noto Sans CJK JP": "font-family: 'Noto Sans CJK JP'; font-weight: 700",
    "Noto Sans CJK SC": "font-family: 'Noto Sans CJK SC'",
    "Noto Sans Mono CJK SC": "font-family: 'Noto Sans Mono CJK SC'",
    "DejaVu Serif": "font-family: 'DejaVu Serif'; font-weight: 700",
}
NAMES: Final = (
    "Web",
    "庭の監視カメラ（果樹園の一番奥にある古い納屋の二階の北側の窓）とその予備の機械、そして門",
    "W" * 63,
    "Game server in the children's room upstairs, beside the window",
    "Камера ЩЖШ Ёлка; Überwachung Ærø 😀😀😀 ①②③ ―… ไทย العربية",
)

# A text's place is the frame that it stands in: the last one before it that holds its
# middle, or else the whole picture between the margins.
_FAULTS: Final = """
() => [...document.querySelectorAll("svg")].flatMap((svg, number) => {
  const place = (element) => {
    const {x, y, width, height} = element.getBoundingClientRect();
    return {left: x, top: y, right: x + width, bottom: y + height};
  };
  const whole = place(svg);
  const frames = [...svg.querySelectorAll("rect")].map(place);
  const discs = [...svg.querySelectorAll("circle")].map(place);
  const apart = (a, b) =>
    a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  const texts = [...svg.querySelectorAll("text")].map((element) => {
    // What is drawn of a font's letters is lower than the room that it asks for.
    const box = place(element);
    const size = parseFloat(getComputedStyle(element).fontSize);
    const line = whole.top + element.getCTM().f + parseFloat(element.getAttribute("y"));
    return {...box, top: line - 0.8 * size, bottom: line + 0.24 * size, element};
  });
  const said = (text) => `${number}: ${text.element.textContent}`;
  return texts.flatMap((text, index) => {
    const middle = (text.top + text.bottom) / 2;
    const frame = frames.findLast(({top, bottom}) => top < middle && middle < bottom);
    const faults = [];
    if (text.left < whole.left + 20 || text.right > whole.right - 30) {
      faults.push(`${said(text)}: too wide by ${text.right - whole.right + 30}`);
    }
    if (text.top < frame.top || text.bottom > frame.bottom) {
      faults.push(`${said(text)}: too high`);
    }
    for (const other of texts.slice(index + 1)) {
      if (!apart(text, other)) faults.push(`${said(text)}: runs into ${said(other)}`);
    }
    for (const disc of discs) {
      if (!apart(text, disc)) faults.push(`${said(text)}: runs into a sign`);
    }
    return faults;
  });
})
"""


@pytest.fixture(scope="module")
def shown() -> Iterator[Callable[[str, str], list[str]]]:
    """Show pictures, each in all languages, in a font; return what is out of place."""
    with ThreadPoolExecutor(1) as thread:
        # Playwright wants a thread without a loop of events, and always the same one.
        closing = ExitStack()
        page = thread.submit(_page, closing).result()

        def faults(pictures: str, font: str) -> list[str]:
            return thread.submit(_faults, page, pictures, font).result()

        yield faults
        thread.submit(closing.close).result()


def _page(closing: ExitStack) -> Page:
    """Open an empty page."""
    playwright = closing.enter_context(sync_playwright())
    chromium = playwright.chromium.launch(
        executable_path=PROGRAM, args=["--no-sandbox"]
    )
    closing.callback(chromium.close)
    return chromium.new_page(viewport={"width": 1700, "height": 1000})


def _faults(page: Page, pictures: str, font: str) -> list[str]:
    """Return what is out of place."""
    style = f"svg {{ display: block }} svg, svg text {{ {font} }}"
    page.set_content(f"<!doctype html><style>{style}</style>{pictures}")
    found: list[str] = page.evaluate(_FAULTS)
    return found


def pictures() -> str:
    """Return all kinds of pictures, in each language, with long and short names."""
    known = [each for language in LANGUAGES for each in situations(language)]
    named = [
        replace(each, title=name, forward=forward)
        for each, name, forward in zip(known, cycle(NAMES), cycle((WEB, LONG)))
    ]
    named += [replace(known[0], title=name) for name in NAMES]
    return "".join(draw(model_of(each)) for each in named)


@pytest.mark.parametrize("font", FONTS)
def test_no_text_leaves_its_frame_or_runs_into_another(
    shown: Callable[[str, str], list[str]], font: str
) -> None:
    """In whatever font, whatever is the matter, in each language."""
    assert shown(pictures(), FONTS[font]) == []


def test_text_that_is_out_of_place_would_be_seen(
    shown: Callable[[str, str], list[str]],
) -> None:
    """Letters twice as wide are cut off at the edge, and no usual font has any."""
    found = shown(pictures(), "font-size: 30px")
    for fault in ("too wide", "too high", "runs into"):
        assert any(fault in each for each in found)
