"""Tests the results of the Read tab in a browser: map, lines, two models, diffs and histograms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import FILL, PATIENCE, check_looks, choose
from support.page.small_page_server import PagedServer, paged
from support.page.text_reader import HALVES, HAZY, SURPRISE, WORDS, TextReader, long_text, pieces
from support.servers.http_servers import scripted_state

LINES = 1500
MOST_ELEMENTS = 8000
"""Maximum for the map of any text: some windows of tokens, and a block per hundred tokens."""

DIFF = """--- a/stats/mean.py
+++ b/stats/mean.py
@@ -10,3 +10,4 @@ def mean(values):
     total = sum(values)
-    return total / len(valeus)
+    count = len(values)  # quextion
+    return total / count
 # end
"""


@pytest.fixture(scope="module")
def reader() -> TextReader:
    """Provide two models that read any text."""
    return TextReader()


@pytest.fixture(scope="module")
def reading_server(tmp_path_factory: pytest.TempPathFactory, reader: TextReader) -> Iterator[PagedServer]:
    state = scripted_state(reader)  # type: ignore[arg-type]
    with paged(tmp_path_factory.mktemp("read"), pellucid_view, state=state) as server:
        server.wait()
        yield server


@pytest.fixture
async def reading(reading_server: PagedServer, browser_page: Page) -> Tab:
    """Open the Read tab in a window of 1280 by 800."""
    tab = watched(browser_page, reading_server.server.url)
    await browser_page.set_viewport_size({"width": 1280, "height": 800})
    await tab.open()
    await tab.tab("Read")
    return tab


async def read(tab: Tab, text: str, second: str = "") -> None:
    """Read a text, and wait for the result, with the differences between two models."""
    await read_lines(tab, text, second)
    if second:
        await expect(tab.page.locator(".pl-mode")).to_have_value("difference")


async def read_lines(tab: Tab, text: str, second: str = "") -> None:
    """Read a text, and wait for the lines."""
    page = tab.page
    await page.locator("#pl-read-text textarea").evaluate(FILL, text)
    if second:
        await page.get_by_label("Second model", exact=True).click()
        await page.get_by_role("option", name=second).click()
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-line-row, .pl-diff").first.wait_for()


async def test_a_long_text(reading: Tab) -> None:
    """A long text is read at a glance, by the strip, by its lines, and with few elements."""
    await read(reading, long_text(LINES))
    await visible_at_once(reading)
    await minimap(reading)
    await lines_by_surprise(reading)
    await few_elements(reading)


async def visible_at_once(reading: Tab) -> None:
    """At 1280 by 800 figures, map, top lines and button are visible without scrolling."""
    page = reading.page
    for selector in (
        ".pl-read-figures",
        ".pl-read-body .pl-tokens",
        ".pl-minimap",
        ".pl-line-row >> nth=5",
        "#pl-read-go",
    ):
        await expect(page.locator(selector)).to_be_in_viewport(ratio=0.99)
    assert await page.evaluate("scrollY") == 0


async def minimap(reading: Tab) -> None:
    """A click on the strip shows this part of the text, and the strip marks the view."""
    page = reading.page
    strip = page.locator(".pl-minimap")
    height = await strip.evaluate("strip => strip.clientHeight")
    await strip.click(position={"x": 10, "y": height * 0.75})
    numbers = page.locator(".pl-gutter")
    await expect(numbers.first).to_be_attached()
    await page.wait_for_function(
        "lines => { const box = document.querySelector('.pl-read-body .pl-tokens').getBoundingClientRect();"
        " return [...document.querySelectorAll('.pl-gutter')].some((one) => Math.abs(one.dataset.line - lines) < 5"
        " && one.getBoundingClientRect().top > box.top && one.getBoundingClientRect().bottom < box.bottom); }",
        arg=LINES * 0.75,
    )
    top = await page.locator(".pl-minimap-window").evaluate("mark => parseFloat(mark.style.top)")
    assert top == pytest.approx(height * 0.75, abs=height * 0.03)


async def lines_by_surprise(reading: Tab) -> None:
    """The most surprising line is first, keys visit lines, and Enter opens the worst token."""
    page = reading.page
    rows = page.locator(".pl-line-row")
    line = LINES // 2 + 1
    await expect(rows.first.locator(".pl-line-number")).to_have_text(str(line))
    await rows.first.click()
    marked = page.locator(".pl-gutter[data-marked]")
    await expect(marked).to_have_attribute("data-line", str(line))
    await expect(marked).to_be_in_viewport()
    assert SURPRISE in "".join(await page.locator(".pl-token.pl-ranged").all_text_contents())

    second = await rows.nth(1).locator(".pl-line-number").inner_text()
    await page.keyboard.press("ArrowDown")
    await expect(marked).to_have_attribute("data-line", second)
    await page.keyboard.press(",")
    await expect(marked).to_have_attribute("data-line", str(line))
    await rows.first.press("Enter")
    assert await page.evaluate("document.activeElement.textContent") == f" {SURPRISE}"
    await expect(page.locator(".pl-card [data-alternative]").first).to_be_visible()
    await page.keyboard.press(".")
    await expect(marked).to_have_attribute("data-line", second)


async def few_elements(reading: Tab) -> None:
    """For a text of any length, few tokens are elements, and the rest is plain text."""
    text = long_text(LINES)
    page, tokens = reading.page, reading.page.locator(".pl-read-body .pl-tokens")
    assert len(pieces(text)) > 2 * MOST_ELEMENTS
    for share in (0.5, 1, 0.2, 0.7, 0):
        await tokens.evaluate(
            "(map, share) => { map.scrollTop = share * (map.scrollHeight - map.clientHeight); }", share
        )
        in_view = (
            "map => { const box = map.getBoundingClientRect(); return "
            "[...map.querySelectorAll('.pl-token')].some((token) =>"
            " { const { top } = token.getBoundingClientRect(); return top > box.top + 50 && top < "
            "box.bottom - 50; }); }"
        )
        await page.wait_for_function(in_view, arg=await tokens.element_handle())
        assert await tokens.evaluate("map => map.querySelectorAll('*').length") < MOST_ELEMENTS
    assert await tokens.evaluate("map => map.textContent") == text
    for _ in range(30):
        await page.keyboard.press(".")
    assert await tokens.evaluate("map => map.querySelectorAll('*').length") < MOST_ELEMENTS
    assert reading.problems == []


async def test_sorts(reading: Tab) -> None:
    """Lines are sorted by total, by mean or by the most surprising token."""
    await read(reading, f"a total index\na {SURPRISE}\n" + "name of the line with many words and counts " * 8 + "\n")
    first = reading.page.locator(".pl-line-row .pl-line-number").first
    found = {}
    for name in ("Total bits of the line", "Mean bits of a token", "Most surprising token"):
        await reading.page.get_by_label("Sort lines by").select_option(name)
        found[name] = await first.inner_text()
        bits = [float(one) for one in await reading.page.locator(".pl-line-bits").all_inner_texts()]
        assert bits == sorted(bits, reverse=True)
    assert found == {"Total bits of the line": "3", "Mean bits of a token": "2", "Most surprising token": "2"}
    await figures_explain_themselves(reading)


async def figures_explain_themselves(reading: Tab) -> None:
    """Each figure has an explanation on focus, also for screen readers."""
    for index, name in enumerate(("Tokens", "Perplexity", "Bits per byte", "Total bits")):
        hint = reading.page.locator(".pl-explanation").nth(index)
        await expect(hint).to_be_hidden()
        button = reading.page.get_by_role("button", name=name, exact=True)
        await button.focus()
        await expect(hint).to_be_visible()
        await expect(button).to_have_accessible_description(await hint.inner_text())


async def test_two_models(reading: Tab) -> None:
    """A second model reads the same text, and summary, lines and tokens show the saved bits."""
    await read(reading, f"a total index\na {SURPRISE}\nname of the line\n", HALVES)
    page = reading.page
    summary = page.locator(".pl-read-summary")
    await expect(summary).to_contain_text("bits per byte, so it finds this text less surprising than words does.")
    await expect(summary).to_contain_text("Bits saved by halves: +")
    await expect(summary).to_contain_text("The largest difference is line 2: +21.0 bits.")
    sort = page.get_by_label("Sort lines by")
    await expect(sort).to_have_value("saved")
    await expect(sort.locator("option:checked")).to_have_text("Bits saved by halves")
    await expect(page.get_by_role("button", name="Line 2, ")).to_have_accessible_name(
        "Line 2, +21.0 bits saved by halves: a quextion"
    )
    await expect(page.locator(".pl-line-bits").first).to_have_text("+21.0")
    await expect(page.locator(".pl-mode")).to_have_value("difference")
    await expect(page.locator(".pl-legend")).to_contain_text("+6 bits saved by halves")
    await expect(page.locator(".pl-read-owner")).to_have_text("Figures of words")
    await page.locator(".pl-token", has_text=SURPRISE).focus()
    await expect(page.locator(".pl-card:popover-open")).to_contain_text("Bits saved by halves: +")
    await card_of_two_models(reading)


async def card_of_two_models(reading: Tab) -> None:
    """A token's card has the figures of both models, also for different tokens."""
    page = reading.page
    await page.locator(".pl-token", has_text=SURPRISE).focus()
    card = page.locator(".pl-card:popover-open")
    table = card.locator(".pl-both")
    await expect(table.locator("thead th")).to_have_text(["words", "halves"])
    await expect(table.locator("tbody th")).to_have_text(["probability", "rank", "surprisal", "entropy"])
    bits = [float(one.split()[0]) for one in await table.locator("tbody tr").nth(2).locator("td").all_inner_texts()]
    assert bits[0] > 20 > bits[1] > 0
    await expect(card).to_contain_text("to words and 3 tokens to halves.")
    await expect(card).to_contain_text("The alternatives are those of words. Read only reads")
    assert await card.locator("button:not(.pl-close)").count() == 0


