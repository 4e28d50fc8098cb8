"""Tests the Compare tab in a browser, with scripted answers."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import combinations
from math import dist, exp
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from pellucid.client.assistant_protocol import shared
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import Token
from pellucid_webui.views.compare import NOTHING, CompareView
from support.page.compare_page import MOUNT, ComparePage
from support.page.heat_page import asset
from support.page.page_tabs import BEYOND
from support.page.scripted_assistant import tokens
from support.page.scripted_reader import ScriptedReader, Text

A_SAID = ["The", " sky", " is", " blue", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"]
B_SAID = ["The", " sky", " is", " green", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"]

THEMES = ("", "dark")


def said(*words: str) -> list[Token]:
    """Return tokens of a vocabulary, with the alternative "other" and the probability's rest."""
    found = []
    for word, one in zip(words, tokens(*words), strict=True):
        id = 1000 + zlib.crc32(word.encode())
        own, other = one.top
        rest = 1 - exp(own.logprob) - exp(other.logprob)
        found.append(replace(one, id=id, top=(replace(own, id=id), replace(other, id=1)), rest=rest))
    return found


class TwoModels(ScriptedReader):
    async def cards(self) -> list[ModelCard]:
        names = ("large", "small")
        return [
            ModelCard(name=one, context=64, infill=True, chat=True, weight_bytes=1, description="", licence=None)
            for one in names
        ]


def read(text: Text, model: str | None) -> list[Token]:
    """Read an answer as tokens; the small model finds words less likely, especially colours."""
    assert not isinstance(text, str)
    message = text[-1]
    assert isinstance(message, Message)
    parts = re.findall(r"\s?\w+|\n|[^\w\s]", message.content)
    factor = -2.0 if model == "small" else -0.5
    return [replace(one, logprob=factor - 3.0 * (one.text in (" blue", " green"))) for one in said(*parts)]


def assistant() -> TwoModels:
    return TwoModels([said(*A_SAID), said(*B_SAID)], reads=read)


@pytest.fixture
async def compared(browser_page: Page) -> AsyncIterator[ComparePage]:
    """Provide the page before a comparison; check for errors and external requests at the end."""
    found = ComparePage(browser_page, CompareView(shared(assistant())))
    yield found
    assert found.problems == []
    assert [url for url in found.requested if not url.startswith(("http://compare.test/", "about:"))] == []


async def test_above_the_fold(compared: ComparePage) -> None:
    """At 1280 by 800, answers side by side and the card are visible without scrolling."""
    await compared.page.set_viewport_size({"width": 1280, "height": 800})
    await compared.open()
    await compared.compare()
    for part in (compared.tokens("A").first, compared.tokens("B").first, compared.card):
        await expect(part).to_be_in_viewport()
    boxes = [await compared.page.locator(f".pl-column[data-column={letter}]").bounding_box() for letter in "AB"]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]


async def test_the_card(compared: ComparePage) -> None:
    """A focused token opens a card with bars, bounds and the log ratio of the tokens."""
    await compared.open()
    await compared.compare()
    await compared.tokens("A").nth(3).focus()
    await expect(compared.card).to_have_attribute("data-place", "A3")
    line = compared.card.locator("[data-kl-low]")
    low, high = [float(await line.get_attribute(f"data-kl-{side}") or "nan") for side in ("low", "high")]
    assert 0 <= low < high < 999
    ratio = float(await line.get_attribute("data-ratio-low") or "nan")
    assert ratio == pytest.approx(-0.25 + 5.0, abs=1e-3)
    assert "times as likely in A as in B" in await line.inner_text()
    rows = compared.card.locator("tbody tr")
    chosen = compared.card.locator("tr[aria-current]")
    shares = await chosen.locator("td").evaluate_all("cells => cells.map((cell) => Number(cell.dataset.share))")
    assert shares == pytest.approx([0.7788, 0.7788], abs=1e-3)
    assert await rows.last.locator("th").inner_text() == "all others"


