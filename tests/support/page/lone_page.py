"""Provides a browser page for all tests of a module, and checks the looks of a part alone.

A new page costs ten times as much as a second part in the same page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from support.page.page_fixtures import SECONDS, new_context
from support.page.page_tabs import COLOURS, RECOLOURED, check_widths, serious


@pytest.fixture(scope="module")
async def lone_page(chromium: Browser) -> AsyncIterator[Page]:
    """Provide a page for the whole module; each test has to replace the state of earlier tests."""
    context = await new_context(chromium)
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    yield page
    await context.close()


async def check_part(page: Page) -> None:
    """Assert that axe finds nothing serious, light and dark, and that all parts fit the width."""
    await check_widths(page)
    await page.set_viewport_size({"width": 360, "height": 640})
    found = serious((await Axe().run(page)).response)
    assert not found, ("light", found)
    await page.evaluate("document.body.classList.add('dark')")
    await page.evaluate(RECOLOURED)
    found = serious(await page.evaluate(COLOURS))
    assert not found, ("dark", found)
    await page.evaluate("document.body.classList.remove('dark')")
