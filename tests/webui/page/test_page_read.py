"""Tests the Read tab in a browser with real models."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Download, Page, expect

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.serving.serve import page_of
from support.page.page_fixtures import SMALL, Tab, watched
from support.page.page_tabs import busy, check_looks, choose, scored, until_idle
from support.servers.http_servers import TINY, live, tiny_assistant
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

FILL = "(field, text) => { field.value = text; field.dispatchEvent(new Event('input', { bubbles: true })); }"
"""Writes a text as a paste does."""

TEXT = "To be, or not to be: that is the quextion.\n\nIt is – as always – déjà vu.\n"


async def read(tab: Tab, text: str | None = None) -> None:
    """Read a text, by default the text in the field."""
    await tab.open()
    await tab.tab("Read")
    if text is not None:
        await tab.page.locator("#pl-read-text textarea").fill(text)
    await tab.page.get_by_role("button", name="Read", exact=True).click()
    await tab.page.locator(".pl-line-row").first.wait_for()


async def saved(page: Page, button: str) -> tuple[str, bytes]:
    """Return the name and content of the file saved by a button."""
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=button).click()
    return await content(await waiting.value)


async def content(download: Download) -> tuple[str, bytes]:
    return download.suggested_filename, await asyncio.to_thread(Path(await download.path()).read_bytes)


def logprobs(tokens: Any) -> list[float]:
    return [token["logprob"] for token in tokens if token["logprob"] is not None]


async def test_figures_and_files(tab: Tab) -> None:
    """Figures, lines and saved files equal the server's values; no other server is contacted."""
    await read(tab, TEXT)
    page = tab.page
    expected = await scored(tab.address, CODER, text=TEXT)
    shown = dict(
        zip(
            await page.locator(".pl-figures dt").all_inner_texts(),
            await page.locator(".pl-figures dt + dd").all_inner_texts(),
            strict=True,
        )
    )
    bits = -sum(logprobs(expected)) / math.log(2)
    assert shown["Tokens"] == str(len(expected))
    assert float(shown["Perplexity"]) == pytest.approx(
        math.exp(-sum(logprobs(expected)) / len(logprobs(expected))), abs=6e-4
    )
    assert float(shown["Bits per byte"]) == pytest.approx(
        bits / sum(len(one["bytes"]) for one in expected if one["logprob"] is not None), abs=6e-5
    )
    await expect(page.locator(".pl-reading .pl-token")).to_have_count(len(expected))

    totals = [float(one) for one in await page.locator(".pl-line-bits").all_inner_texts()]
    assert totals == sorted(totals, reverse=True)
    assert sum(totals) == pytest.approx(bits, abs=0.05 * len(totals))
    await page.get_by_role("button", name="To be, or not").press("Enter")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.dataset.token !== undefined")

    name, table = await saved(page, "Export CSV")
    rows = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
    assert name == "reading.csv"
    assert "".join(row["token"] for row in rows) == TEXT
    assert [float(row["logprob"]) for row in rows if row["logprob"]] == pytest.approx(
        logprobs(expected), rel=1e-6, abs=1e-9
    )
    name, tree = await saved(page, "Export JSON")
    assert name == "reading.json"
    assert json.loads(tree)["model"] == CODER
    assert [one["i"] for one in json.loads(tree)["tokens"]] == [one["id"] for one in expected]
    await check_looks(page)
    assert tab.elsewhere == []
    assert tab.problems == []


async def test_file(tab: Tab, tmp_path: Path) -> None:
    """A file of code is opened and read, and a file that is not text is reported."""
    good, bad = tmp_path / "add.rs", tmp_path / "noise.bin"
    good.write_text("fn add(a: i32, b: i32) -> i32 { a + b }\n")
    bad.write_bytes(b"\xff\xfe\x00\x80\x81")
    await tab.open()
    await tab.tab("Read")
    page, field = tab.page, tab.page.locator("#pl-read-text textarea")
    status = page.locator(".pl-reading > [role=status]")
    for path, sentence in ((good, "add.rs is open"), (bad, "noise.bin")):
        async with page.expect_file_chooser() as waiting:
            await page.get_by_role("button", name="Open a file").click()
        await (await waiting.value).set_files(path)
        await status.filter(has_text=sentence).wait_for()
    assert "not UTF-8 text" in await status.inner_text()
    assert await field.input_value() == good.read_text()
    await choose(page, "Model", SMALL)
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-figures dd").first.wait_for()
    await expect(page.locator(".pl-reading .pl-token")).to_have_count(
        len(await scored(tab.address, SMALL, text=good.read_text()))
    )


@pytest.fixture
def short_server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Serve a tiny model with a short context; return the address and the context."""
    assistant, engine = tiny_assistant(alone=True)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state, page_of(load_settings(data=tmp_path), state)) as server:
        yield server.url, assistant.models.cards()[0].context
    engine.close()


async def test_too_long(short_server: tuple[str, int], browser_page: Page) -> None:
    """A text longer than the context is read completely, with a note on the context."""
    address, context = short_server
    lines = [f"{number}: The cat sat on the mat." for number in range(context // 12)]
    lines[-3] = "Zebra quintessence fractal. " * 3
    tab = watched(browser_page, address)
    await tab.open()
    await tab.tab("Read")
    page = tab.page
    await page.locator("#pl-read-text textarea").evaluate(FILL, "\n".join(lines) + "\n")
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-line-row").first.wait_for()
    assert int(await page.locator(".pl-figures dd").first.inner_text()) > 2 * context
    sentence = (
        f"longer than the context of {context} tokens: each token was read with at least the {context // 2} before it."
    )
    await expect(page.locator(".pl-read-note")).to_contain_text(sentence)
    await expect(page.locator(".pl-line-row .pl-line-number").first).to_have_text(str(len(lines) - 2))
    assert tab.problems == []


async def test_stop(tab: Tab) -> None:
    """A long text shows the progress, and a stop ends the reading and keeps the tokens so far."""
    await tab.open()
    await tab.tab("Read")
    page = tab.page
    # The engine reads thousands of tokens a second: the text must outlast the request to stop.
    text = "".join(f"The number {number} is followed by another.\n" for number in range(3000))
    await page.locator("#pl-read-text textarea").evaluate(FILL, text)
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-progress span").filter(has_text="of about").wait_for()
    assert await busy(tab.address) == 1
    share = await page.locator("progress").evaluate("bar => bar.value")
    assert 0 < share < 1
    await page.locator(".pl-progress").get_by_role("button", name="Stop").click()
    await page.locator(".pl-reading > [role=status]").filter(has_text="Stopped after").wait_for()
    await until_idle(tab.address)
    tokens = int(await page.locator(".pl-figures dd").first.inner_text())
    status = await page.locator(".pl-reading > [role=status]").inner_text()
    assert status == f"Stopped after {tokens} tokens."
    await page.locator(".pl-reading .pl-token").first.wait_for()
    assert await page.locator(".pl-progress").is_hidden()
