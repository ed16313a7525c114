"""Takes the pictures that the README shows; a walk is the same without."""

from io import BytesIO
import os
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import FloatRect, Locator

from .browser import View

FOLDER: Final = os.environ.get("PICTURES")
"""Where the pictures go; without it, none are taken."""

# Pixels: a window is shown in full.
_TALL: Final = 1600
_MARGIN: Final = 16
# A page needs no more than this.
_PAGE: Final = 820


class Camera:
    """Takes pictures of what is on a page."""

    def __init__(self, view: View, *, closed: bool = False) -> None:
        """Name all pictures after the language; a phone takes none."""
        self._closed = closed or view.phone
        self._suffix = f".{view.language}.png"

    def shoot(self, name: str, what: Locator) -> None:
        """Take a picture of a window, and a little of what is around it."""
        self._shoot(name, what, _TALL, _MARGIN)

    def shoot_page(self, name: str, what: Locator) -> None:
        """Take a picture of a page."""
        self._shoot(name, what, _PAGE, 0)

    def _shoot(self, name: str, what: Locator, height: int, margin: int) -> None:
        if FOLDER is None or self._closed:
            return
        page = what.page
        before = page.viewport_size
        assert before is not None
        page.set_viewport_size({"width": before["width"], "height": height})
        # Whatever has the focus is not what the picture is of.
        page.evaluate("document.activeElement?.blur()")
        page.wait_for_timeout(500)
        seen = page.screenshot(clip=_clip(what, margin))
        page.set_viewport_size(before)
        _store(seen, Path(FOLDER) / f"{name}{self._suffix}")


def _clip(what: Locator, margin: int) -> FloatRect:
    """Return the part of the page that shows it."""
    box = what.bounding_box()
    size = what.page.viewport_size
    assert box is not None
    assert size is not None
    left = max(0, round(box["x"]) - margin)
    top = max(0, round(box["y"]) - margin)
    right = min(size["width"], round(box["x"] + box["width"]) + margin)
    bottom = min(size["height"], round(box["y"] + box["height"]) + margin)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _store(picture: bytes, path: Path) -> None:
    """Store a picture with few colours: text needs no more."""
    with Image.open(BytesIO(picture)) as seen:
        few = seen.convert("RGB").quantize(
            64, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    few.save(path, optimize=True)


def colours(picture: bytes) -> int:
    """Return how many colours a picture has; one that shows nothing has few."""
    with Image.open(BytesIO(picture)) as seen:
        found = seen.convert("RGB").getcolors(maxcolors=seen.width * seen.height)
    assert found is not None
    return len(found)
