"""Tests reasoning before an answer in a browser."""

from __future__ import annotations

from asyncio import Event
from dataclasses import replace

from playwright.async_api import expect

from pellucid.vocabulary.query import Reasoning
from support.page.page_fixtures import Tab
from support.page.page_tabs import check_looks
from support.page.scripted_assistant import token
from support.page.storyteller import Storyteller


async def test_reasoning(tab: Tab, teller: Storyteller) -> None:
    """The reasoning is folded above the answer during generation and later, apart from the answer.

    The tokens of the reasoning can be inspected, but no version continues from such a token.
    """
    thoughts = [token(text, id, " other") for id, text in enumerate(("Let", " me", " see."), 1)]
    reasoned = [replace(one, text="", reasoning=one.text) for one in thoughts]
    seen = Event()
    teller.script = [*reasoned, seen, token("Can", 4, " other"), token("berra.", 5, " other")]  # type: ignore[list-item]
    await tab.set_form(reasoning="High")
    await tab.send("What is the capital of Australia?")
    page, folded = tab.page, tab.page.locator(".pl-reasoning")
    await folded.get_by_text("Reasoning…").click()
    await expect(folded).to_contain_text("Let me see.")
    seen.set()
    await tab.answered(2)
    assert teller.queries[-1].reasoning == Reasoning("high")
    await expect(folded.locator("summary")).to_have_text("Reasoning")
    assert (await tab.texts())[-1] == "Canberra."
    await check_looks(page, ".pl-messages")

    await page.reload()
    await expect(folded.locator(".pl-reasoning-text")).to_be_hidden()
    await folded.locator("summary").click()
    await expect(folded.locator(".pl-reasoning-text")).to_have_text("Let me see.")
    await page.locator(".pl-body[data-tokens]").press("Home")
    inspector = page.locator(".pl-inspector")
    await expect(inspector).to_contain_text("Token 4 of 5")
    await page.get_by_role("button", name="Tokens", exact=True).last.click()
    map_ = page.get_by_role("listbox", name="Tokens of the answer")
    await expect(map_).to_have_text("Let me see.Canberra.")
    await map_.get_by_text("me", exact=True).click()
    await expect(inspector).to_contain_text("Token 2 of 5")
    await expect(inspector.get_by_role("button", name="Regenerate from this token")).to_be_disabled()
    await map_.get_by_text("Can", exact=True).click()
    await expect(inspector.get_by_role("button", name="Regenerate from this token")).to_be_enabled()
    assert (tab.problems, tab.elsewhere) == ([], [])
