"""Tests in a browser that the controls keep the chosen settings."""

from __future__ import annotations

import asyncio

from playwright.async_api import expect

from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import PATIENCE
from support.page.storyteller import SMALL


async def test_a_conversation_keeps_its_settings(tab: Tab) -> None:
    """A reopened conversation has the settings and the model of the last turn."""
    page, prompt = tab.page, tab.page.get_by_label("System prompt").first
    await tab.be_brief(4)
    await tab.show_settings()
    await prompt.fill("Answer with one word.")
    await page.get_by_label("Model", exact=True).first.click()
    await page.get_by_role("option", name=SMALL).click()
    await tab.answer("Name a fruit.")
    head = page.locator(".pl-assistant .pl-head")
    await expect(head).to_contain_text(f"{SMALL}, greedy")

    await page.reload()
    await tab.answered(2)
    await tab.show_settings()
    await expect(prompt).to_have_value("Answer with one word.")
    await page.get_by_role("button", name="Regenerate", exact=True).click()
    await page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    await expect(head).to_contain_text(f"{SMALL}, greedy")
    await tab.show_settings()
    await setting_that_was_not_used_yet(tab)
    assert tab.problems == []


async def setting_that_was_not_used_yet(tab: Tab) -> None:
    """A changed setting is saved before the next answer."""
    await tab.page.get_by_label("System prompt").first.press_sequentially(" In French.")
    other = watched(await tab.page.context.new_page(), tab.address)
    prompt = other.page.get_by_label("System prompt").first
    async with asyncio.timeout(PATIENCE):
        # The setting is saved in the background.
        while True:
            await other.open("/?" + tab.page.url.partition("?")[2])
            await other.answered(2)
            await other.show_settings()
            if await prompt.input_value() == "Answer with one word. In French.":
                break