async def test_a_mode_that_is_chosen_early(reading: Tab) -> None:
    """A mode chosen before the differences of two models arrive stays chosen."""
    page, let_through = reading.page, asyncio.Event()

    async def hold(route: Route) -> None:
        if '"saved"' in (route.request.post_data or ""):
            await let_through.wait()
        await route.continue_()

    await page.route("**/page/read", hold)
    await read_lines(reading, f"a {SURPRISE}\n", HALVES)
    await page.locator(".pl-mode").select_option("entropy")
    await expect(page.locator(".pl-mode option[value=difference]")).to_be_disabled()
    let_through.set()
    await expect(page.locator(".pl-mode option[value=difference]")).to_be_enabled()
    await expect(page.locator(".pl-mode")).to_have_value("entropy")
    await page.unroute_all(behavior="wait")
    assert reading.problems == []


async def test_an_entropy_that_is_not_exact(reading: Tab) -> None:
    """Card, map and histogram show that an entropy is only a range."""
    await read(reading, f"one two\n{HAZY}\n", HALVES)
    page = reading.page
    await page.locator(".pl-mode").select_option("entropy")
    await expect(page.locator(".pl-token.bounded")).to_have_text([HAZY])
    await expect(page.locator(".pl-legend")).to_contain_text("only a range is known")
    await page.locator(".pl-token", has_text=HAZY).focus()
    entropies = page.locator(".pl-card:popover-open .pl-both tbody tr").nth(3).locator("td")
    await expect(entropies).to_have_text([re.compile(r"^\d\.\d\d to \d\.\d\d bits$")] * 2)
    notes = page.locator(".pl-chart-note")
    await expect(notes).to_have_text(["Not counted: 1 token whose exact entropy the engine does not report."])


