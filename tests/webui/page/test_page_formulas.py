"""Tests formulas in rendered answers in a browser: look, tokens and copied text."""

from __future__ import annotations

from math import log

from playwright.async_api import Locator, expect

from pellucid.vocabulary.token import Alternative, Token
from support.page.page_fixtures import Tab
from support.page.page_tabs import check_themes, check_widths
from support.page.storyteller import Storyteller

LONG = "1 + x + " + " + ".join(rf"\frac{{x^{{{power}}}}}{{{power}!}}" for power in range(2, 20))

ANSWER = (
    ("The", 0.9), (" mean", 0.9), (" is", 0.9), (" $", 0.9), ("\\mu", 0.9), ("^2", 0.05), ("$", 0.9), (", and", 0.9),
    (" *here*", 0.9),
    (" the density of the normal distribution:\n\n", 0.9),
    ("$$\np(x) = \\frac{1}{\\sigma\\sqrt{2\\pi}}", 0.9),
    (" \\exp\\left(-\\frac{(x - \\mu)^2}{2\\sigma^2}\\right)\n$$\n\n", 0.9),
    ("An unknown one: \\(\\nothing{x}\\)", 0.9), (".\n\n", 0.9), (f"\\[\n{LONG}\n\\]", 0.9),
    ("\n\nand \\(\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix} \\in \\mathbb{R}^{2 \\times 2}\\).", 0.9),
)  # fmt: skip
"""Texts and probabilities."""

SOURCE = "".join(text for text, _ in ANSWER)

COPIED = """selector => {
  const range = document.createRange();
  range.selectNodeContents(document.querySelector(selector));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  const clipboardData = new DataTransfer();
  document.querySelector(selector).dispatchEvent(new ClipboardEvent("copy", { clipboardData, bubbles: true, \
cancelable: true }));
  getSelection().removeAllRanges();
  return clipboardData.getData("text/plain");
}"""
"""Copies the content of an element, and returns the copied text."""


def tokens() -> list[Token]:
    """Return the tokens of the answer, each with a second alternative."""
    found = []
    for index, (text, probability) in enumerate(ANSWER):
        share = min(probability, 1 - probability) / 2
        other = Alternative(900 + index, " other", b" other", log(share))
        top = (Alternative(index, text, text.encode(), log(probability)), other)
        found.append(
            Token(index, text, text.encode(), index, log(probability), 1, 0.5, top, 1 - probability - share, 1.0)
        )
    return found


def formula(tab: Tab, index: int) -> Locator:
    return tab.page.locator(".pl-assistant .pl-formula").nth(index)


async def shown(answered: Tab) -> None:
    """Formulas are rendered, and a formula with an unknown command is shown as source."""
    await expect(answered.page.locator(".pl-assistant .pl-formula")).to_have_count(4)
    top, bottom = [
        await formula(answered, 1).locator("mfrac").first.locator("> *").nth(child).bounding_box() for child in (0, 1)
    ]
    assert top is not None
    assert bottom is not None
    assert top["y"] + top["height"] <= bottom["y"] + 1
    await expect(answered.page.locator(".pl-assistant .pl-math")).to_have_text("\\(\\nothing{x}\\)")


async def read_as_tokens(answered: Tab) -> None:
    """A formula with an unsure token is underlined, and arrow keys visit all of the tokens."""
    await expect(answered.page.locator(".pl-formula.pl-unsure")).to_have_count(1)
    await formula(answered, 0).hover()
    card = answered.page.locator(".pl-inspector .pl-docked")
    await expect(card).to_have_attribute("data-index", "5")
    await expect(answered.page.locator(".pl-formula.pl-here")).to_have_count(1)
    await answered.page.locator(".pl-assistant .pl-body").focus()
    for key, index in (
        ("ArrowLeft", 4),
        ("ArrowLeft", 3),
        ("ArrowLeft", 2),
        ("n", 5),
        ("ArrowRight", 6),
        ("ArrowRight", 7),
    ):
        await answered.page.keyboard.press(key)
        await expect(card).to_have_attribute("data-index", str(index))
    await expect(answered.page.locator(".pl-formula.pl-here")).to_have_count(0)
    await answered.page.keyboard.press("i")
    await expect(formula(answered, 0)).to_have_class("pl-formula pl-step-1 pl-step-8")


async def copied(answered: Tab) -> None:
    """Copied text has the source of formulas, and a part of a formula gives the whole source."""
    text = await answered.page.evaluate(COPIED, ".pl-assistant .pl-body")
    assert text.startswith("The mean is $\\mu^2$, and here the density")
    for part in (SOURCE[SOURCE.index("$$") : SOURCE.rindex("$$") + 2], f"\\[\n{LONG}\n\\]", "\\(\\begin{pmatrix}"):
        assert part in text
    assert await answered.page.evaluate(COPIED, ".pl-formula msup") == "$\\mu^2$"
    assert await answered.page.locator(".pl-copied").count() == 0


async def test_formulas(tab: Tab, teller: Storyteller) -> None:
    """Formulas are shown, read as tokens, copied and scrolled, and axe finds nothing serious."""
    teller.script = tokens()
    await tab.answer("What is the normal distribution?")
    await tab.page.wait_for_selector(".pl-body[data-tokens]")
    await shown(tab)
    await copied(tab)
    await scrolled(tab)
    await check_widths(tab.page)
    await read_as_tokens(tab)
    assert tab.problems == []
    assert tab.elsewhere == []


async def scrolled(answered: Tab) -> None:
    """A long formula scrolls alone, also by keyboard."""
    page, long = answered.page, formula(answered, 2)
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await long.evaluate("element => { element.scrollLeft = 0; }")
        assert await long.evaluate("element => element.scrollWidth > element.clientWidth"), width
        await long.focus()
        await page.keyboard.press("ArrowRight")
        await page.wait_for_function("() => document.activeElement.scrollLeft > 0")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    await check_themes(page, ".pl-assistant")
