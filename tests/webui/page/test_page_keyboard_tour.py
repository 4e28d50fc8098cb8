"""Tests that the Tab key reaches all controls with a visible focus."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.pictured_page import PictureAssistant, fill
from support.page.small_page_server import paged
from support.servers.http_servers import scripted_state

FEWEST_STOPS, MOST_STOPS = 8, 150

TOUR = """(() => {
  const stops = new Set(), unseen = [];
  let last = null; // the element that has the focus, and its look with it

  const nameOf = (one) => (one.ariaLabel || one.labels?.[0]?.textContent || one.textContent || \
one.outerHTML).trim().slice(0, 60);
  const styleOf = (one) => {
    const { outline, boxShadow, borderColor, backgroundColor } = getComputedStyle(one);
    return [outline, boxShadow, borderColor, backgroundColor].join();
  };
  // The focus is shown by the element itself, by a box around it, or by what is drawn in its place.
  const lookOf = (one) =>
    [one, one.parentElement, one.parentElement?.parentElement, \
one.nextElementSibling].filter(Boolean).map(styleOf).join();
  const hasCaret = (one) => one.matches("textarea, input:is([type=text], [type=search], [type=number], :not([type]))");
  const isUsable = (one) => !one.disabled && one.tabIndex >= 0 && one.clientWidth > 2
    && one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const isInReachedGroup = (one) => one.type === "radio" && [...stops].some((stop) => \
stop.type === "radio" && stop.name === one.name);

  window.tour = {
    // Notes the focused element. Returns whether the tour continues: it ends where it began.
    step() {
      if (last?.element.isConnected && !hasCaret(last.element) && \
lookOf(last.element) === last.look) unseen.push(nameOf(last.element));
      const element = document.activeElement;
      last = element === document.body ? null : { element, look: lookOf(element) };
      if (stops.has(element)) return false;
      if (last) stops.add(element);
      return true;
    },
    found: () => ({
      count: stops.size,
      missed: [...document.querySelectorAll("button, a[href], input, textarea, select, summary, [tabindex='0']")]
        .filter((one) => isUsable(one) && !stops.has(one) && !isInReachedGroup(one)).map(nameOf),
      unseen,
    }),
  };
})()"""
"""Elements with a tabindex of -1 are reached by arrow keys, and are tested separately."""


@pytest.fixture
async def page(tmp_path: Path, browser_page: Page) -> AsyncIterator[Page]:
    """Provide the page with an open conversation."""
    id = fill(tmp_path)
    with paged(tmp_path, pellucid_view, state=scripted_state(PictureAssistant())) as server:  # type: ignore[arg-type]
        server.wait()
        tab: Tab = watched(browser_page, server.server.url)
        await tab.open(f"/?c={id}")
        await browser_page.locator(".pl-body[data-tokens]").wait_for()
        yield browser_page
        assert tab.problems == []


async def chat(page: Page) -> None:
    """Open the settings and the inspector next to the answer."""
    await page.get_by_role("button", name="Model & settings").click()
    await page.get_by_role("button", name="Sampling").first.wait_for()


async def read(page: Page) -> None:
    await page.get_by_role("tab", name="Read").click()
    await expect(page.locator("#pl-read-text textarea")).to_have_value(re.compile("mean"))
    await page.get_by_role("button", name="Read", exact=True).click()
    # The charts are drawn before all tokens have arrived.
    await page.locator(".pl-line-row").first.wait_for()
    await page.locator(".pl-charts svg").nth(2).wait_for()


async def compare(page: Page) -> None:
    await page.get_by_role("tab", name="Compare").click()
    await page.locator("#pl-compare-prompt").fill("Write two sentences about the sky.")
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare-result[data-done=true]").wait_for()


async def infill(page: Page) -> None:
    await page.get_by_role("tab", name="Infill").click()
    await page.locator(".pl-infill textarea").first.wait_for()


async def review(page: Page) -> None:
    await page.get_by_role("tab", name="Review").click()
    # The form opens once the server has said that there is no review yet.
    await page.locator(".pl-review").get_by_label("Model of column B").wait_for()


async def test_tour(page: Page) -> None:
    """In each tab, the Tab key reaches every usable control and shows the focus."""
    for open_tab in (chat, read, compare, infill, review):
        await open_tab(page)
        await page.evaluate(TOUR)
        await page.mouse.move(1, 1)
        for _ in range(MOST_STOPS):
            await page.keyboard.press("Tab")
            if not await page.evaluate("() => window.tour.step()"):
                break
        found: dict[str, Any] = await page.evaluate("() => window.tour.found()")
        assert found["count"] >= FEWEST_STOPS, open_tab.__name__
        assert (found["missed"], found["unseen"]) == ([], []), open_tab.__name__
