"""Debian's Chromium, driven by Playwright: one for the whole session, a fresh profile for each visitor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

from tests.node.tools import node_tools
from tests.project.tree import ROOT

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
]  # fmt: skip
ARTIFACTS = ROOT / "test-artifacts" / "console"
"""Where pictures of the pages are kept; not part of the repository."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
TIMEOUT = 30_000
"""Milliseconds that a browser is waited for."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser."""
    program = shutil.which("chromium")
    assert program is not None, "these tests need Debian's chromium (tools/system_packages.sh)"
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Window:
    """A page in a profile of its own, which remembers all that went wrong in it.

    Attributes:
        page: Playwright's page.
        complaints: what the browser has complained about: scripts, the content security policy, failed requests.
    """

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.address = address
        options = {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"} | options
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(TIMEOUT)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._refuse)

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        """Close the window, and forget its profile."""
        self.context.close()

    def open(self, path: str) -> Page:
        """Go to a page of the console."""
        self.page.goto(f"{self.address}/console{path}")
        return self.page

    def sign_in(self, token: str) -> Page:
        """Sign in with an API token."""
        self.open("/login")
        self.page.fill("#token", token)
        self.page.click("main button[type=submit]")
        self.page.wait_for_url(f"{self.address}/console/")
        return self.page

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True, animations="disabled")


class Axe:
    """Finds what people with a screen reader, a keyboard or weak eyes would stumble over."""

    def __init__(self) -> None:
        self._source = (node_tools().modules / "axe-core" / "axe.min.js").read_text("utf-8")

    def findings(self, page: Page, rules: list[str]) -> list[str]:
        """What is wrong with a page by rules of these tags: rule and place."""
        page.evaluate(self._source)
        options = json.dumps({"runOnly": {"type": "tag", "values": rules}, "resultTypes": ["violations"]})
        found: dict[str, Any] = page.evaluate(f"axe.run(document, {options})")
        return [
            f"{rule['id']}: {node['target'][0]}: {node.get('failureSummary', '')[:200]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]
