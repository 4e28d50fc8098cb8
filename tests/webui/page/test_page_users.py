"""Tests in a browser that the page's chat counts for the logged-in user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.door.api_keys import read_keys
from pellucid.door.users import UserLimits, Users
from pellucid.serving.server import page_of
from support.page.page_fixtures import held_show, watched
from support.servers.http_servers import TINY, LiveServer, live, tiny_assistant

KEYS = read_keys("anna:first-key,ben:second-key")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[LiveServer]:
    """Serve a tiny model to two users, each with a delay after the first request."""
    assistant, engine = tiny_assistant(alone=True)
    state = ServerState(
        models=(TINY,), grace=0.0, keys=KEYS, users=Users(UserLimits(tokens_per_minute=1), clock=lambda: 1000.0)
    )
    state.open(assistant, engine)
    with live(state, page_of(load_settings(data=tmp_path), state)) as server:
        yield server
    engine.close()


def usage(server: LiveServer, key: str) -> tuple[int, int, bool]:
    """Return the requests of a user, the refused requests, and whether tokens were counted."""
    found = httpx.get(f"{server.url}/v1/usage", headers={"authorization": f"Bearer {key}"}, trust_env=False).json()
    return found["requests"], found["refused"], found["prompt_tokens"] > 0


async def test_the_chat_counts_for_its_user(limited: LiveServer, browser_page: Page) -> None:
    """An answer counts for its user; early text and a message over the limit are kept."""
    tab = watched(browser_page, limited.url)
    await browser_page.goto(limited.url)
    await browser_page.get_by_label("API key").fill("first-key")
    await browser_page.get_by_role("button", name="Log in").click()
    shown = await held_show(browser_page, None)
    field = browser_page.get_by_role("textbox", name="Your message")
    await field.fill("Hello")
    shown.set()
    await expect(browser_page.get_by_text("anna")).to_be_visible()
    await expect(field).to_have_value("Hello")
    await tab.answer("Hello")
    assert usage(limited, "first-key") == (1, 0, True)

    await tab.answer("Are you still there?")
    assert (await tab.texts())[2] == "Are you still there?"
    await expect(browser_page.locator(".pl-message").last).to_contain_text(
        "anna has used 1 tokens within a minute, the limit of user_tokens_per_minute: try again in 61 seconds."
    )
    assert (usage(limited, "first-key"), usage(limited, "second-key")) == ((1, 1, True), (0, 0, False))
