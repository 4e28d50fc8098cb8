"""Tests a standalone page with a separate server, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import PageServer, StandalonePage, watched

pytestmark = pytest.mark.model


@pytest.fixture
def alone(page_server: PageServer, tmp_path: Path) -> Iterator[str]:
    """Start a standalone page, and return the address."""
    page = StandalonePage(tmp_path, page_server.address)
    page.start()
    yield page.address
    page.stop()


async def test_every_tab(alone: str, browser_page: Page) -> None:
    """A standalone page chats, reads and fills in like the server's own page."""
    tab = watched(browser_page, alone)
    await tab.open()
    await tab.send("Say yes and nothing else.")
    await tab.answered(2)
    await browser_page.locator(".pl-assistant .pl-tokens-button").click()
    await browser_page.locator(".pl-assistant .pl-token").first.wait_for()

    await tab.tab("Read")
    await browser_page.locator("#pl-read-go").click()
    await expect(browser_page.locator("#pl-reading .pl-figures")).to_contain_text("Perplexity")

    await tab.tab("Infill")
    await browser_page.get_by_role("button", name="Complete at the cursor").click()
    await expect(browser_page.locator("#pl-infill .pl-table").first).to_contain_text("threshold")
    assert tab.elsewhere == []
    assert tab.problems == []
