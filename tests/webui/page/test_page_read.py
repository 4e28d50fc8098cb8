"""Tests the Read tab with a text longer than the context, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.serving.server import page_of
from support.page.page_fixtures import watched
from support.page.page_tabs import FILL
from support.servers.http_servers import TINY, live, tiny_assistant


@pytest.fixture
def short_server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Serve a tiny model with a short context; return the address and the context."""
    assistant, engine = tiny_assistant(alone=True)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state, page_of(load_settings(data=tmp_path), state)) as server:
        yield server.url, assistant.models.cards()[0].context
    engine.close()


async def test_too_long(short_server: tuple[str, int], browser_page: Page) -> None:
    """A text longer than the context is read completely, with a note on the context."""
    address, context = short_server
    lines = [f"{number}: The cat sat on the mat." for number in range(context // 12)]
    lines[-3] = "Zebra quintessence fractal. " * 3
    tab = watched(browser_page, address)
    await tab.open()
    await tab.tab("Read")
    page = tab.page
    await page.locator("#pl-read-text textarea").evaluate(FILL, "\n".join(lines) + "\n")
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-line-row").first.wait_for()
    assert int(await page.locator(".pl-figures dd").first.inner_text()) > 2 * context
    sentence = (
        f"longer than the context of {context} tokens: each token was read with at least the {context // 2} before it."
    )
    await expect(page.locator(".pl-read-note")).to_contain_text(sentence)
    await expect(page.locator(".pl-line-row .pl-line-number").first).to_have_text(str(len(lines) - 2))
    assert tab.problems == []