async def test_card_keeps_its_head_and_the_toolbar_in_view(reading: Tab) -> None:
    """A card opens at the top, and does not cover the toolbar."""
    await read(reading, long_text(20), HALVES)
    page = reading.page
    card, seen = page.locator(".pl-card:popover-open"), 0
    toolbar = await page.locator(".pl-toolbar").bounding_box()
    assert toolbar is not None
    for index in (3, 60, 120, 180):
        await page.locator(".pl-read-body .pl-token").nth(index).focus()
        await expect(card.locator("[data-alternative]").first).to_be_attached()
        # The last part of the card has arrived.
        await expect(card.locator(".pl-both")).to_be_attached()
        await expect(card.locator(".pl-card-head")).to_be_in_viewport(ratio=0.99)
        box = await card.bounding_box()
        assert box is not None
        assert box["y"] >= toolbar["y"] + toolbar["height"] or box["y"] + box["height"] <= toolbar["y"]
        assert await card.evaluate("card => card.scrollTop") == 0
        await card.evaluate("card => { card.scrollTop = card.scrollHeight; }")
        seen += await card.evaluate("card => card.scrollTop") > 0
    assert seen, "a card was scrolled before the next one opened"
    await page.keyboard.press("Escape")
    await expect(card).to_have_count(0)
    await check_looks(page, ".pl-reading")