async def test_the_same_place(compared: ComparePage) -> None:
    """A pointed or focused token marks the same place in the other column, and Tab goes there."""
    await compared.open()
    await compared.compare()
    await compared.tokens("A").nth(5).focus()
    assert (await compared.marked("A", "shown"), await compared.marked("B", "linked")) == ([5], [5])
    await compared.page.keyboard.press("ArrowLeft")
    await compared.page.keyboard.press("ArrowLeft")
    assert (await compared.marked("A", "shown"), await compared.marked("B", "linked")) == ([3], [3])
    await compared.page.keyboard.press("Tab")
    assert await compared.page.evaluate("document.activeElement.textContent") == " green"
    await compared.tokens("B").nth(9).hover()
    await expect(compared.card).to_have_attribute("data-place", "B9")
    assert await compared.marked("A", "linked") == [9]


async def test_differences(compared: ComparePage) -> None:
    """Keys, buttons and the list lead to the differences, and the card has the reason."""
    await compared.open()
    await compared.compare()
    await compared.tokens("A").first.focus()
    await compared.page.keyboard.press("d")
    assert await compared.page.evaluate("document.activeElement.textContent") == " blue"
    await expect(compared.card.locator(".pl-compare-remark")).to_have_text(
        "token 4: A has “ blue” (78 %), B has “ green” (78 %)"
    )
    await compared.page.get_by_role("button", name="Next difference").click()
    second = await compared.page.locator(".pl-compare-count").inner_text()
    assert second.startswith("2 of ")
    await compared.page.get_by_role("button", name="Previous difference").click()
    assert (await compared.page.locator(".pl-compare-count").inner_text()).startswith("1 of ")
    await compared.page.locator(".pl-jump").nth(1).click()
    assert await compared.page.locator(".pl-compare-count").inner_text() == second


async def test_colours_mean_the_same_side(compared: ComparePage) -> None:
    """A token has the colour and the line of the column with the higher likelihood."""
    await compared.open()
    await compared.compare()
    await compared.page.get_by_label("Colour by").select_option("difference")
    await expect(compared.tokens("A").nth(3)).to_have_class(re.compile("pl-more-A"))
    await expect(compared.tokens("B").nth(3)).to_have_class(re.compile("pl-more-B"))
    backgrounds = [
        await compared.tokens(letter)
        .nth(3)
        .evaluate("cell => getComputedStyle(cell).backgroundColor + getComputedStyle(cell).textDecorationStyle")
        for letter in "AB"
    ]
    assert len(set(backgrounds)) == 2
    names = [await compared.tokens(letter).nth(3).get_attribute("aria-label") or "" for letter in "AB"]
    assert "times as likely in A as in B" in names[0]
    assert "times as likely in B as in A" in names[1]


async def test_as_sampled(browser_page: Page) -> None:
    """A model at two temperatures is shown as sampled: a greedy first choice is certain."""
    found = ComparePage(browser_page, CompareView(shared(ScriptedReader([said(*A_SAID), said(*B_SAID)], reads=read))))
    await found.open()
    await found.compare()
    assert await browser_page.get_by_label("Probabilities").input_value() == "sampled"
    assert "shown as sampled" in await browser_page.locator(".pl-compare-summary").inner_text()
    await found.tokens("A").nth(3).focus()
    share = "cells => cells.map((cell) => Number(cell.dataset.share))"
    chosen = found.card.locator("tr[aria-current] td")
    assert await chosen.evaluate_all(share) == pytest.approx([1.0, 0.7788], abs=1e-2)
    await browser_page.get_by_label("Probabilities").select_option("own")
    assert await chosen.evaluate_all(share) == pytest.approx([0.7788, 0.7788], abs=1e-3)
    assert found.problems == []


async def test_folding(compared: ComparePage) -> None:
    """Equal parts fold to a line with the number of tokens, and Enter unfolds a part."""
    equal = [f" w{n}" for n in range(40)]
    compared.view = CompareView(shared(TwoModels([said(*A_SAID[:4], *equal), said(*B_SAID[:4], *equal)], reads=read)))
    await compared.open()
    await compared.compare()
    await compared.page.get_by_label("Fold equal parts").check()
    folded = compared.page.locator(".pl-column[data-column=A] [data-folded]")
    assert await folded.get_attribute("data-folded") == "… 36 equal tokens …"
    assert await compared.tokens("A").nth(30).is_hidden()
    await folded.focus()
    await compared.page.keyboard.press("Enter")
    assert await compared.tokens("A").nth(30).is_visible()
    assert await compared.tokens("B").nth(30).is_hidden()
    await compared.page.get_by_label("Fold equal parts").uncheck()
    assert await compared.tokens("B").nth(30).is_visible()


