"""Tests the inspection of rendered answers in a browser."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean

import pytest
from playwright.async_api import Locator, Page, expect

from pellucid.vocabulary.token import Alternative, Token
from support.page.page_fixtures import Tab
from support.page.page_tabs import check_looks, check_widths
from support.page.storyteller import Storyteller

ANSWER = (
    ("The", 0.9), (" **", 0.9), ("sea", 0.04), ("**", 0.9), (" is", 0.9), (" *", 0.9), ("very", 0.9), ("*", 0.9),
    (" blue", 0.2), (" and", 0.95), (" wide", 0.95), (",", 0.9), (" as", 0.9), (" everybody", 0.9), (" knows", 0.9),
    (" who", 0.9), (" has", 0.9), (" ever", 0.9), (" been", 0.9), (" there", 0.9), (".\n\n", 0.9), ("```", 0.9),
    ("python\n", 0.9), ("def", 0.9), (" swim", 0.5), ("():\n", 0.9), ("    pass\n", 0.9), ("```", 0.9),
)  # fmt: skip
"""Texts and probabilities."""

PAINTED = "name => [...(CSS.highlights.get(name) ?? [])].map((range) => range.toString())"
PLACE = """word => {
  const walker = document.createTreeWalker(document.querySelector(".pl-assistant .pl-body"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const at = walker.currentNode.data.indexOf(word);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(walker.currentNode, at);
    range.setEnd(walker.currentNode, at + word.length);
    const box = range.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  }
}"""
"""Returns the middle of a word in the answer."""


def tokens(answer: Sequence[tuple[str, float]] = ANSWER) -> list[Token]:
    """Return the tokens of an answer, each with a less probable alternative."""
    found = []
    for index, (text, probability) in enumerate(answer):
        share = min(probability, 1 - probability) / 2
        other = Alternative(900 + index, f" other{index}", f" other{index}".encode(), log(share))
        top = (Alternative(index, text, text.encode(), log(probability)), other)
        found.append(
            Token(index, text, text.encode(), index, log(probability), 1, 0.5, top, 1 - probability - share, 1.0)
        )
    return found


@pytest.fixture
async def answered(tab: Tab, teller: Storyteller) -> AsyncIterator[Tab]:
    """Provide a tab with the answer and placed tokens."""
    teller.script = tokens()
    await tab.answer("How is the sea?")
    await tab.page.wait_for_selector(".pl-body[data-tokens]")
    yield tab
    assert tab.problems == []
    assert tab.elsewhere == []


def inspector(tab: Tab) -> Locator:
    return tab.page.locator(".pl-inspector")


async def painted(tab: Tab, name: str) -> list[str]:
    """Return the texts painted by a highlight."""
    found: list[str] = await tab.page.evaluate(PAINTED, name)
    return found


async def point(tab: Tab, word: str) -> None:
    """Move the pointer to a word of the answer."""
    x, y = await tab.page.evaluate(PLACE, word)
    await tab.page.mouse.move(x, y)


async def shown(tab: Tab, index: int) -> None:
    """Wait until the inspector shows a token."""
    await expect(inspector(tab).locator(".pl-docked")).to_have_attribute("data-index", str(index))


@pytest.fixture
async def without_highlights(browser_page: Page) -> None:
    """Remove the CSS Custom Highlight API before any script of the page runs."""
    await browser_page.add_init_script("delete CSS.highlights")


DRAWN = """words => {
  const boxes = [...document.querySelectorAll(".pl-drawn > .pl-unsure")].map((box) => box.getBoundingClientRect());
  const found = boxes.map(({ left, top, width, height }) => {
    const at = document.caretPositionFromPoint(left + width / 2, top + height / 2);
    return at.offsetNode.nodeValue?.slice(at.offset - 1, at.offset + 1);
  });
  return found.length === words.length && words.every((word, index) => found[index] && word.includes(found[index]));
}"""
"""Returns whether the boxes drawn for unsure words are over these words."""


@pytest.mark.usefixtures("without_highlights")
async def test_a_browser_without_highlights(answered: Tab) -> None:
    """Without highlights, boxes mark words and take no clicks."""
    page = answered.page
    assert await page.evaluate("CSS.highlights === undefined")
    await page.wait_for_function(DRAWN, arg=["sea", "blue"])
    await page.mouse.click(*await page.evaluate(PLACE, "sea"))
    await shown(answered, 2)
    await expect(page.locator(".pl-drawn > .pl-here")).to_have_count(1)
    await check_widths(page)
    await page.keyboard.press("Escape")
    await page.set_viewport_size({"width": 500, "height": 700})
    await page.wait_for_function(DRAWN, arg=["sea", "blue"])
    await page.keyboard.press("i")
    await expect(page.locator(".pl-drawn > .pl-step-8")).to_have_count(1)
    await expect(page.locator(".pl-drawn > .pl-unsure")).to_have_count(0)


async def test_inspector(answered: Tab) -> None:
    """Unsure words, pointer, keys, tokens and what-if inspect a rendered answer, accessibly."""
    await unsure_words_are_underlined(answered)
    await pointer(answered)
    await keyboard(answered)
    await least_likely(answered)
    await answered.page.keyboard.press("Escape")
    await what_if(answered)
    await answered.page.keyboard.press("Escape")
    await raw_heat_map(answered)
    await check_looks(answered.page, "#pl-chat")


async def test_marks_and_versions(answered: Tab) -> None:
    """One switch changes the marks of all answers, and tokens start other versions."""
    await switch_of_all_answers(answered)
    await answered.page.get_by_role("radiogroup", name="Inspect tokens").get_by_label("Unsure words").check(force=True)
    await branch(answered)


async def unsure_words_are_underlined(answered: Tab) -> None:
    """A few of the least likely words of an answer are underlined, never Markdown marks."""
    assert await painted(answered, "pl-unsure") == ["sea", "blue"]
    assert await answered.page.locator(".pl-assistant .pl-block strong").inner_text() == "sea"
    await answered.page.reload()
    await answered.page.wait_for_selector(".pl-body[data-tokens]")
    assert await painted(answered, "pl-unsure") == ["sea", "blue"]


async def pointer(answered: Tab) -> None:
    """The inspector shows the token under the pointer without shifts; a click keeps the token."""
    before = await answered.page.locator(".pl-assistant .pl-body").bounding_box()
    size = await inspector(answered).bounding_box()
    await point(answered, "blue")
    await shown(answered, 8)
    assert "20.0 %" in await inspector(answered).inner_text()
    await point(answered, "swim")
    await shown(answered, 24)
    assert await answered.page.locator(".pl-assistant .pl-body").bounding_box() == before
    assert await inspector(answered).bounding_box() == size

    await answered.page.mouse.click(*await answered.page.evaluate(PLACE, "sea"))
    await shown(answered, 2)
    await point(answered, "blue")
    await answered.page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    await shown(answered, 2)
    await answered.page.keyboard.press("Escape")
    await expect(inspector(answered).locator(".pl-docked")).to_be_empty()


async def keyboard(answered: Tab) -> None:
    """Keys visit tokens and unsure words, Enter leads to the alternatives, and Escape back."""
    press = answered.page.keyboard.press
    await answered.page.locator(".pl-assistant .pl-body").focus()
    for key, index in (
        ("ArrowRight", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("End", 26),
        ("Home", 0),
        ("n", 2),
        ("n", 8),
        ("n", 2),
        ("p", 8),
    ):
        await press(key)
        await shown(answered, index)
    assert await painted(answered, "pl-here") == ["blue"]
    await press("Enter")
    assert await answered.page.evaluate("document.activeElement.dataset.alternative") == "0"
    await press("Escape")
    assert await answered.page.evaluate("document.activeElement.className") == "pl-body"
    await expect(inspector(answered).locator(".pl-docked")).to_be_empty()


async def least_likely(answered: Tab) -> None:
    """A press leads to the least likely token of the answer from any focus."""
    await answered.page.get_by_label("Your message").focus()
    await answered.page.get_by_role("button", name="Least likely").click()
    await shown(answered, 2)
    await answered.page.keyboard.press("Escape")
    await answered.page.get_by_role("radio", name="Unsure words").focus()
    await answered.page.keyboard.press("l")
    await shown(answered, 2)


async def raw_heat_map(answered: Tab) -> None:
    """The tokens of a message are shown by the same inspector, which keeps a clicked token."""
    await answered.page.locator(".pl-assistant .pl-tokens-button").click()
    await answered.options.nth(2).click()
    await shown(answered, 2)
    assert await answered.page.locator(".pl-card").count() == 1
    await answered.options.nth(4).hover()
    await answered.page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
    await shown(answered, 2)


async def test_token_table(answered: Tab, tmp_path: Path) -> None:
    """Details have the perplexity; the table sorts, selects, searches, and saves all tokens."""
    page, rows = answered.page, answered.page.locator("tr[data-token]")
    bits = -fmean(log(probability) for _, probability in ANSWER) / log(2)
    await page.locator(".pl-assistant .pl-details-button").click()
    words = f"surprisal {bits:.3f} bits per token, perplexity {2**bits:.3f}"
    await expect(page.locator(".pl-assistant .pl-note")).to_contain_text(words)
    await page.locator(".pl-assistant .pl-tokens-button").click()
    await page.get_by_label("Table", exact=True).check(force=True)
    await page.get_by_role("button", name="Surprisal, bits").click()
    await rows.nth(1).click()
    await shown(answered, 8)
    await page.keyboard.press("ArrowUp")
    await shown(answered, 2)
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.dataset.alternative") == "0"
    await page.keyboard.press("Escape")
    await expect(rows.first.get_by_role("button")).to_be_focused()
    await page.get_by_label("Find a token").fill("BLUE")
    await expect(rows).to_have_count(1)
    await expect(page.locator(".pl-token-view")).to_contain_text(f"1 of {len(ANSWER)} tokens")
    await page.get_by_label("Find a token").fill("")
    await page.get_by_text("Most probable token at each place, as text").click()
    await expect(page.locator(".pl-greedy")).to_contain_text("The same as what was written.")
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download CSV").click()
    download = await waiting.value
    assert download.suggested_filename == "answer-tokens.csv"
    await download.save_as(tmp_path / "tokens.csv")
    with (tmp_path / "tokens.csv").open(encoding="utf-8", newline="") as file:
        assert [row["token"] for row in csv.DictReader(file)] == [text for text, _ in ANSWER]
    await check_looks(page, ".pl-assistant")


async def what_if(answered: Tab) -> None:
    """The inspector's sliders recolour the whole answer, and closing restores the answer."""
    legend = answered.page.get_by_role("group", name="What the marks mean")
    await point(answered, "blue")
    await shown(answered, 8)
    await inspector(answered).get_by_text("What if…").click()
    await inspector(answered).get_by_role("slider", name="Temperature").fill("2")
    await answered.page.wait_for_function(
        "[1, 2, 3, 4, 5, 6, 7, 8].some((step) => CSS.highlights.get(`pl-step-${step}`)?.size)"
    )
    await expect(legend).to_contain_text("unexpected")
    await inspector(answered).get_by_text("What if…").click()
    await expect(legend).to_contain_text("less than 30 % likely")
    await answered.page.wait_for_function(
        "[1, 2, 3, 4, 5, 6, 7, 8].every((step) => !CSS.highlights.get(`pl-step-${step}`).size)"
    )


async def switch_of_all_answers(answered: Tab) -> None:
    """A remembered switch shows all answers, even those opened as tokens, in one of three ways."""
    switch = answered.page.get_by_role("radiogroup", name="Inspect tokens")
    legend = answered.page.get_by_role("group", name="What the marks mean")
    await expect(legend).to_contain_text("less than 30 % likely")
    assert await switch.get_by_label("Unsure words").is_checked()
    await answered.page.locator(".pl-messages").focus()
    await answered.page.keyboard.press("i")
    assert await switch.get_by_label("Heat map").is_checked()
    await expect(legend).to_have_text(re.compile("expected100 %.*0 %unexpected"))
    assert await painted(answered, "pl-unsure") == []
    assert await painted(answered, "pl-step-8") == ["sea"]
    assert " blue" in await painted(answered, "pl-step-6")
    await answered.page.reload()
    await answered.page.wait_for_selector(".pl-body[data-tokens]")
    assert await painted(answered, "pl-step-8") == ["sea"]
    await answered.page.locator(".pl-assistant .pl-tokens-button").click()
    await answered.options.first.wait_for()
    await switch.get_by_label("Text").check(force=True)
    await expect(answered.options).to_have_count(0)
    assert await painted(answered, "pl-step-8") == []
    await expect(inspector(answered)).to_be_hidden()
    await expect(legend).to_be_hidden()


async def branch(answered: Tab) -> None:
    """An alternative starts a version, marked at the branch with the replaced token."""
    await answered.page.mouse.click(*await answered.page.evaluate(PLACE, "blue"))
    await shown(answered, 8)
    await inspector(answered).locator("[data-alternative='1']").click()
    await answered.page.get_by_text("2 / 2").wait_for()
    await answered.answered(2)
    mark = answered.page.get_by_role("img", name="branched here: was “ blue” 20.0 %")
    await mark.wait_for()
    assert await painted(answered, "pl-branch") == ["other8"]
    await answered.page.mouse.click(*await answered.page.evaluate(PLACE, "other8"))
    await expect(inspector(answered).locator(".pl-branch-remark")).to_have_text("Branched here: was “ blue” 20.0 %.")


async def test_an_engine_that_reports_less(tab: Tab, teller: Storyteller) -> None:
    """The inspector shows a range of entropies and a missing sampling probability."""
    teller.script = [replace(one, entropy=None, entropy_range=(log(2), log(4)), sampled=None) for one in tokens()]
    await tab.answer("How is the sea?")
    await tab.page.wait_for_selector(".pl-body[data-tokens]")
    await tab.page.mouse.click(*await tab.page.evaluate(PLACE, "blue"))
    await shown(tab, 8)
    await expect(inspector(tab)).to_contain_text("1.00 to 2.00 bits")
    await expect(inspector(tab)).to_contain_text("not reported by the engine")
    assert tab.problems == []


async def test_a_first_answer(tab: Tab, teller: Storyteller) -> None:
    """The least likely word of a first answer is shown by itself, with why the model was unsure."""
    teller.script = tokens((("Sydney", 0.02), (" is big.", 0.99)))
    await tab.answer("Which city?")
    await shown(tab, 0)
    await expect(inspector(tab)).to_contain_text("No choice leads: the first, Sydney, has 2.00 %")
    await tab.page.mouse.move(1, 1)
    await tab.page.keyboard.press("Escape")
    await tab.answer("And then?")
    await tab.page.wait_for_function("document.querySelectorAll('.pl-body[data-tokens]').length === 2")
    await expect(inspector(tab)).to_contain_text("Click a word of an answer")


@pytest.mark.parametrize(
    "browser_page", [{"viewport": {"width": 390, "height": 800}, "has_touch": True}], indirect=True, ids=["phone"]
)
async def test_phone(answered: Tab) -> None:
    """On a narrow page only a tap opens the inspector, below the word; the inspector scrolls."""
    await point(answered, "blue")
    await expect(inspector(answered)).to_be_hidden()
    before = await answered.page.locator(".pl-assistant .pl-body").bounding_box()
    x, y = await answered.page.evaluate(PLACE, "sea")
    await answered.page.touchscreen.tap(x, y)
    await shown(answered, 2)
    sheet = await inspector(answered).bounding_box()
    assert sheet is not None
    assert sheet["y"] > y
    assert await answered.page.locator(".pl-assistant .pl-body").bounding_box() == before
    assert await answered.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await inspector(answered).get_by_text("What if…").tap()
    await inspector(answered).get_by_role("slider", name="Temperature").fill("2")
    await expect(inspector(answered)).to_contain_text("What if: probability")
    await inspector(answered).get_by_role("button", name="Close").click()
    await expect(inspector(answered)).to_be_hidden()
