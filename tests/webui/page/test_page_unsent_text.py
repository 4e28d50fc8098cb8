"""Tests that the page never loses unsent text, in a browser with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from playwright.async_api import Page, Route, expect

from support.page.page_fixtures import Tab, Upload, held, held_show, watched
from support.page.scripted_assistant import tokens
from support.page.small_page_server import PagedServer
from support.page.storyteller import Storyteller

CODE = "def add(a, b):\n    return "


async def test_sent_while_the_page_loads(story_server: PagedServer, teller: Storyteller, browser_page: Page) -> None:
    """A message sent during loading is sent once, later text stays, and there is no Stop yet."""
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
    await expect(browser_page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
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
    await expect(text).not_to_have_value("")  # The example is there.
    await text.fill("A text that was not read yet.")
    await tab.page.reload()
    await tab.tab("Infill")
    await expect(code).to_have_value(CODE)
    await tab.tab("Read")
    await expect(text).to_have_value("A text that was not read yet.")
    assert tab.problems == []


async def test_while_another_conversation_opens(tab: Tab, teller: Storyteller) -> None:
    """Typed text and attached files stay with their conversation, also while another opens."""
    teller.script = tokens("Yes.")
    page, ids = tab.page, []
    for title in ("First", "Second"):
        await page.get_by_role("button", name="New chat").click()
        await expect(page.locator(".pl-message")).to_have_count(0)
        await tab.answer(title)
        ids.append(await page.evaluate("new URL(location.href).searchParams.get('c')"))
    await tab.attach(Upload("second.txt", b"of the second"))
    system = page.get_by_label("System prompt")
    await tab.show_settings()
    undo, field = page.get_by_role("button", name="Undo"), page.get_by_role("textbox", name="Your message")
    released = await held_show(page, ids[0])
    await page.route("**/page/chat", answered_late(undone := asyncio.Event()))
    await undo.click()
    await page.locator(f".pl-conversations [data-id='{ids[0]}'] .pl-title").click()
    await field.press_sequentially("for the first")
    await system.press_sequentially("changed early")
    await expect(undo).to_be_disabled()
    await expect(page.locator(".pl-attached li")).to_have_count(0)
    undone.set()
    released.set()
    await expect(page.locator(".pl-user")).to_contain_text("First")
    await expect(field).to_have_value("for the first")
    await expect(system).to_have_value("")
    await page.unroute_all(behavior="wait")
    await page.locator(f".pl-conversations [data-id='{ids[1]}'] .pl-title").click()
    await expect(field).to_have_value("Second")
    await expect(page.locator(".pl-attached li")).to_contain_text("second.txt")
    await expect(page.locator(".pl-message")).to_have_count(0)


async def test_late_marks_while_another_conversation_opens(tab: Tab, teller: Storyteller) -> None:
    """While a conversation opens, late marks of the previous one enable no action."""
    teller.script = tokens("Yes.")
    page = tab.page
    await tab.answer("First")
    first = await page.evaluate("new URL(location.href).searchParams.get('c')")
    await page.get_by_role("button", name="New chat").click()
    await expect(page.locator(".pl-message")).to_have_count(0)
    await tab.answer("Second")
    marked = await held(page, "chat", lambda asked: asked["verb"] == "inspect")
    await page.reload()
    await expect(page.locator(".pl-user")).to_contain_text("Second")
    released = await held_show(page, first)
    await page.locator(f".pl-conversations [data-id='{first}'] .pl-title").click()
    undo = page.get_by_role("button", name="Undo")
    await expect(undo).to_be_disabled()

    async with page.expect_response(lambda reply: "inspect" in (reply.request.post_data or "")):
        marked.set()

    await page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    await expect(undo).to_be_disabled()
    released.set()
    await expect(page.locator(".pl-user")).to_contain_text("First")
    await expect(undo).to_be_enabled()


def answered_late(released: asyncio.Event) -> Callable[[Route], Awaitable[None]]:
    """Hold the answer to an undo until the event is set."""

    async def hold(route: Route) -> None:
        if (route.request.post_data_json or {})["verb"] != "undo":
            await route.fallback()
            return
        response = await route.fetch()
        await released.wait()
        await route.fulfill(response=response)

    return hold


async def test_a_lost_response(tab: Tab, teller: Storyteller) -> None:
    """A message without a response is sent once, even after a reload, and whole after a change."""
    teller.script = tokens("Yes.")
    page = tab.page
    await tab.answer("Hello")

    async def lose(route: Route) -> None:
        if (route.request.post_data_json or {})["verb"] == "send":
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/page/chat", lose)
    await tab.send("Once only")
    await expect(tab.notice).to_contain_text("the message was not sent")
    await page.unroute_all(behavior="wait")
    await page.reload()
    await tab.answered(4)
    field = page.get_by_role("textbox", name="Your message")
    await expect(field).to_have_value("Once only")
    await field.press("Enter")
    await expect(field).to_have_value("")
    assert [text for text in await tab.texts() if "Once" in text] == ["Once only"]
    await page.route("**/page/chat", lambda route: route.abort())
    await tab.send("Delete it")
    await expect(tab.notice).to_contain_text("the message was not sent")
    await page.unroute_all(behavior="wait")
    await field.press_sequentially(" not")
    await field.press("Enter")
    await tab.answered(6)
    assert (await tab.texts())[4] == "Delete it not"
