"""Provides shared parts of the tab tests: controls, token maps, appearance checks and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import httpx
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page

Theme = Literal["light", "dark"]

SERIOUS = frozenset({"serious", "critical"})

PATIENCE = 60
"""Timeout in seconds, reached only if a test fails."""

WIDTHS = (360, 1920)

LOOKS = [{"color_scheme": "light"}, {"color_scheme": "dark"}]
"""Options of a browser context, for pages without a theme of their own."""

CARDS = """async (map, seconds) => {
  const found = [];
  const late = performance.now() + 1000 * seconds;
  for (const cell of map.querySelectorAll(".pl-token")) {
    cell.focus({ preventScroll: true });
    const card = map.querySelector(".pl-card") || document.querySelector(".pl-inspector .pl-card");
    while (card.dataset.id === undefined && performance.now() < late) await new Promise(requestAnimationFrame);
    const rows = [...card.querySelectorAll("[data-alternative]")];
    const verdict = card.querySelector("[data-whatif]");
    found.push({
      ...card.dataset,
      text: cell.textContent,
      whatif: verdict ? verdict.dataset.whatif : null,
      alternatives: rows.map((row) => ({ ...row.dataset })),
    });
  }
  if (document.activeElement) document.activeElement.blur();
  return found;
}"""
"""Returns the numbers of all cards, each opened by a focused token; the Read tab may load a card
then.
"""


FILL = "(field, text) => { field.value = text; field.dispatchEvent(new Event('input', { bubbles: true })); }"
"""Writes a text as a paste does, because Playwright's typing takes minutes for a long text."""


async def cards(within: Locator) -> list[dict[str, Any]]:
    """Return the numbers of the cards of a map's present tokens."""
    found = await within.locator(".pl-heat:not([aria-hidden])").evaluate(CARDS, PATIENCE)
    assert isinstance(found, list)
    return found


async def choose(page: Page, label: str, option: str, which: int = 0) -> None:
    """Choose an option of the menu with this label, by number if several are visible."""
    await page.get_by_label(label, exact=True).locator("visible=true").nth(which).click()
    await page.get_by_role("option", name=option, exact=True).locator("visible=true").click()


async def set_number(page: Page, label: str, value: float, which: int = 0) -> None:
    """Set the field or slider with this label, by number if several are visible."""
    fields = page.get_by_label(label, exact=True).or_(page.get_by_label(f"number input for {label}", exact=True))
    field = fields.locator("visible=true").nth(which)
    await field.fill(str(value))
    await field.press("Tab")


async def check_looks(page: Page, part: str | None = None) -> None:
    """Assert that axe finds nothing serious in a part of the page, and that nothing is cut off."""
    await check_themes(page, part)
    await check_widths(page)


async def check_widths(page: Page) -> None:
    """Assert that nothing is cut off on a phone and on a wide screen."""
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.wait_for_function("width => document.documentElement.clientWidth === width", arg=width)
        await page.evaluate(FRAMES)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = await page.evaluate(BEYOND)
        assert not beyond, (width, beyond)


async def check_themes(page: Page, part: str | None = None) -> None:
    """Assert that axe finds nothing serious, light and dark, in a part of the page or all of it."""
    await set_theme(page, "light")
    found = serious((await Axe().run(page, context=part)).response)
    assert not found, ("light", found)
    await set_theme(page, "dark")
    found = serious(await page.evaluate(COLOURS, part))
    assert not found, ("dark", found)
    await set_theme(page, "light")


async def set_theme(page: Page, theme: Theme) -> None:
    """Let the system prefer a theme, and wait until the page has the theme's colours."""
    await page.emulate_media(color_scheme=theme)
    await page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=theme == "dark")
    await page.evaluate(RECOLOURED)


def serious(response: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the rules, places and explanations of axe's serious findings."""
    return [
        (one["id"], node["target"], node["failureSummary"])
        for one in response["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


COLOURS = """part => axe.run(part ?? document,
  { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } })"""
"""Runs the rules about colours with the loaded axe: a theme changes nothing else."""

RECOLOURED = """async () => {
  const changing = (one) => one instanceof CSSTransition && one.playState === "running";
  while (document.getAnimations().some(changing)) await new Promise(requestAnimationFrame);
}"""
"""Waits until the colours have changed to those of another theme.

``Animation.finished`` would never settle for a button in a closed part: Chromium gives its
transition no frames.
"""

FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until the layout has followed a change of the window's size."""

BEYOND = """() => [...document.querySelectorAll("[class^='pl-'], [class*=' pl-']")]
  .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
  .filter((element) => !element.parentElement.closest("[role=region][tabindex='0']"))
  .map((element) => element.className)"""
"""Returns the page's elements that are cut off at the right, except inside scrolling regions."""


async def scored(address: str, model: str, **given: Any) -> Sequence[dict[str, Any]]:
    """Return the server's values for each token of a text or of messages."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        reply = await http.post("/v1/score", json={"model": model, "top_logprobs": 10, **given})
    assert reply.status_code == httpx.codes.OK, reply.text
    tokens = reply.json()["tokens"]
    assert isinstance(tokens, list)
    return tokens