async def test_columns(compared: ComparePage) -> None:
    """Two to four lettered columns are compared."""
    await compared.open()
    for _ in range(2):
        await compared.page.get_by_role("button", name="Add column").click()
    assert await compared.page.get_by_role("button", name="Add column").is_hidden()
    await compared.page.get_by_role("button", name="Remove column C").click()
    names = await compared.page.locator(".pl-column-form").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert names == ["Column A", "Column B", "Column C"]
    await compared.compare()
    assert await compared.page.locator(".pl-column").count() == 3
    assert await compared.page.locator(".pl-compare-table thead th").count() == 4
    await compared.page.get_by_role("button", name="Remove column A").click()
    assert (
        await compared.page.get_by_role("button", name=re.compile("^Remove column")).locator("visible=true").count()
        == 0
    )


async def test_before_the_models_are_known(compared: ComparePage) -> None:
    """The form appears only when filled in, so that nothing typed is overwritten."""
    await compared.open()
    await compared.page.evaluate(MOUNT, None)
    await expect(compared.page.get_by_label("Prompt", exact=True)).to_be_hidden()
    await compared.page.evaluate("shown => window.receive(shown)", dict(NOTHING) | await compared.view.opened("me"))
    await expect(compared.page.get_by_label("Prompt", exact=True)).to_be_visible()


async def test_a_reload(compared: ComparePage) -> None:
    """After a reload the form and the last comparison are restored."""
    await compared.open()
    await compared.page.get_by_label("Prompt", exact=True).fill("Say it.")
    await compared.compare()
    await compared.page.get_by_label("Prompt", exact=True).fill("Say it again.")
    await compared.load()
    await compared.page.locator(".pl-compare-result[data-done=true]").wait_for()
    assert await compared.tokens("B").all_text_contents() == B_SAID
    assert await compared.page.get_by_label("Prompt", exact=True).input_value() == "Say it again."


async def test_a_link(compared: ComparePage) -> None:
    """A link fills in the whole form in a new tab, and disappears from the address."""
    await compared.open()
    prompt = "Größe 👍 <b>&amp; “x”\n\tend"
    await compared.page.get_by_label("Prompt", exact=True).fill(prompt)
    await compared.page.get_by_label("Model of column B").select_option("large")
    await compared.page.get_by_label("More settings of column B").click()
    await compared.page.get_by_label("Seed").locator("visible=true").fill("42")
    await compared.page.get_by_text("Reference text", exact=True).click()
    await compared.page.get_by_label(re.compile("^Reference text,")).fill("It is so.")
    form = "JSON.parse(sessionStorage.getItem('pellucid.compare.form'))"
    before = await compared.page.evaluate(form)
    link = await compared.page.evaluate(f"Pellucid.compareLink.toLink({form})")
    assert link.startswith("http://compare.test/#compare=")
    await compared.page.evaluate("sessionStorage.clear()")
    await compared.load(link.removeprefix("http://compare.test/"))
    assert await compared.page.get_by_label("Prompt", exact=True).input_value() == prompt
    assert await compared.page.evaluate(form) == before
    assert before["columns"][1]["seed"] == 42
    assert compared.page.url == "http://compare.test/"


BROKEN = {"letters": "!!!", "empty": "", "an object": "e30", "too long": "A" * 20000, "no columns": "eyJwcm9tcHQiOjF9"}


@pytest.mark.parametrize("fragment", [f"#compare={code}" for code in BROKEN.values()], ids=list(BROKEN))
async def test_a_broken_link(compared: ComparePage, fragment: str) -> None:
    """A broken link is refused in a sentence, and the form stays."""
    await compared.open(fragment=fragment)
    await expect(compared.status).to_have_text(
        "This link to a comparison is broken, so the form was not filled in: copy the whole link again."
    )
    assert await compared.page.locator(".pl-column-form").count() == 2