async def test_button_is_in_view(reading: Tab) -> None:
    """The button and the progress are in the window without scrolling, as are errors."""
    page = reading.page
    for width, height in ((390, 700), (1366, 850)):
        await page.set_viewport_size({"width": width, "height": height})
        button = page.get_by_role("button", name="Read", exact=True)
        await expect(button).to_be_in_viewport(ratio=0.99)
        await page.locator("#pl-read-text textarea").evaluate(FILL, long_text(300))
        await expect(button).to_be_in_viewport(ratio=0.99)
        said = (
            "() => { document.querySelector('#pl-read-go').click(); "
            "return document.querySelector('.pl-read-status').innerText; }"
        )
        assert await page.evaluate(said) == "Reading…", width
        await page.locator(".pl-line-row").first.wait_for()
        await expect(page.locator(".pl-read-status")).to_have_text("The results are below." if width == 390 else "")
        assert await page.evaluate("scrollY") == 0, width
    await errors_next_to_the_button(page)
    assert reading.problems == []


async def errors_next_to_the_button(page: Page) -> None:
    """An error appears next to the button and in a single live region."""
    await page.locator("#pl-read-text textarea").evaluate(FILL, "")
    await page.get_by_role("button", name="Read", exact=True).click()
    sentence = "There is no text to read: paste one, or open a file."
    await expect(page.locator(".pl-read-status.pl-wrong")).to_have_text(sentence)
    await expect(page.locator(".pl-read-status.pl-wrong")).to_be_in_viewport()
    await expect(page.get_by_role("status").filter(has_text=sentence)).to_have_count(1)


async def test_results_of_another_text(reading: Tab) -> None:
    """Results that do not match the controls are dimmed until the controls match again."""
    page = reading.page
    await read(reading, "one two\n")
    stale, results = page.locator(".pl-read-stale"), page.locator(".pl-read-results")
    field = page.locator("#pl-read-text textarea")
    await expect(stale).to_be_hidden()
    await field.press("End")
    await page.keyboard.type("x")
    await expect(stale).to_have_text("These results are of the text that was read before: press Read.")
    await expect(results).to_have_attribute("data-stale", "")
    await page.keyboard.press("Backspace")
    await expect(stale).to_be_hidden()
    await page.get_by_label("Diff", exact=True).check()
    await expect(stale).to_be_visible()
    await page.get_by_label("Automatic", exact=True).check()
    await expect(stale).to_be_hidden()
    await page.get_by_label("Second model", exact=True).click()
    await page.get_by_role("option", name=HALVES).click()
    await expect(stale).to_be_visible()
    await page.get_by_role("button", name="Read", exact=True).click()
    await expect(page.locator(".pl-read-summary")).to_contain_text("Bits saved by halves")
    await expect(stale).to_be_hidden()
    await expect(results).not_to_have_attribute("data-stale", "")


async def test_read_before_the_menus_are_filled(reading_server: PagedServer, browser_page: Page) -> None:
    """Results read before the menus are filled belong to the default model."""
    let_through = asyncio.Event()

    async def hold(route: Route) -> None:
        if (route.request.post_data_json or {}).get("verb") == "open":
            await let_through.wait()
        await route.continue_()

    tab, page = watched(browser_page, reading_server.server.url), browser_page
    await page.route("**/page/read", hold)
    await tab.open()
    await tab.tab("Read")
    await read(tab, "one two\n")
    stale, model = page.locator(".pl-read-stale"), page.locator("#pl-read").get_by_label("Model", exact=True)
    await expect(stale).to_be_hidden()
    await expect(model).to_have_value("")
    let_through.set()
    await expect(model).to_have_value(WORDS)
    await choose(page, "Model", HALVES)
    await expect(stale).to_be_visible()
    await choose(page, "Model", WORDS)
    await expect(stale).to_be_hidden()
    await page.unroute_all(behavior="wait")
    assert tab.problems == []


async def test_diff(reading: Tab) -> None:
    """A pasted diff is read on both sides, with bits of each line and a summary."""
    await read(reading, DIFF)
    page = reading.page
    await expect(page.locator(".pl-read-summary")).to_contain_text("Removed: 1 line with")
    await expect(page.locator(".pl-read-summary")).to_contain_text("The most surprising new line is line 11 (")
    cells = await page.locator(".pl-diff tbody tr").nth(1).locator("td").all_inner_texts()
    assert [" ".join(cell.split()) for cell in cells[:2]] == ["-11", "removed: return total / len(valeus)"]
    assert [" ".join(cell.split()) for cell in cells[3:5]] == ["+11", "added: count = len(values) # quextion"]
    assert float(cells[5]) > 20
    await expect(page.locator(".pl-diff caption")).to_have_text("stats/mean.py: def mean(values):")
    assert await page.locator(".pl-read-text").is_hidden()
    await check_looks(page, ".pl-reading")
    assert reading.elsewhere == []


