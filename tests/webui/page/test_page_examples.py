"""Tests in a browser what the tabs show before anything was done there."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, expect

from pellucid.vocabulary.query import CompletionQuery
from support.page.page_fixtures import watched
from support.page.page_tabs import check_looks
from support.page.scripted_assistant import tokens
from support.page.storyteller import Storyteller, story_page


class Completer(Storyteller):
    """Completes code as well."""

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return str(query.prefix)


async def test_examples(tmp_path: Path, browser_page: Page) -> None:
    """Read, Compare and Infill run an example at a click, but never in place of a user's text."""
    teller, page = Completer(), browser_page
    with story_page(tmp_path, teller) as server:
        tab = watched(page, server.server.url)
        await tab.open()
        example = page.locator(".pl-empty-state:visible > .pl-example")
        await tab.tab("Read")
        await expect(example).to_contain_text("valeus")
        await check_looks(page, "#pl-reading")
        field = page.locator("#pl-read-text textarea")
        await field.fill("My own text.")
        await expect(example).to_be_hidden()
        await field.fill("")
        await example.click()
        await expect(page.locator(".pl-reading")).to_be_focused()
        await expect(page.locator(".pl-reading .pl-tokens")).to_contain_text("valeus")
        await expect(example).to_be_hidden()
        await tab.tab("Compare")
        await check_looks(page, "#pl-compare")
        await example.click()
        await expect(page.locator(".pl-compare > [role=status]")).to_be_focused()
        await page.locator(".pl-compare-result[data-done=true]").wait_for()
        await expect(example).to_be_hidden()
        await tab.tab("Infill")
        await check_looks(page, "#pl-infill")
        teller.script = tokens("best", " = value")
        await page.get_by_label("Code; the cursor marks where to complete").press("Control+Home")
        await example.click()
        await expect(page.locator(".pl-infill .pl-note[role=status]")).to_be_focused()
        await expect(page.locator(".pl-ghost")).to_contain_text("if value > best:\n            best = value\n")
        await expect(example).to_be_hidden()
        assert tab.elsewhere == []
        assert tab.problems == []
