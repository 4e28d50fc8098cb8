"""Tests that the page shows the server's numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from playwright.async_api import expect

from support.page.page_fixtures import Tab
from support.page.page_tabs import cards, scored
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

TEXT = '''def read_lines(path):
    """Every line of a file without its end."""
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\\n") for line in file]


def count_words(lines):
    return sum(len(line.split()) for line in lines)
'''

CLOSE = 1e-5
"""Relative tolerance: records have six digits."""

LEAST = 50
"""Minimum number of checked tokens."""


async def test_of_a_text(tab: Tab) -> None:
    """A token's card shows the values returned by /v1/score."""
    await tab.open()
    await tab.tab("Read")
    await tab.page.locator("#pl-read-text textarea").fill(TEXT)
    await tab.page.locator("#pl-read-go").click()
    expected = await scored(tab.address, CODER, text=TEXT)
    # The page requests tokens after the figures.
    await expect(tab.page.locator(".pl-reading .pl-token")).to_have_count(len(expected))
    shown = await cards(tab.page.locator(".pl-reading"))
    assert len(shown) == len(expected) >= LEAST
    for card, token in zip(shown, expected, strict=True):
        assert card["id"] == str(token["id"])
        if token["logprob"] is None:
            assert "logprob" not in card
            continue
        assert card["rank"] == str(token["rank"])
        assert float(card["probability"]) == pytest.approx(
            math.exp(token["logprob"]), rel=CLOSE * max(-token["logprob"], 1)
        )
        for name in ("logprob", "entropy", "rest"):
            assert float(card[name]) == pytest.approx(token[name], rel=CLOSE, abs=1e-9)
        alternatives = [(one["id"], float(one["logprob"])) for one in card["alternatives"]]
        assert [id for id, _ in alternatives] == [str(one["id"]) for one in token["top"]]
        assert [logprob for _, logprob in alternatives] == pytest.approx(
            [one["logprob"] for one in token["top"]], rel=CLOSE
        )


async def test_of_what_if(tab: Tab) -> None:
    """At the server's own settings, what-if gives the sampled probability of each token."""
    await tab.open()
    for label, value in {"Temperature": 0.8, "Top-p": 0.9, "Min-p": 0.05, "Seed": 5, "Max output tokens": 64}.items():
        await tab.set_number(label, value)
    await tab.answer("Write a letter to a friend.")
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    answer = tab.page.locator(".pl-assistant")
    await answer.locator(".pl-token").first.wait_for()
    # The inspector is next to the answer in a wide window.
    await tab.show_settings(False)
    await tab.page.locator(".pl-inspector .pl-whatif > summary").click()
    await answer.locator(".pl-token").first.focus()
    # What-if is drawn in the next frame.
    await tab.page.locator(".pl-inspector [data-whatif]").first.wait_for()
    shown = await cards(answer)
    assert len(shown) >= LEAST
    assert [as_number(card["whatif"]) for card in shown] == pytest.approx(
        [as_number(card["sampled"]) for card in shown], abs=1e-5
    )
    assert any(as_number(card["sampled"]) < 0.9 for card in shown)


def as_number(found: Any) -> float:
    """Return a figure of a card, and fail without a figure."""
    assert found is not None
    return float(found)
