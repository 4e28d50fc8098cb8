"""Tests the table of tokens and the most probable path, in Node and on a separate page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from support.node_modules import in_node
from support.page.heat_page import HeatPage, many, token

PLAIN = {"column": 0, "direction": 1, "text": "", "least": 0, "isOther": False}

TOKENS = [
    token("The", None),
    token(" sea", 0.25, id=2, rank=2, entropy=1.0, others=[(3, " sun", 0.5)]),
    token(" is", 0.9, id=4, entropy=0.5, others=[(5, " was", 0.05)]),
    token(" ", 0.125, id=6, rank=3, entropy=2.0, others=[(7, "🌊", 0.25), (8, " a", 0.2)]),
]

MANY = 4000
MOST_ROWS = 60
"""Maximum of rows with elements, in a window that shows about twenty."""


@pytest.mark.parametrize(
    ("view", "order"),
    [
        ({}, [0, 1, 2, 3]),
        ({"direction": -1}, [3, 2, 1, 0]),
        ({"column": 3, "direction": -1}, [3, 1, 2, 0]),
        ({"column": 2, "direction": 1}, [3, 1, 2, 0]),
        ({"column": 6, "direction": -1}, [1, 3, 2, 0]),
        ({"text": "SE"}, [1]),
        ({"text": "␣"}, [1, 2, 3]),
        ({"least": 2}, [1, 3]),
        ({"isOther": True}, [1, 3]),
        ({"isOther": True, "least": 2.5, "column": 3}, [3]),
    ],
)
def test_order(view: dict[str, Any], order: list[int]) -> None:
    """Tokens without a figure are last in both directions; filters combine."""
    imports = 'import { arranged } from "assets/tokens/token_table.js";'
    assert in_node(imports, "([records, view]) => arranged(records, view)", [TOKENS, PLAIN | view]) == order


def test_most_probable_path() -> None:
    """The path has the most probable token of each place, and marks unwritten tokens."""
    imports = 'import { greedyPath, greedyText } from "assets/tokens/greedy_path.js";'
    half = token("\ufffd", 0.2, data=b"\x8c\x8a", others=[(9, b"\xf0\x9f", 0.6)])
    rest = token("\ufffd", 0.9, data=b"\x8c\x8a")
    path, text, bytewise = in_node(
        imports,
        "([records, halves]) => [greedyPath(records), greedyText(greedyPath(records)), greedyText(greedyPath(halves))]",
        [TOKENS, [half, rest]],
    )
    assert [one["differs"] for one in path] == [False, True, False, True]
    assert text == "The sun is🌊"
    assert bytewise == "🌊"


async def test_many_tokens(lone_page: Page) -> None:
    """Of thousands of rows only those in view are drawn; keys reach all, and the card follows."""
    heat = HeatPage(lone_page)
    await heat.open([], options="{ table: { onSeen: (indices) => { window.seen = indices; } } }")
    await heat.page.evaluate("records => map.set(JSON.parse(records))", json.dumps(many(MANY)))
    page, rows = heat.page, heat.page.locator("tr[data-token]")
    await page.get_by_label("Table", exact=True).check()
    assert await page.get_by_role("listbox").count() == 0
    await page.get_by_role("button", name="Surprisal, bits").click()
    await expect(page.get_by_role("columnheader", name="Surprisal, bits")).to_have_attribute("aria-sort", "descending")
    surprisals = [float(text) for text in await rows.locator("td:nth-child(4)").all_inner_texts()]
    assert surprisals == sorted(surprisals, reverse=True)
    assert len(surprisals) < MOST_ROWS
    drawn = await rows.evaluate_all("rows => rows.map((row) => Number(row.dataset.token))")
    assert await page.evaluate("seen") == drawn
    await expect(page.get_by_role("columnheader", name="Best other token").get_by_role("button")).to_have_count(0)
    await rows.first.click()
    await page.evaluate("map.repaint()")
    await expect(rows.first).to_have_attribute("aria-current", "true")
    first = await heat.number("surprisal")
    for key in ("End", "ArrowUp", "ArrowDown"):
        await page.keyboard.press(key)
    last = rows.last
    await expect(last).to_have_attribute("aria-rowindex", str(MANY + 1))
    await expect(last.get_by_role("button")).to_be_focused()
    assert first == pytest.approx(surprisals[0], abs=0.01)
    assert await heat.number("index") == float(await last.get_attribute("data-token") or "")
    assert await rows.count() < MOST_ROWS
    await page.keyboard.press("Escape")
    await page.get_by_label("Surprisal at least").fill("-1")
    await expect(page.get_by_label("Surprisal at least")).to_have_attribute("aria-invalid", "true")
    said = page.get_by_role("status").last
    await expect(said).to_have_text("The least surprisal is a number of bits from 0 on.")
    await page.get_by_label("Surprisal at least").fill("")
    await page.get_by_label("Find a token").fill("no such word")
    await expect(said).to_have_text("No token matches: change the search or the filters.")
    assert await rows.count() == 0
    await page.get_by_label("Map", exact=True).check()
    await expect(heat.cells.first).to_be_visible()
    assert heat.problems == []
