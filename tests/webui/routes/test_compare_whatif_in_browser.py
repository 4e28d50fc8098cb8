"""Tests the what-if sliders of the Compare tab in a browser, with scripted answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from math import log

import pytest
from playwright.async_api import Page, expect

from pellucid.client.assistant_protocol import shared
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.routes.compare import CompareRoute
from support.page.compare_page import ComparePage, check_part, compare_page_of
from support.page.page_tabs import FRAMES
from support.page.scripted_assistant import Text, TwoModels, last_message
from support.scripted_answers import Item

VOCABULARY = ("red", "green", "blue", "grey")

SHARES = {"large": (0.6, 0.2, 0.15, 0.05), "small": (0.1, 0.5, 0.25, 0.15)}
"""The whole distribution of each model, the same for all tokens."""


def chosen(word: str, model: str) -> Token:
    """Return a word as a model generates or reads the word, with the vocabulary as alternatives."""
    ranked = sorted(zip(SHARES[model], VOCABULARY, strict=True), reverse=True)
    top = tuple(Alternative(VOCABULARY.index(one), one, one.encode(), log(share)) for share, one in ranked)
    share = SHARES[model][VOCABULARY.index(word)]
    entropy = -sum(one * log(one) for one in SHARES[model])
    return Token(
        VOCABULARY.index(word),
        word,
        word.encode(),
        0,
        log(share),
        1 + [one for _, one in ranked].index(word),
        entropy,
        top,
        rest=0.0,
    )


def read(text: Text, model: str | None) -> Sequence[Token]:
    assert model is not None
    return [chosen(word, model) for word in re.findall("|".join(VOCABULARY), last_message(text))]


@pytest.fixture(scope="module")
def compare_page(lone_page: Page) -> Iterator[ComparePage]:
    with compare_page_of(lone_page) as compared:
        yield compared


@pytest.fixture
async def compared(compare_page: ComparePage) -> AsyncIterator[ComparePage]:
    """Provide the page of a comparison with the sliders open, and check for errors at the end."""
    scripts: list[Sequence[Item]] = [
        [chosen(word, "large") for word in ("red", "blue", "red")],
        [chosen(word, "small") for word in ("red", "green", "blue")],
    ]
    compare_page.view = CompareRoute(shared(TwoModels(scripts, reads=read)))
    await compare_page.open()
    await compare_page.compare()
    await compare_page.page.get_by_label("Probabilities").select_option("whatif")
    yield compare_page
    compare_page.check()


async def move(compared: ComparePage, name: str, value: float) -> None:
    """Move a slider, and wait until the page has followed."""
    slider = compared.page.locator(f"[data-setting={name}]")
    await slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        str(value),
    )
    await compared.page.evaluate(FRAMES)


def at(temperature: float, model: str) -> list[float]:
    powers = [share ** (1 / temperature) for share in SHARES[model]]
    return [one / sum(powers) for one in powers]


async def shares(compared: ComparePage) -> dict[str, list[float]]:
    """Return the probabilities in the card, by token."""
    rows = await compared.card.locator("tbody tr").all()
    cells = "cells => cells.map((cell) => Number(cell.dataset.share))"
    return {
        re.findall(r"\w+", await row.locator("th").inner_text())[0]: await row.locator("td").evaluate_all(cells)
        for row in rows[:4]
    }


async def test_sliders(compared: ComparePage) -> None:
    """Card, labels and divergence follow the sliders in the browser, without requests.

    With top-k 1 only first choices remain, and the divergence is infinite. With the sliders open
    nothing is cut off, and axe finds nothing serious.
    """
    before = len(compared.requested)
    said = compared.page.locator(".pl-compare-whatif-kl")
    line = compared.card.locator("[data-kl-low]")
    for temperature in (0.5, 1.0, 1.2):
        await move(compared, "temperature", temperature)
        await compared.tokens("A").nth(1).focus()
        large, small = at(temperature, "large"), at(temperature, "small")
        found = await shares(compared)
        for index, word in enumerate(VOCABULARY):
            assert found[word] == pytest.approx([large[index], small[index]], abs=1e-2)
        kl = sum(p * log(p / q) for p, q in zip(large, small, strict=True))
        low = float(await line.get_attribute("data-kl-low") or "nan")
        assert low == pytest.approx(kl, abs=2e-2)
        assert low <= kl + 1e-4
        ratio = float(await line.get_attribute("data-ratio-low") or "nan")
        assert ratio == pytest.approx(log(large[2] / small[2]), abs=2e-2)
        mean = f"KL(A‖B) is at least {low / log(2):.3f} bits per token on average over A's answer."
        assert mean in await said.inner_text()
    await check_part(compared.page)

    await move(compared, "temperature", 1)
    await move(compared, "top_k", 1)
    labels = [await compared.tokens("A").nth(at).get_attribute("aria-label") or "" for at in range(3)]
    assert ["100 percent" in label for label in labels] == [True, False, True]
    assert "0 percent" in labels[1]
    infinite = "KL(A‖B) is infinite at 3 of 3 tokens of A's answer, where A could take a token that B never takes."
    assert infinite in await said.inner_text()
    await compared.tokens("A").nth(0).focus()
    await expect(line).to_contain_text("KL(A‖B) is infinite")
    assert len(compared.requested) == before


async def test_other_views(compared: ComparePage) -> None:
    """Closed sliders, or a different view, restore the former probabilities."""
    await move(compared, "temperature", 0)
    await compared.tokens("A").nth(1).focus()
    assert (await shares(compared))["blue"][0] == 0
    await compared.page.locator(".pl-compare-whatif summary").click()
    await expect(compared.page.locator(".pl-compare-whatif")).to_be_hidden()
    await expect(compared.page.get_by_label("Probabilities")).to_have_value("own")
    await compared.tokens("A").nth(1).focus()
    assert (await shares(compared))["blue"][0] == pytest.approx(0.15, abs=1e-3)
    await compared.page.get_by_label("Probabilities").select_option("whatif")
    assert (await shares(compared))["blue"][0] == 0
    await compared.page.get_by_label("Probabilities").select_option("sampled")
    await expect(compared.page.locator(".pl-compare-whatif")).to_be_hidden()
    await expect(compared.page.get_by_label("Probabilities")).to_have_value("sampled")
