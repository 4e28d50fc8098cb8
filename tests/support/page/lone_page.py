"""Provides a browser page for all tests of a module that shows a part of the page alone.

A new page costs ten times as much as a second part in the same page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from support.page.page_fixtures import SECONDS, new_context


@pytest.fixture(scope="module")
async def lone_page(chromium: Browser) -> AsyncIterator[Page]:
    """Provide a page for the whole module; each test has to replace the state of earlier tests."""
    context = await new_context(chromium)
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    yield page
    await context.close()
