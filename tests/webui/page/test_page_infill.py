"""Tests the Infill tab in a browser with real models."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import SMALL, Tab
from support.page.page_tabs import check_looks, choose

pytestmark = pytest.mark.model

CODE = "def add(a, b):\n    return \n"


async def complete(tab: Tab) -> Page:
    """Open the tab and complete at the end of a line, with the cursor placed by keyboard."""
    await tab.open()
    await tab.tab("Infill")
    page = tab.page
    field = page.get_by_label("Code; the cursor marks where to complete")
    await field.fill(CODE)
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("End")
    await page.keyboard.press("Control+Enter")
    await page.locator(".pl-infill .pl-shown").filter(has_text="a").wait_for()
    return page


async def test_at_a_cursor(tab: Tab) -> None:
    """A suggestion is shown at the cursor with tokens, figures and prompt, and can be accepted."""
    page = await complete(tab)
    await check_looks(page)
    assert await page.locator(".pl-infill .pl-shown").inner_text() == "a + b"
    labels = await page.locator(".pl-infill .pl-token").evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")
    assert labels
    assert all("percent, rank 1" in label for label in labels)
    await expect(page.locator(".pl-infill .pl-table")).to_contain_text("threshold")
    await page.get_by_text("The prompt, as the model read it").click()
    prompt = await page.locator(".pl-infill .pl-prompt").inner_text()
    assert "def add(a, b):" in prompt
    assert "fim" in prompt
    await page.get_by_role("button", name="Insert").click()
    field = page.get_by_label("Code; the cursor marks where to complete")
    assert await field.input_value() == "def add(a, b):\n    return a + b\n"
    await page.keyboard.press("Control+Z")
    assert await field.input_value() == CODE
    await field.fill("x = 1")
    await page.get_by_role("button", name="Insert").click()
    await expect(page.locator(".pl-infill [role=status]").first).to_have_text(
        "The code has changed: complete it again."
    )
    assert await field.input_value() == "x = 1"
    await a_model_that_cannot(page)
    assert tab.elsewhere == []
    assert tab.problems == []


async def a_model_that_cannot(page: Page) -> None:
    """A model without infill is named in a sentence, and the code stays."""
    await choose(page, "Model", SMALL)
    field = page.get_by_label("Code; the cursor marks where to complete")
    await field.fill(CODE)
    await field.press("Control+Enter")
    await expect(page.locator(".pl-infill .pl-wrong")).to_contain_text(SMALL)
    assert await field.input_value() == CODE
