"""Chromium on a machine of the lab, and what it complains of."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
import json
from pathlib import Path
import re
from types import TracebackType
from typing import Final, Self

from playwright.sync_api import (
    Browser as Chromium,
    ConsoleMessage,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from tests.lab.node import Node
from tests.lab.waiting import LIMIT
from tests.live.client import LOOPBACK
from tests.live.instance import DOMAIN, PORT

PROGRAM: Final = "/usr/bin/chromium"
URL: Final = f"http://{LOOPBACK}:{PORT}"

# Milliseconds, for whatever is waited for.
_PATIENCE: Final = LIMIT * 1000
# Home Assistant fetches the icons of other integrations from the internet, which is
# not there; and while it tries for half a minute, Chromium gets nothing else from it.
_OTHERS_ICONS: Final = re.compile(rf"/api/brands/(?!integration/{DOMAIN}/)")
# Long lists say this when they are taken off the page before they were drawn.
_NOT_OURS: Final = ("exception: disconnected",)
_NO_ICON: Final = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@dataclass(frozen=True)
class View:
    """What a person looks at Home Assistant with."""

    language: str
    width: int
    height: int
    phone: bool = False


class Browser:
    """One Chromium for many visits, and the thread that alone may talk to it."""

    def __init__(self, node: Node) -> None:
        """Start it on this machine."""
        self._closing = ExitStack()
        self._thread = ThreadPoolExecutor(1, "browser")
        self._chromium: Final = self._thread.submit(self._launch, node).result()

    def _launch(self, node: Node) -> Chromium:
        """Start it: all that is started from a thread is in that thread's network."""
        expect.set_options(timeout=_PATIENCE)
        with node.enter():
            playwright = self._closing.enter_context(sync_playwright())
            # Its sandbox is not for root. It sees nothing but our own pages.
            return playwright.chromium.launch(
                executable_path=PROGRAM, args=["--no-sandbox"]
            )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        self._chromium.close()
        self._closing.close()

    def visit(
        self, view: View, token: str, walk: Callable[[Page], None], failed: Path
    ) -> list[str]:
        """Let someone walk who is signed in; return what the browser complained of.

        If the walk raises, what was to be seen then is stored as the picture `failed`.
        """
        return self._thread.submit(self._visit, view, token, walk, failed).result()

    def _visit(
        self, view: View, token: str, walk: Callable[[Page], None], failed: Path
    ) -> list[str]:
        complaints: list[str] = []
        with self._chromium.new_context(
            viewport={"width": view.width, "height": view.height},
            is_mobile=view.phone,
            has_touch=view.phone,
            locale=view.language,
            timezone_id="UTC",
            reduced_motion="reduce",
            service_workers="block",
        ) as context:
            context.set_default_timeout(_PATIENCE)
            context.add_init_script(_signed_in(token, view.language))
            context.route(_OTHERS_ICONS, _answer_without_icon)
            page = context.new_page()
            _listen(page, complaints)
            try:
                walk(page)
            except BaseException as err:
                failed.write_bytes(page.screenshot())
                err.add_note(f"What was to be seen: {failed}")
                for complaint in complaints:
                    err.add_note(f"The browser complained: {complaint}")
                raise
            # What comes of closing the page concerns no one.
            return [each for each in complaints if each not in _NOT_OURS]


def _signed_in(token: str, language: str) -> str:
    """Return a script by which the frontend knows who it is, and in what language."""
    tokens = {
        "access_token": token,
        "token_type": "Bearer",
        "refresh_token": "",
        "expires_in": 10**7,
        "expires": 4 * 10**12,
        "hassUrl": URL,
        "clientId": f"{URL}/",
    }
    items = {"hassTokens": tokens, "selectedLanguage": language}
    return "".join(
        f"localStorage[{json.dumps(name)}] = {json.dumps(json.dumps(value))};"
        for name, value in items.items()
    )


def _answer_without_icon(route: Route) -> None:
    route.fulfill(content_type="image/svg+xml", body=_NO_ICON)


def _listen(page: Page, complaints: list[str]) -> None:
    """Write down errors in the console, exceptions, and requests that failed."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} ({message.location['url']})")

    def on_failed(request: Request) -> None:
        # The browser itself gives up what a page that was left had asked for.
        if request.failure != "net::ERR_ABORTED":
            complaints.append(f"{request.failure}: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    page.on("requestfailed", on_failed)