async def test_a_link_to_a_missing_model(compared: ComparePage) -> None:
    """A missing model in a link is named, and stays in the form."""
    await compared.open()
    link = await compared.page.evaluate(
        "() => { const form = JSON.parse(JSON.stringify({ prompt: 'x', reference: '', columns: [] }));"
        "const column = { model: 'gone', system: '', temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: "
        "null, max_tokens: 9 };"
        "form.columns = [column, { ...column, model: 'small' }]; return Pellucid.compareLink.toLink(form); }"
    )
    await compared.load(link.removeprefix("http://compare.test/"))
    await expect(compared.status).to_have_text(
        "The link names a model that this server does not have: gone. Choose another one."
    )
    assert (
        await compared.page.get_by_label("Model of column A").evaluate("menu => menu.selectedOptions[0].textContent")
        == "gone (not on this server)"
    )
    await compared.page.get_by_role("button", name="Compare", exact=True).click()
    await expect(compared.status).to_have_text("Column A: the server has no model 'gone'. Choose one of large, small.")


async def test_a_link_that_is_too_long(compared: ComparePage) -> None:
    """A form too long for a link is refused in a sentence."""
    await compared.open()
    await compared.page.get_by_label("Prompt", exact=True).fill("x" * 20000)
    await compared.page.get_by_role("button", name="Copy link").click()
    await expect(compared.status).to_contain_text("This form is too long for a link")


async def test_downloads(compared: ComparePage, tmp_path: Path) -> None:
    """Three files are saved, and the HTML page shows the answers without scripts."""
    await compared.open()
    await compared.compare()
    names = []
    for name in ("CSV", "JSON", "HTML page"):
        async with compared.page.expect_download() as waiting:
            await compared.page.get_by_role("button", name=f"Download {name}").click()
        download = await waiting.value
        names.append(download.suggested_filename)
        await download.save_as(tmp_path / download.suggested_filename)
    assert names == ["comparison.csv", "comparison.json", "comparison.html"]
    await compared.page.set_content((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert await compared.page.locator("article.A pre").inner_text() == "".join(A_SAID)
    found = await Axe().run(compared.page)
    assert [one["id"] for one in found.response["violations"] if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("mode", ["probability", "difference"])
async def test_looks(compared: ComparePage, theme: str, mode: str) -> None:
    """Axe finds nothing serious in both themes and maps, and nothing is cut off."""
    await compared.open(theme)
    await compared.compare()
    await compared.page.get_by_label("More settings of column A").click()
    await compared.page.get_by_label("Colour by").select_option(mode)
    for width in (1920, 1280, 360):
        await compared.page.set_viewport_size({"width": width, "height": 800})
        await compared.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        assert await compared.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await compared.page.evaluate(BEYOND) == [], width
        if width == 1280:
            continue
        found = await Axe().run(compared.page)
        problems = [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert problems == []


# Colours


def linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


BLINDNESS: dict[str, list[list[float]]] = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Seen colours in linear RGB at full severity (Machado, Oliveira and Fernandes 2009)."""


def seen(colour: str, blindness: str) -> tuple[float, ...]:
    """Return a seen colour in CIE L*a*b*."""
    rgb = [linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5)]
    red, green, blue = (min(max(sum(row[n] * rgb[n] for n in range(3)), 0), 1) for row in BLINDNESS[blindness])
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (one ** (1 / 3) if one > 0.008856 else 7.787 * one + 16 / 116 for one in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


LEAST_DISTANCE = 20.0
"""CIE76 distance easily seen side by side; the smallest visible distance is about 2.3."""


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", [0, 1])
def test_colour_blindness(theme: int, blindness: str) -> None:
    """The columns' colours are distinct under every kind of colour blindness, in both themes."""
    found = re.findall(r"--column-[a-d]: (#[0-9a-f]{6});", asset("compare.css"))
    assert len(found) == 8
    colours = found[4 * theme : 4 * theme + 4]
    distances: dict[tuple[str, ...], Any] = {
        pair: dist(*(seen(one, blindness) for one in pair)) for pair in combinations(colours, 2)
    }
    assert min(distances.values()) > LEAST_DISTANCE, distances
