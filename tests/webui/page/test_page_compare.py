"""Tests the Compare tab in a browser with real models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import SMALL, Tab
from support.page.page_tabs import busy, check_looks, scored, until_idle
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

PROMPT = "Write one sentence about the sea."

LONG_PROMPT = "Write a long story about a lighthouse and the sea."

SAID = (
    "name => [...document.querySelectorAll(`[aria-label='Answer ${name}'] .pl-token`)].map((cell) => cell.textContent)"
)

MOST = 24
"""Maximum number of tokens in an answer."""


async def prepare(tab: Tab, prompt: str = PROMPT, most: int = MOST, **temperatures: float) -> Page:
    """Open the tab with a prompt, a number of tokens, and temperatures by the columns' letters."""
    await tab.open()
    await tab.tab("Compare")
    page = tab.page
    await page.locator("#pl-compare-prompt").fill(prompt)
    for letter in "AB":
        column = page.get_by_role("group", name=f"Column {letter}")
        await column.get_by_label(f"More settings of column {letter}").click()
        await column.get_by_label("Max output tokens").fill(str(most))
        if letter in temperatures:
            await column.get_by_label("Temperature").fill(str(temperatures[letter]))
    return page


async def compare(page: Page) -> dict[str, list[str]]:
    """Compare, wait for the summary, and return the rows of the tables."""
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare-result[data-done=true]").wait_for()
    return await rows_of(page)


async def rows_of(page: Page) -> dict[str, list[str]]:
    rows = await page.locator(".pl-compare-tables tbody tr").all()
    return {await row.locator("th").inner_text(): await row.locator("td").all_inner_texts() for row in rows}


async def test_two_settings(tab: Tab) -> None:
    """A model at two temperatures is shown as sampled, and a key moves between differences."""
    page = await prepare(tab, A=0, B=2)
    await page.get_by_label("Model of column B").select_option(CODER)
    await page.get_by_role("group", name="Column B").get_by_label("Seed").fill("3")
    rows = await compare(page)
    a, b = [await page.evaluate(SAID, name) for name in "AB"]
    assert a != b
    assert "same model and system prompt" in await page.locator(".pl-compare-summary").inner_text()
    assert await page.get_by_label("Probabilities").input_value() == "sampled"
    for name, answered in (("A", a), ("B", b)):
        note = await page.locator(f"[aria-label='Answer {name}'] .pl-note").inner_text()
        assert f"{len(answered)} tokens in" in note
        assert ("limit of" in note) == (len(answered) == MOST)
        first, second = rows[f"{name}'s answer"]
        assert first == second
    assert rows["KL divergence to A, bits per token"][1] == "infinite"
    labels = await page.locator("[aria-label='Answer A'] .pl-token").evaluate_all(
        "cells => cells.map((cell) => cell.ariaLabel)"
    )
    assert all(" 100 percent" in label for label in labels)

    await page.locator("[aria-label='Answer A'] .pl-token").first.focus()
    await page.keyboard.press("d")
    first_place = await page.evaluate("document.activeElement.id")
    assert await page.evaluate("document.activeElement.classList.contains('pl-apart')")
    await page.keyboard.press("d")
    assert await page.evaluate("document.activeElement.id") != first_place
    await page.keyboard.press("D")
    assert await page.evaluate("document.activeElement.id") == first_place
    await page.get_by_role("button", name="Next difference").click()
    await check_looks(page)
    assert tab.elsewhere == []
    assert tab.problems == []


async def test_two_models(tab: Tab) -> None:
    """Texts have the perplexity under the other model, equal to the server's score."""
    page = await prepare(tab)
    rows = await compare(page)
    for name, column, own, other in (("A", 1, CODER, SMALL), ("B", 0, SMALL, CODER)):
        side = page.locator(f"[aria-label='Answer {name}']")
        assert own in await side.inner_text()
        answered = "".join(await page.evaluate(SAID, name))
        messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answered}]
        answer = saying(await scored(tab.address, other, messages=messages), answered)
        mean = sum(one["logprob"] for one in answer) / len(answer)
        shown = rows[f"{name}'s answer"][column].split(" ")[0].replace(",", "")
        assert float(shown) == pytest.approx(math.exp(-mean), rel=2e-3)
    await expect(page.locator(".pl-compare-card [data-kl-low]")).to_contain_text("at least")


def saying(tokens: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the tokens of an answer within a conversation."""
    ends = list(accumulate(len(one["token"]) for one in tokens))
    start = "".join(one["token"] for one in tokens).rindex(text)
    found = [one for one, end in zip(tokens, ends, strict=True) if start < end <= start + len(text)]
    assert "".join(one["token"] for one in found) == text
    return found


async def test_stop_and_reload(tab: Tab) -> None:
    """A stop ends both generations in the engine, and the text survives a reload."""
    page = await prepare(tab, LONG_PROMPT, 600)
    await page.get_by_role("button", name="Compare", exact=True).click()
    for name in "AB":
        await page.locator(f"[aria-label='Answer {name}'] .pl-token").nth(3).wait_for()
    assert await busy(tab.address) == 2
    await page.get_by_role("button", name="Stop", exact=True).click()
    await page.locator(".pl-compare-summary").filter(has_text="Stopped").wait_for()
    await until_idle(tab.address)
    a = await page.evaluate(SAID, "A")
    assert 3 < len(a) < 600
    assert (await rows_of(page))["tokens"][0] == str(len(a))
    await tab.open()
    await tab.tab("Compare")
    await page.locator(".pl-compare-result[data-done=true]").wait_for()
    assert await page.evaluate(SAID, "A") == a
    assert await page.locator("#pl-compare-prompt").input_value() == LONG_PROMPT
    await close_during_comparison(tab)


async def test_wrong(tab: Tab) -> None:
    """A link fills the form, and an impossible comparison leaves the earlier answers."""
    page = await prepare(tab, most=4)
    await follow_link(page)
    await compare(page)
    before = await page.evaluate(SAID, "A")
    await page.locator("#pl-compare-prompt").fill("  ")
    await page.get_by_role("button", name="Compare", exact=True).click()
    await expect(page.locator(".pl-compare > [role=status]")).to_have_text(
        "The prompt is empty: write one, or a reference text that all columns read."
    )
    assert await page.evaluate(SAID, "A") == before
    await page.locator("#pl-compare-prompt").fill("word salad " * 6000)
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-column .pl-wrong").nth(1).wait_for()
    assert "tokens and the context holds" in await page.locator(".pl-column .pl-wrong").first.inner_text()


async def follow_link(page: Page) -> None:
    """The link of a form opens the Compare tab with the form's values."""
    link = await page.evaluate(
        "Pellucid.compareLink.toLink(JSON.parse(sessionStorage.getItem('pellucid.compare.form')))"
    )
    await page.evaluate("sessionStorage.clear()")
    await page.goto("about:blank")
    await page.goto(link)
    await expect(page.locator("#pl-compare-prompt")).to_be_visible()
    await expect(page.locator("#pl-compare-prompt")).to_have_value(PROMPT)
    assert "#" not in page.url


async def close_during_comparison(tab: Tab) -> None:
    """Closing the page ends both generations in the engine."""
    page = tab.page
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare-result[data-done=true]").wait_for(state="detached")
    await page.locator("[aria-label='Answer B'] .pl-token").nth(3).wait_for()
    assert await busy(tab.address) == 2
    await page.close()
    await until_idle(tab.address)
