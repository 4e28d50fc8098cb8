"""Tests the Compare tab in a browser, with scripted answers."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route, expect

from pellucid.client.assistant_protocol import shared
from pellucid.vocabulary.token import Token
from pellucid_webui.routes.compare import CompareRoute
from support.page.compare_page import ComparePage, check_part, compare_page_of
from support.page.page_tabs import serious
from support.page.scripted_assistant import ScriptedPageAssistant, Text, TwoModels, last_message, tokens

TO_LINK = "(await import('./assets/compare/compare_link.js')).toLink"

A_SAID = ["The", " sky", " is", " blue", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"]
B_SAID = ["The", " sky", " is", " green", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"]


def said(*words: str) -> list[Token]:
    """Return tokens of a vocabulary, with the alternative "other" and the probability's rest."""
    found = []
    for word, one in zip(words, tokens(*words), strict=True):
        id = 1000 + zlib.crc32(word.encode())
        own, other = one.top
        rest = 1 - exp(own.logprob) - exp(other.logprob)
        found.append(replace(one, id=id, top=(replace(own, id=id), replace(other, id=1)), rest=rest))
    return found


def read(text: Text, model: str | None) -> list[Token]:
    """Read an answer as tokens; the small model finds words less likely, especially colours."""
    parts = re.findall(r"\s?\w+|\n|[^\w\s]", last_message(text))
    factor = -2.0 if model == "small" else -0.5
    return [replace(one, logprob=factor - 3.0 * (one.text in (" blue", " green"))) for one in said(*parts)]


@pytest.fixture(scope="module")
def compare_page(lone_page: Page) -> Iterator[ComparePage]:
    with compare_page_of(lone_page) as compared:
        yield compared


@pytest.fixture
async def compared(compare_page: ComparePage) -> AsyncIterator[ComparePage]:
    """Provide the page before a comparison; check for errors and external requests at the end."""
    compare_page.view = CompareRoute(shared(TwoModels([said(*A_SAID), said(*B_SAID)], reads=read)))
    await compare_page.open()
    yield compare_page
    compare_page.check()


async def test_columns_and_card(compared: ComparePage) -> None:
    """At 1280 by 800, answers side by side and the card are visible without scrolling.

    A pointed or focused token opens a card with bars, bounds and the log ratio of the tokens. The
    token marks the same place in the other column, and Tab goes there.
    """
    await compared.page.set_viewport_size({"width": 1280, "height": 800})
    await compared.compare()
    for part in (compared.tokens("A").first, compared.tokens("B").first, compared.card):
        await expect(part).to_be_in_viewport()
    tops = "columns => columns.map((column) => column.getBoundingClientRect().y)"
    assert len(set(await compared.page.locator(".pl-column").evaluate_all(tops))) == 1

    await compared.tokens("A").nth(3).focus()
    await expect(compared.card).to_have_attribute("data-place", "A3")
    line = compared.card.locator("[data-kl-low]")
    low, high = [float(await line.get_attribute(f"data-kl-{side}") or "nan") for side in ("low", "high")]
    assert 0 <= low < high < 999
    ratio = float(await line.get_attribute("data-ratio-low") or "nan")
    assert ratio == pytest.approx(-0.25 + 5.0, abs=1e-3)
    assert "times as likely in A as in B" in await line.inner_text()
    assert await shares(compared) == pytest.approx([0.7788, 0.7788], abs=1e-3)
    assert await compared.card.locator("tbody tr").last.locator("th").inner_text() == "all others"

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


async def shares(compared: ComparePage) -> list[float]:
    """Return the probabilities of the chosen token in the card."""
    cells = compared.card.locator("tr[aria-current] td")
    found = await cells.evaluate_all("cells => cells.map((cell) => Number(cell.dataset.share))")
    assert isinstance(found, list)
    return found


async def test_differences(compared: ComparePage) -> None:
    """Keys, buttons and the list lead to the differences, and the card has the reason.

    A token has the colour and the line of the column with the higher likelihood.
    """
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

    await compared.page.get_by_label("Colour by").select_option("difference")
    looks = set()
    for letter, other in ("AB", "BA"):
        cell = compared.tokens(letter).nth(3)
        await expect(cell).to_have_class(re.compile(f"pl-more-{letter}"))
        looks.add(
            await cell.evaluate(
                "cell => getComputedStyle(cell).backgroundColor + getComputedStyle(cell).textDecorationStyle"
            )
        )
        name = await cell.get_attribute("aria-label") or ""
        assert f"times as likely in {letter} as in {other}" in name
    assert len(looks) == 2


async def test_as_sampled(compared: ComparePage) -> None:
    """A model at two temperatures is shown as sampled: a greedy first choice is certain."""
    compared.view = CompareRoute(shared(ScriptedPageAssistant([said(*A_SAID), said(*B_SAID)], reads=read)))
    await compared.open()
    await compared.compare()
    assert await compared.page.get_by_label("Probabilities").input_value() == "sampled"
    assert "shown as sampled" in await compared.page.locator(".pl-compare-summary").inner_text()
    await compared.tokens("A").nth(3).focus()
    assert await shares(compared) == pytest.approx([1.0, 0.7788], abs=1e-2)
    await compared.page.get_by_label("Probabilities").select_option("own")
    assert await shares(compared) == pytest.approx([0.7788, 0.7788], abs=1e-3)


