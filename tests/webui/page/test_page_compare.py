"""Tests the end of comparisons in a browser with scripted models."""

from __future__ import annotations

import json

from playwright.async_api import FilePayload, Page, expect

from support.page.page_fixtures import ENDLESS, Tab
from support.page.storyteller import Storyteller

PROMPT = "Write a long story about a lighthouse and the sea."

SAID = "[...document.querySelectorAll(`[aria-label='Answer A'] .pl-token`)].map((cell) => cell.textContent)"


async def prepare(tab: Tab) -> Page:
    """Open the tab with endless answers in both columns."""
    await tab.tab("Compare")
    page = tab.page
    await page.locator("#pl-compare-prompt").fill(PROMPT)
    for letter in "AB":
        column = page.get_by_role("group", name=f"Column {letter}")
        await column.get_by_label(f"More settings of column {letter}").click()
        await column.get_by_label("Max output tokens").fill(str(ENDLESS))
    return page


async def begin(page: Page) -> None:
    """Compare, and wait for some tokens of both answers."""
    await page.get_by_role("button", name="Compare", exact=True).click()
    for letter in "AB":
        await page.locator(f"[aria-label='Answer {letter}'] .pl-token").nth(3).wait_for()


async def test_stop_and_close(tab: Tab, teller: Storyteller) -> None:
    """A stop ends both answers, a reload shows the text, and closing the page ends both answers."""
    page = await prepare(tab)
    await begin(page)
    assert teller.running == 2
    await page.get_by_role("button", name="Stop", exact=True).click()
    await page.locator(".pl-compare-summary").filter(has_text="Stopped").wait_for()
    await teller.until_running(False)
    said = await page.evaluate(SAID)
    assert 3 < len(said) < ENDLESS
    await tab.open()
    await tab.tab("Compare")
    await page.locator(".pl-compare-result[data-done=true]").wait_for()
    assert await page.evaluate(SAID) == said
    assert await page.locator("#pl-compare-prompt").input_value() == PROMPT
    assert tab.problems == []
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare-result[data-done=true]").wait_for(state="detached")
    await page.locator("[aria-label='Answer B'] .pl-token").nth(3).wait_for()
    assert teller.running == 2
    await page.close()
    await teller.until_running(False)


async def test_closing_a_batch(tab: Tab, teller: Storyteller) -> None:
    """Closing the page ends the answers of a batch."""
    page = await prepare(tab)
    await page.get_by_text("Many prompts or seeds").click()
    content = "\n".join(json.dumps({"messages": [{"role": "user", "content": one}]}) for one in (PROMPT, "Again."))
    file: FilePayload = {"name": "asked.jsonl", "mimeType": "", "buffer": content.encode()}
    await page.get_by_label("File of prompts").set_input_files([file])
    await page.get_by_role("button", name="Compare 2 prompts").click()
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await teller.until_running()
    await page.close()
    await teller.until_running(False)
