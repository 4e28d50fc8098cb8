"""Tests the tree of continuations, and the fan of samples, in a browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from pellucid.errors import PellucidError
from support.page.forking_teller import ForkingTeller
from support.page.page_fixtures import Tab
from support.page.page_tabs import check_looks


@pytest.fixture(scope="module")
def teller() -> ForkingTeller:
    return ForkingTeller()


async def inspected(tab: Tab) -> Locator:
    """Answer a question, show the first token in the inspector, and return the inspector."""
    await tab.answer("What is the capital of Australia?")
    await tab.page.locator(".pl-body[data-tokens]").press("Home")
    inspector = tab.page.locator(".pl-inspector")
    await expect(inspector).to_contain_text("Token 1 of 4")
    return inspector


async def test_likely_continuations(tab: Tab) -> None:
    """The tree has all likely continuations, has keys, and any of them begins a version."""
    inspector = await inspected(tab)
    opener = inspector.get_by_role("button", name="Likely continuations")
    await opener.press("Enter")
    panel = tab.page.get_by_role("dialog", name="Likely continuations")
    await expect(panel.get_by_role("status")).to_have_text(
        "4 continuations cover 81.6 %; all others together have at most 18.4 %."
        " A token that the engine does not list may have up to 6.00 %."
    )
    rows = panel.get_by_role("treeitem")
    names = [await row.get_attribute("aria-label") for row in await rows.all()]
    assert names == [
        "After: Beginning of the answer",
        "It is, probability 54 percent",
        "Canberra., probability 37.8 percent",
        "Sydney., probability 10.8 percent",
        "Canberra., probability 28 percent, 10.0 % of it as other tokens",
        "Sydney., probability 5 percent",
    ]
    await expect(rows.nth(0)).to_be_focused()
    for key, goal in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 2), ("ArrowDown", 3), ("ArrowLeft", 1)):
        await tab.page.keyboard.press(key)
        await expect(rows.nth(goal)).to_be_focused()
    for key, goal in (("End", 5), ("ArrowLeft", 0), ("ArrowUp", 0)):
        await tab.page.keyboard.press(key)
        await expect(rows.nth(goal)).to_be_focused()
    await expect(panel.get_by_role("button", name="Continue from here")).to_be_disabled()
    await check_looks(tab.page, ".pl-continuations")
    await tab.page.keyboard.press("Escape")
    await expect(opener).to_be_focused()

    await opener.press("Enter")
    await expect(rows).to_have_count(6)
    await panel.get_by_label("At least").select_option("10 %")
    await expect(rows).to_have_count(5)
    await panel.get_by_label("Up to").select_option("8 tokens")
    await expect(rows.nth(3)).to_have_attribute("aria-label", "Sydney., end of the answer, probability 10.8 percent")
    await rows.nth(3).click()
    await tab.page.keyboard.press("Enter")
    await expect(panel).to_be_hidden()
    await tab.page.get_by_text("2 / 2").wait_for()
    assert (await tab.texts())[-1] == "It is Sydney."
    assert (tab.problems, tab.elsewhere) == ([], [])


async def test_samples_side_by_side(tab: Tab, teller: ForkingTeller) -> None:
    """Samples show next to the answer where they part, and each can be shown as a version.

    A failure ends them, and the panel says so.
    """
    inspector = await inspected(tab)
    await inspector.get_by_role("button", name="3 more samples").click()
    panel = tab.page.get_by_role("dialog", name="Samples side by side")
    await expect(panel.get_by_role("status")).to_have_text(
        "Each sample is a version of the answer. Coloured words were less likely."
    )
    rows = panel.get_by_role("treeitem")
    names = [await row.get_attribute("aria-label") for row in await rows.all()]
    assert names == [
        "After: Beginning of the answer",
        "It is, 4 of 4",
        "Canberra., end of the answer, versions 1, 3",
        "Sydney., end of the answer, versions 2, 4",
    ]
    await check_looks(tab.page, ".pl-continuations")
    await expect(panel.get_by_role("button", name="Show this version")).to_be_disabled()
    await rows.nth(3).click()
    await panel.get_by_role("button", name="Show this version").click()
    await expect(panel).to_be_hidden()
    await tab.page.get_by_text("2 / 4").wait_for()
    await tab.answered(2)
    assert (await tab.texts())[-1] == "It is Sydney."

    await tab.page.locator(".pl-body[data-tokens]").press("Home")
    teller.script = (PellucidError("The model is gone."),)
    await inspector.get_by_role("button", name="3 more samples").click()
    await expect(panel.get_by_role("status")).to_contain_text("Generation ended after 1 of 3 samples.")
    await expect(rows).to_have_count(4)
    assert (tab.problems, tab.elsewhere) == ([], [])


async def test_experts_of_a_token(tab: Tab, teller: ForkingTeller) -> None:
    """The inspector shows the experts of the current token, only for a model with experts."""
    inspector = await inspected(tab)
    await expect(inspector.get_by_text("Experts", exact=True)).to_be_hidden()
    teller.has_experts = True
    await tab.page.reload()
    text = tab.page.locator(".pl-body[data-tokens]")
    await text.press("Home")
    await inspector.get_by_text("Experts", exact=True).click()
    rows = inspector.get_by_role("table").get_by_role("row")
    await expect(rows).to_have_text(["Layer 17 75 %2 25 %", "Layer 20 50 %5 50 %"])
    await check_looks(tab.page, ".pl-inspector")
    await text.press("End")
    await expect(rows.last).to_have_text("Layer 23 50 %5 50 %")
    assert (tab.problems, tab.elsewhere) == ([], [])
