"""Tests batches of the Compare tab in a browser with real models."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from playwright.async_api import FilePayload, Page, expect

from support.page.page_fixtures import SMALL, Tab
from support.page.page_tabs import PATIENCE, busy, check_looks, until_idle
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

PROMPTS = ["Name a colour.", "Name an animal.", "Write one sentence about the sea."]

MOST = 12
"""Maximum number of tokens in an answer."""

SLOW_BATCH = 240_000
"""Timeout in milliseconds of all answers of a batch on a busy machine."""

SAID = (
    "name => [...document.querySelectorAll(`[aria-label='Answer ${name}'] .pl-token`)].map((cell) => "
    "cell.textContent).join('')"
)


async def prepare(tab: Tab, prompts: list[str], most: int = MOST) -> Page:
    """Open the tab with a file of prompts and a number of tokens."""
    await tab.open()
    await tab.tab("Compare")
    page = tab.page
    await page.locator("#pl-compare-prompt").wait_for()
    for letter in "AB":
        column = page.get_by_role("group", name=f"Column {letter}")
        await column.get_by_label(f"More settings of column {letter}").click()
        await column.get_by_label("Max output tokens").fill(str(most))
    await page.get_by_text("Many prompts or seeds").click()
    content = "\n".join(json.dumps({"messages": [{"role": "user", "content": one}]}) for one in prompts)
    file: FilePayload = {"name": "asked.jsonl", "mimeType": "", "buffer": content.encode()}
    await page.get_by_label("File of prompts").set_input_files([file])
    await page.get_by_role("button", name=f"Compare {len(prompts)} prompts").wait_for()
    return page


async def ended(page: Page, words: str) -> None:
    await expect(page.locator(".pl-batch-summary")).to_contain_text(words, timeout=SLOW_BATCH)
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()


async def test_two_models(tab: Tab) -> None:
    """Two models answer the prompts of a file, and an opened row survives a reload."""
    page = await prepare(tab, PROMPTS)
    await page.get_by_role("button", name=re.compile("^Compare 3")).click()
    await ended(page, "3 prompts: 3 of 3 done.")
    assert "over 3 prompts" in await page.locator(".pl-batch-summary").inner_text()
    row = page.locator(".pl-batch-table tbody tr", has_text=PROMPTS[2])
    lengths = [int(one) for one in (await row.locator("td").all_inner_texts())[-2:]]
    await row.get_by_role("button").click()
    await expect(page.locator(".pl-batch-opened")).to_have_text(f"Row 3: {PROMPTS[2]}")
    for letter, model, length in zip("AB", (CODER, SMALL), lengths, strict=True):
        await expect(page.locator(f"[aria-label='Answer {letter}'] .pl-token")).to_have_count(length)
        assert model in await page.locator(f"[aria-label='Answer {letter}'] h3").inner_text()
    before = [await page.evaluate(SAID, letter) for letter in "AB"]
    await check_looks(page)
    await tab.open()
    await tab.tab("Compare")
    await expect(page.locator(".pl-batch-table tbody tr")).to_have_count(3)
    await expect(page.locator(".pl-batch-opened")).to_have_text(f"Row 3: {PROMPTS[2]}")
    assert [await page.evaluate(SAID, letter) for letter in "AB"] == before
    assert tab.elsewhere == []
    assert tab.problems == []


async def test_stop_and_resume(tab: Tab) -> None:
    """Stop ends the engine's work and keeps finished rows; Resume completes the table."""
    page = await prepare(tab, ["Say yes.", *(f"Write a story about {one}." for one in ("the sea", "a fox"))], 24)
    await page.get_by_role("button", name=re.compile("^Compare 3")).click()
    await page.locator(".pl-batch-table tbody tr").first.wait_for()
    await page.get_by_role("button", name="Stop", exact=True).click()
    await ended(page, "Stopped")
    await until_idle(tab.address)
    assert await page.locator(".pl-batch-table tbody tr").count() < 3
    await page.get_by_role("button", name="Resume").click()
    await ended(page, "3 prompts: 3 of 3 done.")
    await expect(page.locator(".pl-batch-table tbody tr")).to_have_count(3)


async def test_closing_the_tab(tab: Tab) -> None:
    """Closing the page ends the batch in the engine."""
    page = await prepare(tab, [f"Write a long story about {one}." for one in ("the sea", "a fox")], 600)
    await page.get_by_role("button", name=re.compile("^Compare 2")).click()
    async with asyncio.timeout(PATIENCE):
        while not await busy(tab.address):
            await asyncio.sleep(0.02)
    await page.close()
    await until_idle(tab.address)
