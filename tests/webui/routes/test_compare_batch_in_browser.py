"""Tests batches and pictures of the Compare tab in a browser, with scripted answers."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from pellucid.client.assistant_protocol import shared
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.routes.compare import CompareRoute
from support.page.compare_page import ComparePage, check_part, compare_page_of
from support.page.scripted_assistant import Text, TwoModels, last_message, tokens

LONG = 400
"""Number of long words that make an answer too long for a picture."""


class Counting(TwoModels):
    """To "N words" the small model answers N words, and the large model N + 1 words."""

    hold: asyncio.Event | None = None

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        found = re.match(r"\d+", query.messages[-1].content)
        if found is None:
            raise InvalidRequestError("There is no number in the prompt.")
        count = int(found[0])
        if self.hold is not None and count > 5:
            await self.hold.wait()
        word = " w" if count < LONG else " " + "w" * 60
        self.scripts = [tokens(*(f"{word}{n}" for n in range(count + (query.model == "large"))))]
        async for item in super().chat(query, on_usage=on_usage):
            yield item


def read(text: Text, model: str | None) -> Sequence[Token]:
    """Read an answer; the small model finds longer answers less likely."""
    words = re.findall(r" \w+", last_message(text))
    return [replace(one, logprob=-0.25 - 0.1 * len(words) * (model == "small")) for one in tokens(*words)]


@pytest.fixture(scope="module")
def compare_page(lone_page: Page) -> Iterator[ComparePage]:
    with compare_page_of(lone_page) as compared:
        yield compared


@pytest.fixture
async def compared(compare_page: ComparePage) -> AsyncIterator[ComparePage]:
    """Provide the page before a comparison; check for errors and external requests at the end."""
    compare_page.view = CompareRoute(shared(Counting([], reads=read)))
    await compare_page.open()
    yield compare_page
    compare_page.check()


async def choose(compared: ComparePage, name: str, text: str) -> None:
    many = compared.page.locator(".pl-batch-options")
    if await many.get_attribute("open") is None:
        await many.locator("summary").click()
    file: FilePayload = {"name": name, "mimeType": "", "buffer": text.encode()}
    await compared.page.get_by_label("File of prompts").set_input_files([file])


async def run(compared: ComparePage, *prompts: str) -> None:
    """Run a batch of these prompts, and wait for the end."""
    await choose(compared, "prompts.txt", "\n".join(prompts))
    await compared.page.get_by_role("button", name=re.compile(rf"^Compare {len(prompts)} prompts")).click()
    await ended(compared)


async def ended(compared: ComparePage) -> None:
    await expect(compared.page.locator(".pl-batch")).to_be_visible()
    await expect(compared.page.get_by_role("button", name=re.compile("^Compare"))).to_be_visible()


def rows(compared: ComparePage) -> Locator:
    return compared.page.locator(".pl-batch-open")


def content(file: Path) -> bytes:
    return file.read_bytes()


async def test_a_batch(compared: ComparePage) -> None:
    """A batch of a file has a summary with intervals, and a table with a row for each prompt.

    The results are saved as CSV and JSON.
    """
    await run(compared, "3 words", "1 word", "2 words")
    said = await compared.page.locator(".pl-batch-summary").inner_text()
    assert "3 prompts: 3 of 3 done." in said
    assert "over 3 prompts" in said
    assert await rows(compared).all_inner_texts() == ["3 words", "1 word", "2 words"]
    cells = await compared.page.locator(".pl-batch-table tbody tr").first.locator("td").all_inner_texts()
    assert (cells[0], cells[1]) == ("1", "4")
    await compared.page.get_by_text("Mean of each figure").click()
    assert "3.0" in await compared.page.get_by_role("row", name=re.compile("^A: tokens")).inner_text()
    for name in ("CSV", "JSON"):
        async with compared.page.expect_download() as waiting:
            await compared.page.get_by_role("button", name=f"Download results as {name}").click()
        download = await waiting.value
        text = content(await download.path()).decode()
        assert download.suggested_filename == f"comparisons.{name.lower()}"
        assert len(json.loads(text)["rows"] if name == "JSON" else text.splitlines()[1:]) == 3


async def test_rows(compared: ComparePage) -> None:
    """Each head sorts, reverses on a second press and keeps the focus; arrows visit rows.

    A row opens as a comparison with a title, links to the neighbours and back to the table.
    """
    await run(compared, "3 words", "1 word", "2 words")
    heads = compared.page.locator(".pl-batch-sort")
    for at in range(await heads.count()):
        head = heads.nth(at)
        await head.focus()
        orders = []
        for _ in range(2):
            await compared.page.keyboard.press("Enter")
            await expect(head).to_be_focused()
            orders.append(await head.locator("xpath=..").get_attribute("aria-sort"))
        assert set(orders) == {"ascending", "descending"}
    await heads.filter(has_text="A: tokens").click()
    assert await rows(compared).all_inner_texts() == ["3 words", "2 words", "1 word"]
    await rows(compared).first.focus()
    await compared.page.keyboard.press("ArrowDown")
    await expect(rows(compared).nth(1)).to_be_focused()

    await rows(compared).first.click()
    await compared.page.locator(".pl-compare-result[data-done=true]").wait_for()
    title = compared.page.locator(".pl-batch-opened")
    await expect(title).to_have_text("Row 1: 3 words")
    await expect(title).to_be_focused()
    await expect(title).to_be_in_viewport()
    assert await compared.tokens("B").all_text_contents() == [" w0", " w1", " w2"]
    await compared.page.get_by_role("button", name="Next row").click()
    await expect(title).to_have_text("Row 3: 2 words")
    await expect(compared.tokens("B")).to_have_count(2)
    await compared.page.get_by_role("button", name="Back to the table").click()
    await expect(rows(compared).nth(1)).to_be_focused()
    await compared.tokens("A").nth(2).focus()
    await expect(compared.card).to_have_attribute("data-place", "A2")


async def test_a_reload(compared: ComparePage) -> None:
    """After a reload file, batch and open row are restored; a single comparison closes the row."""
    await run(compared, "3 words", "1 word")
    await rows(compared).nth(1).click()
    await expect(compared.page.locator(".pl-batch-opened")).to_have_text("Row 2: 1 word")
    await compared.load()
    await expect(rows(compared)).to_have_count(2)
    await expect(compared.page.locator(".pl-batch-opened")).to_have_text("Row 2: 1 word")
    await expect(compared.page.locator(".pl-batch-file")).to_have_text("prompts.txt: 2 prompts")
    await compared.page.get_by_role("button", name="Remove file").click()
    await compared.page.get_by_label("Prompt", exact=True).fill("2 words")
    await compared.page.get_by_role("button", name="Compare", exact=True).click()
    await expect(compared.tokens("B")).to_have_count(2)
    await expect(compared.page.locator(".pl-batch-opened")).to_be_hidden()


async def test_stop_and_resume(compared: ComparePage) -> None:
    """Stop keeps finished rows, and Resume runs the rest."""
    assistant = Counting([], reads=read)
    assistant.hold = asyncio.Event()
    compared.view = CompareRoute(shared(assistant))
    await compared.open()
    await choose(compared, "prompts.txt", "3 words\n9 words\n2 words")
    await compared.page.get_by_role("button", name="Compare 3 prompts").click()
    await expect(rows(compared)).to_have_count(2)
    await compared.page.get_by_role("button", name="Stop", exact=True).click()
    await expect(compared.page.locator(".pl-batch-summary")).to_contain_text("3 prompts: 2 of 3 done. Stopped")
    assistant.hold.set()
    await compared.page.get_by_role("button", name="Resume").click()
    await expect(compared.page.locator(".pl-batch-summary")).to_contain_text("3 prompts: 3 of 3 done.")
    assert await rows(compared).all_inner_texts() == ["3 words", "9 words", "2 words"]
    await expect(compared.page.get_by_role("button", name="Resume")).to_be_hidden()


async def test_failed_rows(compared: ComparePage) -> None:
    """A failed row has the reason, and is last in every order of figures."""
    await run(compared, "no number", "1 word", "2 words")
    failed = compared.page.locator(".pl-batch-table tr", has_text="no number")
    await expect(failed).to_contain_text("Column A: There is no number in the prompt.")
    for _ in range(2):
        await compared.page.locator(".pl-batch-sort").filter(has_text="B: tokens").click()
        assert (await rows(compared).all_inner_texts())[-1] == "no number"


async def test_a_wrong_file(compared: ComparePage) -> None:
    """An invalid file is refused with the line and the reason."""
    await choose(compared, "prompts.jsonl", '{"prompt": "1 word"}\n{"prompt": 7}')
    await expect(compared.status).to_have_text(
        "prompts.jsonl was not used. Line 2: the prompt must be text, not 7. Mend the file and choose it again."
    )
    await expect(compared.page.get_by_role("button", name="Compare", exact=True)).to_be_visible()


async def test_seeds(compared: ComparePage) -> None:
    """Seeds repeat the form's prompt, and are refused for greedy columns."""
    await compared.page.get_by_label("Prompt", exact=True).fill("2 words")
    await compared.page.get_by_text("Many prompts or seeds").click()
    await compared.page.get_by_label(re.compile("^Seeds")).fill("3")
    await compared.page.get_by_role("button", name="Compare 3 seeds").click()
    await expect(compared.status).to_contain_text("All columns are greedy")
    await compared.page.get_by_role("group", name="Column A").get_by_label("Temperature").fill("1")
    await compared.page.get_by_role("button", name="Compare 3 seeds").click()
    await expect(compared.page.locator(".pl-batch-summary")).to_contain_text("One prompt, 3 seeds: 3 of 3 done.")
    await expect(compared.page.locator(".pl-batch-summary")).to_contain_text("over 3 seeds")
    assert len(set(await compared.page.locator(".pl-batch-table tbody th .pl-quiet").all_inner_texts())) == 3
    await compared.load()
    await expect(compared.page.get_by_label(re.compile("^Seeds"))).to_have_value("3")


