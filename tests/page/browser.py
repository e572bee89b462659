"""A real browser: the system's Chromium, driven by Playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")

needs_chromium = pytest.mark.skipif(
    not CHROMIUM,
    reason="no Chromium is here (Debian's package chromium-headless-shell has it): the page is not tried in it",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, as long as the block lasts."""
    # Its sandbox is not for root, and a container's /dev/shm may be small.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Watched:
    """A tab, and what should not be there: messages on its console, errors of scripts, requests to elsewhere."""

    def __init__(self, browser: Browser, own: str, **options: Any) -> None:
        self.amiss: list[str] = []
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.amiss.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.amiss.append(f"error: {error}"))
        self.page.on("request", lambda request: None if request.url.startswith(own) else self._elsewhere(request.url))

    def _elsewhere(self, url: str) -> None:
        self.amiss.append(f"elsewhere: {url}")
