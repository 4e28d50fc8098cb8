"""Tests that the cost of an action does not grow with the conversation."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.async_api import Browser, Page

from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import watched
from support.page.small_page_server import paged
from support.servers.http_servers import ScriptedAssistant, scripted_state

OWNER = "local"
MESSAGES = 200
KEYS = "a few words"


def fill(folder: Path) -> str:
    """Store a conversation of many messages, and return the id."""
    store = ConversationStore(folder / "conversations.db")
    id, parent = store.create(OWNER, TurnSettings(), "Many messages"), None
    for number in range(MESSAGES):
        parent = store.add(
            OWNER, id, parent, (USER, ASSISTANT)[number % 2], f"Message {number} of *many*.", end=FinishReason.STOP
        )
    store.close()
    return id


async def test_typing_restyles_no_message(tmp_path: Path, chromium: Browser, browser_page: Page) -> None:
    """A typed letter restyles fewer elements than there are messages."""
    id = fill(tmp_path)
    with paged(tmp_path, pellucid_view, state=scripted_state(ScriptedAssistant([]))) as server:
        server.wait()
        tab = watched(browser_page, server.server.url)
        await tab.open(f"/?c={id}")
        await tab.answered(MESSAGES)
        await browser_page.locator(".pl-stage[data-wide] > .pl-inspector").wait_for()
        field = browser_page.get_by_role("textbox", name="Your message")
        await field.click()
        await chromium.start_tracing(page=browser_page, categories=["devtools.timeline"])
        await field.press_sequentially(KEYS)
        await browser_page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        events = json.loads(await chromium.stop_tracing())["traceEvents"]
        assert tab.problems == []

    restyled = [event["args"].get("elementCount", 0) for event in events if event["name"] == "UpdateLayoutTree"]
    assert any(restyled), "no letter was drawn"
    assert max(restyled) < MESSAGES
