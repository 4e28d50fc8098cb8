"""Tests in a browser that the controls keep the chosen settings."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from support.page.page_fixtures import SMALL, Tab, watched
from support.page.page_tabs import PATIENCE

pytestmark = pytest.mark.model


async def test_a_conversation_keeps_its_settings(tab: Tab) -> None:
    """A reopened conversation has the settings and the model of the last turn."""
    await tab.open()
    await tab.be_brief(8)
    await tab.show_settings()
    await tab.page.get_by_label("System prompt").first.fill("Answer with one word.")
    await tab.page.get_by_label("Model", exact=True).first.click()
    await tab.page.get_by_role("option", name=SMALL).click()
    await tab.send("Name a fruit.")
    await tab.answered(2)
    head = tab.page.locator(".pl-assistant .pl-head")
    await expect(head).to_contain_text(f"{SMALL}, greedy")

    await tab.page.reload()
    await tab.answered(2)
    await tab.show_settings()
    await expect(tab.page.get_by_label("System prompt").first).to_have_value("Answer with one word.")
    await tab.page.get_by_role("button", name="Regenerate", exact=True).click()
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    await expect(head).to_contain_text(f"{SMALL}, greedy")
    assert tab.problems == []


async def test_settings_that_were_not_used_yet(tab: Tab) -> None:
    """A changed setting is saved before the next answer."""
    await tab.open()
    await tab.be_brief(4)
    await tab.answer("Name a fruit.")
    await tab.show_settings()
    await tab.page.get_by_label("System prompt").first.press_sequentially("Answer in French.")
    other = watched(await tab.page.context.new_page(), tab.address)
    async with asyncio.timeout(PATIENCE):
        # The setting is saved in the background.
        while True:
            await other.open("/?" + tab.page.url.partition("?")[2])
            await other.answered(2)
            await other.show_settings()
            if await other.page.get_by_label("System prompt").first.input_value() == "Answer in French.":
                break