async def test_many_prompts(compared: ComparePage) -> None:
    """The page has only a page of rows of many, and tokens only for an open row."""
    await run(compared, *(f"{n % 4 + 1} words, number {n}" for n in range(60)))
    await expect(compared.page.locator(".pl-batch-summary")).to_contain_text("60 of 60 done")
    assert await rows(compared).count() == 25
    assert await compared.page.locator(".pl-compare [role=option]").count() == 0
    await compared.page.get_by_role("button", name="Next page").click()
    await expect(compared.page.get_by_text("Rows 26 to 50 of 60")).to_be_visible()
    await compared.page.locator(".pl-batch-sort").filter(has_text="Row").click()
    await expect(rows(compared).first).to_have_text("4 words, number 59")
    await rows(compared).first.click()
    await expect(compared.tokens("A")).to_have_count(5)


PIXELS = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const seen = new Map();
  for (let at = 0; at < data.length; at += 4) {
    const key = [data[at], data[at + 1], data[at + 2], data[at + 3]].join();
    seen.set(key, (seen.get(key) || 0) + 1);
  }
  return [...seen].sort((one, other) => other[1] - one[1]).slice(0, 40).map(([key]) => key);
}"""
"""Returns the most frequent colours of a picture."""

COLOURS = "(element, names) => names.map((name) => getComputedStyle(element).getPropertyValue(name).trim())"


def rgba(colour: str) -> str:
    return ",".join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5)) + ",255"


async def test_a_picture(compared: ComparePage) -> None:
    """A picture has the theme's paper and the columns' colours, and grows with the answers."""
    sizes = []
    for prompt, theme in (("3 words", ""), ("50 words", ""), ("50 words", "dark")):
        await compared.page.evaluate("theme => { document.body.className = theme; }", theme)
        await compared.page.get_by_label("Prompt", exact=True).fill(prompt)
        await compared.compare()
        await expect(compared.tokens("B")).to_have_count(int(prompt.split()[0]))
        await compared.page.locator(".pl-compare-result[data-done=true]").wait_for()
        await compared.page.get_by_label("Colour by").select_option("difference")
        async with compared.page.expect_download() as waiting:
            await compared.page.get_by_role("button", name="Download PNG").click()
        download = await waiting.value
        picture = content(await download.path())
        assert download.suggested_filename == "comparison.png"
        assert picture.startswith(b"\x89PNG")
        sizes.append(struct.unpack(">II", picture[16:24]))
        url = "data:image/png;base64," + b64encode(picture).decode()
        frequent = await compared.page.evaluate(PIXELS, url)
        names = ["--compare-paper", "--column-a", "--column-b"]
        paper, a, b = await compared.page.locator(".pl-compare").evaluate(COLOURS, names)
        assert frequent[0] == rgba(paper)
        assert {rgba(a), rgba(b)} <= set(frequent)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


async def test_a_picture_that_is_too_long(compared: ComparePage) -> None:
    """A comparison too long for a picture is refused with the remedy, and can be folded."""
    await compared.page.get_by_label("Prompt", exact=True).fill(f"{LONG} words")
    await compared.compare()
    await compared.page.get_by_role("button", name="Download PNG").click()
    await expect(compared.status).to_have_text(
        "This comparison is too long for a picture: fold its equal parts, or download the HTML page."
    )
    await compared.page.get_by_label("Fold equal parts").check()
    async with compared.page.expect_download():
        await compared.page.get_by_role("button", name="Download PNG").click()


async def test_looks(compared: ComparePage) -> None:
    """With a batch and an open row axe finds nothing serious, and nothing is cut off."""
    await run(compared, *(f"{n} words" for n in range(1, 8)), "no number")
    await rows(compared).nth(1).click()
    await expect(compared.page.locator(".pl-batch-opened")).to_have_text("Row 2: 2 words")
    await compared.page.get_by_text("Mean of each figure").click()
    await check_part(compared.page)
