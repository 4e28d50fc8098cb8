"""Tests the tree of an answer in a browser, on a separate page."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from support.page.page_tabs import COLOURS
from support.page.tree_page import show_tree

LABELS = "() => [...document.querySelectorAll('[role=treeitem]')].map((item) => item.getAttribute('aria-label'))"
FOCUSED = "() => document.activeElement.dataset.row"
WIDTHS = (
    "() => [...document.querySelectorAll('.pl-tree-fill')].map((fill) => fill.offsetWidth / "
    "fill.parentElement.clientWidth)"
)


def row(key: str, value: str, probability: float | None = None, level: int = 1, **more: Any) -> dict[str, Any]:
    own = {} if probability is None else {"probability": probability}
    return {"level": level, "key": key, "value": value, "isOpen": False, **own, **more}


TREE: dict[str, Any] = {
    "title": "Values",
    "remarks": [],
    "isCut": False,
    "rows": [
        row("colour", '"red"', 0.62, other={"value": '"blue"', "probability": 0.31}, mass=0.12, tokens=[3, 5]),
        row("maker", "2 keys", isOpen=True),
        row("name", '"<b>x</b>\u202e"', 0.05, level=2, mass=0.5, tokens=[8, 9]),
        row("tags", "[]", level=2),
        row("price", "12", 1.0, tokens=[12, 13]),
    ],
}


async def test_what_is_shown_and_spoken(lone_page: Page) -> None:
    """A value shows the probability, the best alternative and a low mass, never as HTML."""
    await show_tree(lone_page, TREE)
    assert await lone_page.evaluate(LABELS) == [
        (
            'colour: "red", probability 62 percent, or "blue" 31 percent, Only 12 percent of the model\'s own '
            "answers fit the format"
        ),
        "maker: 2 keys",
        'name: "<b>x</b>\u202e", probability 5 percent',
        "tags: []",
        "price: 12, probability 100 percent",
    ]
    items = lone_page.get_by_role("treeitem")
    for text in ("62.0 %", 'or "blue" 31.0 %', "Only 12.0 % of the model's own answers fit the format"):
        await expect(items.first).to_contain_text(text)
    await expect(items.nth(2)).not_to_contain_text("Bent")
    await expect(items.nth(2)).to_contain_text("<b>x</b>⟨U+202E⟩")
    assert await lone_page.evaluate(WIDTHS) == pytest.approx([0.62, 0.05, 1.0], abs=0.02)
    classes = await lone_page.locator(".pl-tree-fill").evaluate_all("fills => fills.map((fill) => fill.className)")
    assert [name.split()[-1] for name in classes] == ["p3", "p8", "p0"]


async def test_keys(lone_page: Page) -> None:
    """Keys move between visible rows, collapse and expand objects, and choose a value's tokens."""
    await show_tree(lone_page, TREE)
    items = lone_page.get_by_role("treeitem")
    assert [await item.get_attribute("tabindex") for item in await items.all()] == ["0", "-1", "-1", "-1", "-1"]
    await lone_page.keyboard.press("Tab")

    async def at(key: str) -> str:
        await lone_page.keyboard.press(key)
        return str(await lone_page.evaluate(FOCUSED))

    assert [await at(key) for key in ("ArrowUp", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowLeft")] == [
        "0",
        "1",
        "2",
        "3",
        "1",
    ]
    assert await at("ArrowLeft") == "1"
    await expect(items.nth(1)).to_have_attribute("aria-expanded", "false")
    await expect(lone_page.locator("[role=treeitem]:visible")).to_have_count(3)
    assert [await at(key) for key in ("ArrowDown", "ArrowUp", "End", "Home")] == ["4", "1", "4", "0"]
    await lone_page.keyboard.press("Enter")
    assert await at("ArrowDown") == "1"
    await lone_page.keyboard.press("Enter")
    await expect(lone_page.locator("[role=treeitem]:visible")).to_have_count(5)
    await at("ArrowDown")
    await lone_page.keyboard.press("Space")
    assert await lone_page.evaluate("window.chosen") == [[3, 5], [8, 9]]
    assert await items.nth(2).get_attribute("tabindex") == "0"
    assert await items.first.get_attribute("tabindex") == "-1"


async def test_mouse(lone_page: Page) -> None:
    """A click chooses a value's tokens and focuses the row, or collapses and expands an object."""
    await show_tree(lone_page, TREE)
    items = lone_page.get_by_role("treeitem")
    await items.last.click()
    assert await lone_page.evaluate("[window.chosen, document.activeElement.dataset.row]") == [[[12, 13]], "4"]
    await items.nth(1).click()
    await expect(lone_page.locator("[role=treeitem]:visible")).to_have_count(3)
    await items.nth(1).click()
    await expect(lone_page.locator("[role=treeitem]:visible")).to_have_count(5)


async def test_accessibility(lone_page: Page) -> None:
    """Axe finds nothing in both themes, and long values do not widen the page."""
    long = row("k" * 200, '"' + "v" * 500 + '"', 0.4, mass=0.1, tokens=[1, 2])
    call = {
        "title": "get_weather",
        "isCall": True,
        "remarks": ["complete"],
        "rows": [*TREE["rows"], long],
        "isCut": True,
    }
    await lone_page.set_viewport_size({"width": 360, "height": 700})
    await show_tree(lone_page, call)
    assert (await Axe().run(lone_page)).response["violations"] == []
    await show_tree(lone_page, call, "dark")
    assert (await lone_page.evaluate(COLOURS))["violations"] == []
    for width in (360, 1280):
        await lone_page.set_viewport_size({"width": width, "height": 700})
        assert await lone_page.evaluate("document.documentElement.scrollWidth") <= width
    await expect(lone_page.get_by_role("tree", name="Call of get_weather with probabilities")).to_be_visible()
    await expect(lone_page.locator(".pl-hint")).to_have_text("Only the first 6 rows are shown.")
