"""Tests the Compare tab in a real browser with real models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest
from playwright.async_api import Page

from support.page.page_fixtures import SMALL, Tab
from support.page.page_tabs import LOOKS, busy, check_looks, choose, scored, set_number, unfold, until_idle
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

PROMPT = "Write one sentence about the sea."

SAID = "name => [...document.querySelectorAll(`[aria-label='Answer ${name}'] .pl-token`)].map((cell) => cell.textContent)"


MOST = 24
"""Most tokens of an answer."""


async def prepare(tab: Tab, prompt: str = PROMPT, most: int = MOST) -> Page:
    """Open the tab with a prompt and a number of tokens, and otherwise default settings."""
    await tab.open()
    await tab.tab("Compare")
    page = tab.page
    await page.locator("#pl-compare-prompt textarea").fill(prompt)
    await unfold(page, "Sampling")
    for which in (0, 1):
        await set_number(page, "Max output tokens", most, which)
    return page


async def compare(page: Page) -> dict[str, tuple[str, str]]:
    """Compare, and wait for the summary."""
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare .pl-table tbody tr").first.wait_for()
    rows = await page.locator(".pl-compare .pl-table tbody tr").all()
    return {await row.locator("th").inner_text(): tuple(await row.locator("td").all_inner_texts()) for row in rows}  # type: ignore[misc]  # two cells


async def status(page: Page) -> str:
    return await page.locator(".pl-compare [role=status]").first.inner_text()


async def test_two_settings(tab: Tab) -> None:
    """One model at two temperatures: common text is plain, text of one side is marked, and a key moves to the differences."""
    page = await prepare(tab)
    await choose(page, "Model", CODER, 1)
    await set_number(page, "Temperature", 2, 1)
    await set_number(page, "Seed", 3, 1)
    rows = await compare(page)
    a, b = [await page.evaluate(SAID, name) for name in "AB"]
    assert a != b
    assert (await status(page)).startswith("The answers differ from character")
    assert "Both sides have the same model" in await status(page)
    for name, answered in (("A", a), ("B", b)):
        note = await page.locator(f"[aria-label='Answer {name}'] .pl-note").inner_text()
        assert f"{len(answered)} tokens in" in note
        assert ("token limit" in note) == (len(answered) == MOST)
    assert rows["perplexity under A"] == rows["perplexity under B"]
    assert float(rows["perplexity under A"][0]) < float(rows["perplexity under A"][1])
    assert rows["same first choice"] == ("100.0%", "100.0%")

    same = next(index for index, (one, other) in enumerate(zip(a, b, strict=False)) if one != other)
    for name in "AB":
        side = page.locator(f"[aria-label='Answer {name}']")
        assert await side.locator("[data-apart]").count() > 0
        apart = await side.locator("[data-apart]").evaluate_all("cells => cells.map((cell) => Number(cell.dataset.token))")
        assert min(apart) >= max(same - 1, 0)
        labels = await side.locator(".pl-token").evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")
        assert all("equally likely under" in label for label in labels)

    await page.locator("[aria-label='Answer A'] .pl-token").first.focus()
    await page.keyboard.press("d")
    assert await page.evaluate("document.activeElement.hasAttribute('data-apart')")
    first = await page.evaluate("document.activeElement.id")
    assert (await status(page)).startswith("1 of ")
    await page.keyboard.press("d")
    assert await page.evaluate("document.activeElement.id") != first
    await page.keyboard.press("D")
    assert await page.evaluate("document.activeElement.id") == first
    assert tab.elsewhere == []
    assert tab.problems == []


async def test_two_models(tab: Tab) -> None:
    """Two models with different tokenizers: each text has the perplexity that the server's score gives under the other model."""
    page = await prepare(tab)
    await choose(page, "Model", SMALL, 1)
    await set_number(page, "Temperature", 0, 1)
    rows = await compare(page)
    for name, column, own, other, row in (("A", 0, CODER, SMALL, "perplexity under B"), ("B", 1, SMALL, CODER, "perplexity under A")):
        side = page.locator(f"[aria-label='Answer {name}']")
        assert own in await side.inner_text()
        labels = await side.locator(".pl-token").evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")
        assert len(labels) > 0
        assert all("likely under" in label or "more likely under" in label for label in labels)
        assert any(f"more likely under {name} than under" in label for label in labels)
        answered = "".join(await page.evaluate(SAID, name))
        messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answered}]
        read = await scored(tab.address, other, messages=messages)
        answer = saying(read, answered)
        mean = sum(one["logprob"] for one in answer) / len(answer)
        assert float(rows[row][column]) == pytest.approx(math.exp(-mean), rel=2e-3)