async def test_folding(compared: ComparePage) -> None:
    """Equal parts fold to a line with the number of tokens, and Enter unfolds a part."""
    equal = [f" w{n}" for n in range(40)]
    assistant = TwoModels([said(*A_SAID[:4], *equal), said(*B_SAID[:4], *equal)], reads=read)
    compared.view = CompareRoute(shared(assistant))
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
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await compared.page.route("**/page/compare", hold)
    await compared.page.goto(f"{compared.address}?held")
    await expect(compared.page.get_by_label("Prompt", exact=True)).to_be_hidden()
    released.set()
    await expect(compared.page.get_by_label("Prompt", exact=True)).to_be_visible()
    await compared.page.unroute("**/page/compare", hold)


async def test_a_reload(compared: ComparePage) -> None:
    """After a reload the form and the last comparison are restored."""
    await compared.page.get_by_label("Prompt", exact=True).fill("Say it.")
    await compared.compare()
    await compared.page.get_by_label("Prompt", exact=True).fill("Say it again.")
    await compared.load()
    await compared.page.locator(".pl-compare-result[data-done=true]").wait_for()
    assert await compared.tokens("B").all_text_contents() == B_SAID
    assert await compared.page.get_by_label("Prompt", exact=True).input_value() == "Say it again."


async def test_a_link(compared: ComparePage) -> None:
    """A link fills in the whole form in a new tab, and disappears from the address.

    A form too long for a link is refused in a sentence.
    """
    prompt = "Größe 👍 <b>&amp; “x”\n\tend"
    await compared.page.get_by_label("Prompt", exact=True).fill(prompt)
    await compared.page.get_by_label("Model of column B").select_option("large")
    await compared.page.get_by_label("More settings of column B").click()
    await compared.page.get_by_label("Seed").locator("visible=true").fill("42")
    await compared.page.get_by_text("Reference text", exact=True).click()
    await compared.page.get_by_label(re.compile("^Reference text,")).fill("It is so.")
    form = "JSON.parse(sessionStorage.getItem('pellucid.compare.form'))"
    before = await compared.page.evaluate(form)
    link = await compared.page.evaluate(f"async () => {TO_LINK}({form})")
    assert link.startswith(f"{compared.address}#compare=")
    await compared.page.evaluate("sessionStorage.clear()")
    await compared.load(link.removeprefix(compared.address))
    assert await compared.page.get_by_label("Prompt", exact=True).input_value() == prompt
    assert await compared.page.evaluate(form) == before
    assert before["columns"][1]["seed"] == 42
    assert compared.page.url == compared.address
    await compared.page.get_by_label("Prompt", exact=True).fill("x" * 20000)
    await compared.page.get_by_role("button", name="Copy link").click()
    await expect(compared.status).to_contain_text("This form is too long for a link")


BROKEN = {"letters": "!!!", "empty": "", "an object": "e30", "too long": "A" * 20000, "no columns": "eyJwcm9tcHQiOjF9"}


async def test_a_broken_link(compared: ComparePage) -> None:
    """A broken link is refused in a sentence, and the form stays."""
    for name, code in BROKEN.items():
        await compared.load(f"#compare={code}")
        await expect(compared.status, name).to_have_text(
            "This link to a comparison is broken, so the form was not filled in: copy the whole link again."
        )
        assert await compared.page.locator(".pl-column-form").count() == 2


async def test_a_link_to_a_missing_model(compared: ComparePage) -> None:
    """A missing model in a link is named, and stays in the form."""
    link = await compared.page.evaluate(
        "async () => { const form = JSON.parse(JSON.stringify({ prompt: 'x', reference: '', columns: [] }));"
        "const column = { model: 'gone', system: '', temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: "
        "null, max_tokens: 9 };"
        "form.columns = [column, { ...column, model: 'small' }]; return " + TO_LINK + "(form); }"
    )
    await compared.load(link.removeprefix(compared.address))
    await expect(compared.status).to_have_text(
        "The link names a model that this server does not have: gone. Choose another one."
    )
    assert (
        await compared.page.get_by_label("Model of column A").evaluate("menu => menu.selectedOptions[0].textContent")
        == "gone (not on this server)"
    )
    await compared.page.get_by_role("button", name="Compare", exact=True).click()
    await expect(compared.status).to_have_text("Column A: the server has no model 'gone'. Choose one of large, small.")


async def test_downloads(compared: ComparePage, tmp_path: Path) -> None:
    """Three files are saved, and the HTML page shows the answers without scripts."""
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
    assert serious((await Axe().run(compared.page)).response) == []


async def test_looks(compared: ComparePage) -> None:
    """Axe finds nothing serious in both themes and maps, and nothing is cut off."""
    await compared.compare()
    await compared.page.get_by_label("More settings of column A").click()
    for mode in ("probability", "difference"):
        await compared.page.get_by_label("Colour by").select_option(mode)
        await check_part(compared.page)
