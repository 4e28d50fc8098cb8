"""Provides a page with the Compare tab alone, with its server side and scripted answers."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page

from pellucid_webui.conversations.storage.blind_reviews import Reviews
from pellucid_webui.routes.compare import CompareRoute
from pellucid_webui.routes.compare_batch import BatchRoute
from support.page.heat_page import asset
from support.page.page_tabs import COLOURS, RECOLOURED, check_widths, serious
from support.page.part_server import served_part

STYLES = (
    "page",
    "heatmap",
    "colours",
    "compare",
    "compare_form",
    "compared_token_card",
    "compare_column",
    "batch",
    "compare_whatif",
)

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Compare</title>
<style>
body {{ margin: 0; padding: 1rem; background: #ffffff; color: #1f2328; font-family: system-ui, sans-serif; }}
body.dark {{ background: #0b0f19; color: #f1f5f9; }}
body {{ --body-text-color: #1f2328; --background-fill-primary: #ffffff; --border-color-primary: #d0d7de; }}
body.dark {{ --body-text-color: #f1f5f9; --background-fill-primary: #101318; --border-color-primary: #343b47; }}
{css}
</style></head><body><main><h1>Compare</h1><div id="pl-compare"></div></main>
<script type="module" src="assets/compare/compare_tab.js"></script></body></html>"""


@dataclass
class ComparePage:
    """The page, the server side that a test sets, and errors."""

    page: Page
    address: str = ""
    view: CompareRoute = field(init=False)
    problems: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    async def open(self, fragment: str = "") -> None:
        """Open the page with the list of models, in a browser without stored values."""
        if self.page.url == "about:blank":
            self.page.on("pageerror", lambda error: self.problems.append(str(error)))
            self.page.on(
                "console", lambda message: self.problems.append(message.text) if message.type == "error" else None
            )
            self.page.on("request", lambda request: self.requested.append(request.url))
        await self.page.set_viewport_size({"width": 1280, "height": 720})
        await self.page.mouse.move(0, 0)
        await self.load(fragment, "sessionStorage.clear(); localStorage.clear()")

    async def load(self, fragment: str = "", first: str = "") -> None:
        """Load or reload the page, with a script to run ``first``."""
        await self.page.goto("about:blank")
        if first:
            await self.page.goto(f"{self.address}assets/package.json")
            await self.page.evaluate(first)
        await self.page.goto(self.address + fragment)
        await self.page.locator(".pl-column-form").nth(1).wait_for()

    def check(self) -> None:
        """Assert that the page reported no errors and made no external requests."""
        assert self.problems == []
        assert [url for url in self.requested if not url.startswith((self.address, "about:", "blob:"))] == []

    async def compare(self) -> None:
        """Press Compare, and wait for the summary."""
        await self.page.get_by_role("button", name="Compare", exact=True).click()
        await self.page.locator(".pl-compare-result[data-done=true]").wait_for()

    @property
    def status(self) -> Locator:
        return self.page.locator(".pl-compare > [role=status]")

    @property
    def card(self) -> Locator:
        return self.page.locator(".pl-compare-card")

    def tokens(self, letter: str) -> Locator:
        return self.page.locator(f".pl-column[data-column={letter}] [role=option]")

    async def marked(self, letter: str, name: str) -> Sequence[int]:
        """Return the numbers of an answer's tokens with a data attribute."""
        cells = self.page.locator(f".pl-column[data-column={letter}] [role=option][data-{name}]")
        found = await cells.evaluate_all("cells => cells.map((cell) => Number(cell.dataset.token))")
        assert isinstance(found, list)
        return found


async def check_part(page: Page) -> None:
    """Assert no serious finding of axe, light and dark, and no part beyond the width."""
    await check_widths(page)
    await page.set_viewport_size({"width": 360, "height": 640})
    found = serious((await Axe().run(page)).response)
    assert not found, ("light", found)
    await page.evaluate("document.body.classList.add('dark')")
    await page.evaluate(RECOLOURED)
    found = serious(await page.evaluate(COLOURS))
    assert not found, ("dark", found)
    await page.evaluate("document.body.classList.remove('dark')")


@contextmanager
def compare_page_of(page: Page) -> Iterator[ComparePage]:
    """Serve the tab for a browser page; each test sets ``view``."""
    compared = ComparePage(page)

    def compare(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        return compared.view.act(owner, asked)

    def batch(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        return BatchRoute(compared.view.assistant_for, Reviews(Path(os.devnull)), compared.view.batches).act(
            owner, asked
        )

    css = "\n".join(asset(f"{name}.css") for name in STYLES)
    with served_part(HTML.format(css=css), {"compare": compare, "compare/batch": batch}) as server:
        compared.address = server.address
        yield compared
