"""Tests the page with a login, in a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.small_page_server import PagedServer, paged

KEYS = "anna:first-key,ben:second-key"


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[PagedServer]:
    with paged(tmp_path, pellucid_view, KEYS) as server:
        yield server


async def enter(tab: Tab, key: str) -> None:
    await tab.page.goto(tab.address)
    await tab.page.get_by_label("API key").fill(key)
    await tab.page.get_by_role("button", name="Log in").click()


async def leave(tab: Tab) -> None:
    """Log out by the link on the page."""
    await tab.page.get_by_role("link", name="Log out").click()
    await tab.page.get_by_role("button", name="Log out").click()
    await tab.page.get_by_label("API key").wait_for()


async def test_login(locked: PagedServer, browser_page: Page) -> None:
    """Users log in and out, and neither reads nor changes what belongs to another user."""
    tab = watched(browser_page, locked.server.url)
    await wrong_and_right_key(tab)
    await tab.send("A secret of Anna's")
    await tab.answered(2)
    await no_access_to_another_s_conversations(tab)
    await another_owner_in_the_same_browser(tab)
    assert tab.elsewhere == []


async def test_what_a_user_has_written(locked: PagedServer, browser_page: Page) -> None:
    """A later user of a browser tab sees no text of the first user, who finds it again."""
    tab = watched(browser_page, locked.server.url)
    code = browser_page.get_by_label("Code; the cursor marks where to complete")
    await enter_infill(tab, "first-key", "anna")
    await code.fill("secret = 1")
    await leave(tab)
    await enter_infill(tab, "second-key", "ben")
    await expect(code).to_have_value(re.compile("^def "))
    await leave(tab)
    await enter_infill(tab, "first-key", "anna")
    await expect(code).to_have_value("secret = 1")


async def enter_infill(tab: Tab, key: str, name: str) -> None:
    await enter_after(tab, key, name)
    await tab.tab("Infill")


async def enter_after(tab: Tab, key: str, name: str) -> None:
    """Log in after a different user, and wait until the page has reloaded itself."""
    await enter(tab, key)
    kind = "performance.getEntriesByType('navigation')[0].type"
    await tab.page.wait_for_function(
        f"name => sessionStorage['pellucid.owner'] === name && {kind} === 'reload'", arg=name
    )


async def wrong_and_right_key(tab: Tab) -> None:
    """A wrong key is reported in a sentence; the right key opens the page."""
    await enter(tab, "guessed")
    await expect(tab.page.get_by_role("alert")).to_have_text("That is not an API key of this server.")
    await enter(tab, "first-key")
    await tab.page.get_by_role("textbox", name="Your message").wait_for()
    (cookie,) = await tab.page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert "first-key" not in cookie["value"]


async def no_access_to_another_s_conversations(tab: Tab) -> None:
    """A user cannot list, find or open another user's messages."""
    page, address = tab.page, tab.page.url
    assert "c=" in address
    await leave(tab)
    await enter_after(tab, "second-key", "ben")
    await page.get_by_text("No conversations yet.").wait_for()
    await page.goto(address)
    await expect(page.get_by_role("alert").filter(has_text="conversation")).to_be_visible()
    assert "secret" not in await page.inner_text("body")
    await page.get_by_role("searchbox").fill("secret")
    await page.get_by_text("No matches.").wait_for()
    await leave(tab)
    await enter_after(tab, "first-key", "anna")
    await page.goto(address)
    await page.get_by_text("A secret of Anna's").last.wait_for()


async def another_owner_in_the_same_browser(tab: Tab) -> None:
    """After a change of user in a browser, an old tab changes nothing and reloads."""
    page, other = tab.page, await tab.page.context.new_page()
    beside = watched(other, tab.address)
    await beside.open()
    await leave(beside)
    await enter(beside, "second-key")
    await other.get_by_text("No conversations yet.").wait_for()

    await page.locator(".pl-chosen .pl-more").click()
    await page.get_by_role("menuitem", name="Rename").click()
    await page.get_by_label("Title of the conversation").fill("Ben was here")
    await page.keyboard.press("Enter")
    await page.get_by_text("No conversations yet.").wait_for()
    assert "secret" not in await page.inner_text("body")
    await leave(tab)
    await enter(tab, "first-key")
    await expect(page.locator(".pl-title")).to_have_text(["A secret of Anna's"])  # The page may reload meanwhile.