async def test_reload_with_two_models(reading: Tab) -> None:
    """After a reload the menus show the compared models, and the results match."""
    page = reading.page
    await choose(page, "Model", HALVES)
    await expect(page.get_by_role("option").locator("visible=true")).to_have_count(0)
    await choose(page, "Second model", WORDS)
    await read(reading, "one two\n")
    await page.reload()
    await reading.tab("Read")
    await expect(page.locator(".pl-read-summary")).to_contain_text("Bits saved by words")
    await expect(page.get_by_label("Model", exact=True).locator("visible=true")).to_have_value(HALVES)
    await expect(page.get_by_label("Second model", exact=True)).to_have_value(WORDS)
    await expect(page.locator(".pl-read-stale")).to_be_hidden()
    await page.locator("#pl-read-text textarea").press_sequentially("x")
    await expect(page.locator(".pl-read-stale")).to_be_visible()


async def test_histograms(reading: Tab) -> None:
    """Each histogram has a table that counts all tokens, and is saved as a picture."""
    await read(reading, long_text(40))
    page = reading.page
    tokens = int(await page.locator(".pl-figures dd").first.inner_text())
    for name in ("Surprisal", "Rank", "Entropy"):
        await page.locator("summary", has_text=f"{name} in numbers").click()
        table = page.locator(".pl-chart", has_text=name).get_by_role("table")
        assert sum([int(one) for one in await table.locator("td").all_inner_texts()]) == tokens - 1
        async with page.expect_download() as waiting:
            await page.get_by_role("button", name=f"Download chart: {name}", exact=True).press("Enter")
        download = await waiting.value
        assert download.suggested_filename == f"{name.lower()}.svg"
        picture = await asyncio.to_thread(Path(await download.path()).read_text)
        assert picture.startswith("<svg")
        assert 'fill="rgb(' in picture
    await reloaded(reading)


async def reloaded(reading: Tab) -> None:
    """After a reload the tab shows the last reading, with text, lines and alternatives."""
    text = long_text(40)
    page = reading.page
    figures = await page.locator(".pl-figures dd").all_text_contents()
    await page.reload()
    await reading.tab("Read")
    await page.locator(".pl-line-row").first.wait_for()
    assert await page.locator(".pl-figures dd").all_text_contents() == figures
    await expect(page.locator("#pl-read-text textarea")).to_have_value(text)
    await page.locator(".pl-read-body .pl-token").nth(3).focus()
    await expect(page.locator(".pl-card [data-alternative]")).to_have_count(10)
    await expect(page.locator(".pl-read-stale")).to_be_hidden()


async def test_stop(reading: Tab, reader: TextReader) -> None:
    """A long text shows the progress, and a stop ends the reading and keeps the tokens so far."""
    page, reader.held_at = reading.page, 1000
    await page.locator("#pl-read-text textarea").evaluate(FILL, long_text(300))
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-progress span").filter(has_text="of about").wait_for()
    assert 0 < await page.locator("progress").evaluate("bar => bar.value") < 1
    assert reader.running == 1
    await page.locator(".pl-progress").get_by_role("button", name="Stop").click()
    await page.locator(".pl-reading > [role=status]").filter(has_text="Stopped after").wait_for()
    async with asyncio.timeout(PATIENCE):
        while reader.running:
            await asyncio.sleep(0.02)
    reader.held_at = None
    tokens = int(await page.locator(".pl-figures dd").first.inner_text())
    assert await page.locator(".pl-reading > [role=status]").inner_text() == f"Stopped after {tokens} tokens."
    await page.locator(".pl-reading .pl-token").first.wait_for()
    assert await page.locator(".pl-progress").is_hidden()
    await interrupted(page)


async def interrupted(page: Page) -> None:
    """After a reading whose connection is lost, the last results stay."""
    figures = await page.locator(".pl-figures dd").all_inner_texts()

    async def lose(route: Route) -> None:
        event = 'data: {"number": 0, "tokens": 1, "share": 0.1, "words": "some"}\n\n'
        is_reading = (route.request.post_data_json or {}).get("verb") == "read"
        await (route.fulfill(body=event) if is_reading else route.continue_())

    await page.route("**/page/read", lose)
    await page.locator("#pl-read-go").click()
    await expect(page.locator(".pl-read-status.pl-wrong")).to_contain_text("interrupted: press Read to try again.")
    await expect(page.locator(".pl-figures dd")).to_have_text(figures)
    assert await page.locator(".pl-progress").is_hidden()
    await page.unroute_all(behavior="wait")
