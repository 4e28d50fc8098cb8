"""Tests that the page never loses unsent text, in a browser with a scripted model."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page, Route, expect

from support.page.page_fixtures import Tab, watched
from support.page.scripted_assistant import tokens
from support.page.small_page_server import PagedServer
from support.page.storyteller import Storyteller

CODE = "def add(a, b):\n    return "


async def test_sent_while_the_page_loads(story_server: PagedServer, teller: Storyteller, browser_page: Page) -> None:
    """A message sent during loading is sent once after loading, and later text stays."""
    teller.script = tokens("Yes.")
    let_through = asyncio.Event()

    async def hold(route: Route) -> None:
        await let_through.wait()
        await route.continue_()

    await browser_page.route("**/page/chat", hold)
    tab = watched(browser_page, story_server.server.url)
    await tab.open()
    await tab.send("Say yes.")
    field = browser_page.get_by_role("textbox", name="Your message")
    await field.press_sequentially(" And then")
    await field.press("Enter")
    let_through.set()
    await tab.answered(2)
    assert (await tab.texts())[0] == "Say yes."
    await expect(field).to_have_value(" And then")
    await browser_page.unroute_all(behavior="wait")
    assert tab.problems == []


async def test_edit_and_reload(tab: Tab, teller: Storyteller) -> None:
    """A refused edit stays open and can be corrected; a saved edit is not offered again."""
    teller.script = tokens("Yes.")
    await tab.answer("Hi")
    question = tab.page.locator(".pl-user")
    await question.get_by_role("button", name="Edit").click()
    field = tab.page.get_by_label("Edit the message")
    await field.fill("   ")
    await field.press("Control+Enter")
    await expect(tab.page.locator("#pl-chat .pl-notice")).to_contain_text("The edited message is empty")
    await expect(field).to_have_value("   ")
    await field.fill("Hello")
    await field.press("Control+Enter")
    await question.get_by_text("2 / 2").wait_for()
    await expect(field).to_have_count(0)
    await question.get_by_role("button", name="Previous version").click()
    await question.get_by_text("1 / 2").wait_for()
    await question.get_by_role("button", name="Edit").click()
    await expect(field).to_have_value("Hi")
    await reload(tab)
    assert tab.problems == []


async def reload(tab: Tab) -> None:
    """Code in Infill and text in Read survive a reload."""
    await tab.tab("Infill")
    code = tab.page.get_by_label("Code; the cursor marks where to complete")
    await code.fill(CODE)
    await tab.tab("Read")
    text = tab.page.locator("#pl-read-text textarea")
    await text.fill("A text that was not read yet.")
    await tab.page.reload()
    await tab.tab("Infill")
    await expect(code).to_have_value(CODE)
    await tab.tab("Read")
    await expect(text).to_have_value("A text that was not read yet.")
    assert tab.problems == []
