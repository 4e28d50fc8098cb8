"""Fixtures of the page's tests: a tab over scripted models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from support.page.page_fixtures import PageServer, StandalonePage, Tab, watched
from support.page.small_page_server import PagedServer
from support.page.storyteller import Storyteller, story_page


@pytest.fixture(scope="module")
def teller() -> Storyteller:
    return Storyteller()


@pytest.fixture(scope="module")
def story_server(tmp_path_factory: pytest.TempPathFactory, teller: Storyteller) -> Iterator[PagedServer]:
    """Serve the page over a module's scripted models."""
    with story_page(tmp_path_factory.mktemp("story"), teller) as server:
        yield server


@pytest.fixture
async def tab(story_server: PagedServer, teller: Storyteller, browser_page: Page) -> Tab:
    """Open the page over the scripted models, in a tab with empty storage."""
    teller.reset()
    tab = watched(browser_page, story_server.server.url)
    await tab.open()
    return tab


@pytest.fixture
def mortal(tmp_path: Path, story_server: PagedServer) -> Iterator[PageServer]:
    """Provide a page in a process that may be killed, without a grace time for answers.

    It stores conversations and handles signals as ``pellucid serve`` does, but loads no model.
    """
    server = StandalonePage(tmp_path, story_server.server.url)
    server.start()
    yield server
    server.kill()