def saying(tokens: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the tokens of an answer among those of its conversation."""
    ends = list(accumulate(len(one["token"]) for one in tokens))
    start = "".join(one["token"] for one in tokens).rindex(text)
    found = [one for one, end in zip(tokens, ends, strict=True) if start < end <= start + len(text)]
    assert "".join(one["token"] for one in found) == text
    return found


async def test_stop(tab: Tab) -> None:
    """A stop ends both generations in the engine at once, and keeps their text."""
    page = await prepare(tab, "Write a long story about a lighthouse and the sea.", 600)
    await set_number(page, "Temperature", 0, 1)  # as for A, so that neither answer is short
    await page.get_by_role("button", name="Compare", exact=True).click()
    for name in "AB":
        await page.locator(f"[aria-label='Answer {name}'] .pl-token").nth(3).wait_for()
    assert await busy(tab.address) == 2
    await page.locator(".pl-compare").get_by_role("button", name="Stop").click()
    await page.locator(".pl-compare [role=status]").first.filter(has_text="Stopped").wait_for()
    await until_idle(tab.address)
    a = await page.evaluate(SAID, "A")
    assert 3 < len(a) < 600
    assert await page.locator(".pl-compare").get_by_role("button", name="Stop").is_hidden()
    assert await page.locator(".pl-compare tbody tr").filter(has_text="tokens").locator("td").first.inner_text() == str(len(a))


async def test_closing_the_tab(tab: Tab) -> None:
    """Closing the page ends both generations in the engine."""
    page = await prepare(tab, "Write a long story about a lighthouse and the sea.", 600)
    await set_number(page, "Temperature", 0, 1)  # as for A, so that neither answer is short
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator("[aria-label='Answer B'] .pl-token").nth(3).wait_for()
    assert await busy(tab.address) == 2
    await page.close()
    await until_idle(tab.address)


async def test_wrong(tab: Tab) -> None:
    """A comparison that is impossible is reported in one sentence, and the earlier answers stay."""
    page = await prepare(tab, most=4)
    await compare(page)
    before = await page.evaluate(SAID, "A")
    await page.locator("#pl-compare-prompt textarea").fill("  ")
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare .pl-wrong").first.wait_for()
    assert await status(page) == "The prompt is empty: write what both sides should answer."
    assert await page.evaluate(SAID, "A") == before
    await page.locator("#pl-compare-prompt textarea").fill("word salad " * 6000)
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-side .pl-wrong").nth(1).wait_for()
    assert "tokens and the context holds" in await page.locator(".pl-side .pl-wrong").first.inner_text()


@pytest.mark.parametrize("browser_page", LOOKS, indirect=True, ids=lambda look: look["color_scheme"])
async def test_looks(tab: Tab, request: pytest.FixtureRequest) -> None:
    """After a comparison axe finds nothing serious, light or dark, and nothing is cut off on a phone or a wide screen."""
    page = await prepare(tab)
    await choose(page, "Model", SMALL, 1)
    await compare(page)
    await page.locator(".pl-compare").get_by_role("button", name="Next divergence").first.click()
    await page.keyboard.press("Escape")
    await check_looks(page, request.node.callspec.params["browser_page"]["color_scheme"])
