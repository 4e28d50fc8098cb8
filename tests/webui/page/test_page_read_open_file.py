"""Tests opening a file in the Read tab: the script reads the content, the server gets no file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from pellucid_webui.routes.read import MAX_TEXT_BYTES
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import WIDTHS, check_themes
from support.page.small_page_server import paged

DROP = """(place, names) => {
  const files = new DataTransfer();
  for (const name of names) files.items.add(new File([`from ${name}`], name));
  const drag = (kind) => place.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, \
cancelable: true }));
  const accepted = !drag("dragover");
  const isMarked = document.getElementById("pl-read-side").classList.contains("pl-drop");
  drag("drop");
  return [accepted, isMarked, document.getElementById("pl-read-side").classList.contains("pl-drop")];
}"""


@pytest.fixture
async def reading(tmp_path: Path, browser_page: Page) -> AsyncIterator[Tab]:
    """Open the Read tab of a server with scripted answers."""
    with paged(tmp_path / "data", pellucid_view) as server:
        server.wait()
        tab = watched(browser_page, server.server.url)
        await tab.open()
        await tab.tab("Read")
        await expect(field(tab)).not_to_have_value("")  # The example is there.
        yield tab


def field(tab: Tab) -> Locator:
    return tab.page.locator("#pl-read-text textarea")


def status(tab: Tab) -> Locator:
    return tab.page.locator(".pl-reading > [role=status]")


async def choose(tab: Tab, path: Path) -> None:
    """Choose a file by keyboard."""
    button = tab.page.get_by_role("button", name="Open a file")
    async with tab.page.expect_file_chooser() as waiting:
        await button.press("Enter")
    await (await waiting.value).set_files(path)


UNREADABLE = {
    "binary": (b"\xff\xfe\x00\x80\x81", "noise.bin is not UTF-8 text: choose a text file."),
    "too large": (
        b"x" * (MAX_TEXT_BYTES + 1),
        "noise.bin is larger than 1000 kB: use only the relevant part of it.",
    ),
    "much too large": (b"x" * 30_000_000, "noise.bin is larger than 1000 kB: use only the relevant part of it."),
}
"""Contents that cannot be opened, and the sentences of their messages."""


async def test_open_a_file(reading: Tab, tmp_path: Path) -> None:
    """A file is chosen or dropped, and what cannot be opened leaves the text as it is."""
    await drop(reading, "#pl-read-text textarea")
    await drop(reading, "#pl-read-file")
    await cannot_be_opened(reading, tmp_path)
    await chosen(reading, tmp_path)
    await looks(reading)
    await not_a_file(reading)


async def drop(reading: Tab, place: str) -> None:
    """A file can be dropped on the text or the button, and several files are refused."""
    before = await field(reading).input_value()
    target = reading.page.locator(place)
    assert await target.evaluate(DROP, ["one.txt", "two.txt"]) == [True, True, False]
    alert = reading.page.locator("#pl-read-file [role=alert]")
    await expect(alert).to_have_text("Open one file at a time.")
    await expect(field(reading)).to_have_value(before)
    assert await target.evaluate(DROP, ["one.txt"]) == [True, True, False]
    await expect(field(reading)).to_have_value("from one.txt")
    await expect(alert).to_have_text("")


async def cannot_be_opened(reading: Tab, tmp_path: Path) -> None:
    """A file that cannot be opened is reported in a sentence, and the text stays."""
    (tmp_path / "good.txt").write_text("x" * MAX_TEXT_BYTES)
    for kind, (content, sentence) in UNREADABLE.items():
        (tmp_path / "noise.bin").write_bytes(content)
        before = await field(reading).input_value()
        await choose(reading, tmp_path / "noise.bin")
        await expect(status(reading)).to_have_text(sentence)
        assert await field(reading).input_value() == before, kind
        await choose(reading, tmp_path / "good.txt")
        await expect(field(reading)).to_have_value("x" * MAX_TEXT_BYTES)
        await expect(status(reading)).to_have_text("good.txt is open: press Read.")
        await field(reading).fill("else")


async def chosen(reading: Tab, tmp_path: Path) -> None:
    """A file is opened by keyboard, also twice, and is not uploaded."""
    path = tmp_path / "add.rs"
    path.write_bytes("fn é() {}\r\n".encode())
    for _ in range(2):
        await field(reading).fill("else")
        await choose(reading, path)
        await expect(field(reading)).to_have_value("fn é() {}\n")
    await expect(status(reading)).to_have_text("add.rs is open: press Read.")
    assert not [url for url in reading.requested if "upload" in url or "file=" in url]
    assert reading.elsewhere == []
    assert reading.problems == []


async def looks(reading: Tab) -> None:
    """With a message of the opener axe finds nothing serious, and the button is visible."""
    await reading.page.locator("#pl-read-file").evaluate(DROP, ["one.txt", "two.txt"])
    await expect(reading.page.locator("#pl-read-file [role=alert]")).to_have_text("Open one file at a time.")
    # All other parts are empty until a text is read.
    await check_themes(reading.page, "#pl-read-side")
    for width in WIDTHS:
        await reading.page.set_viewport_size({"width": width, "height": 900})
        await expect(reading.page.get_by_role("button", name="Open a file")).to_be_in_viewport()
        assert await reading.page.evaluate("document.documentElement.scrollWidth") <= width


async def not_a_file(reading: Tab) -> None:
    """Dragged text is handled by the browser, and an unreadable file is named."""
    text = (
        "place => { const data = new DataTransfer(); data.setData('text/plain', 'x');"
        " return place.dispatchEvent(new DragEvent('dragover', { dataTransfer: data, bubbles: true, "
        "cancelable: true })); }"
    )
    assert await reading.page.locator("#pl-read-text textarea").evaluate(text)
    await reading.page.evaluate("() => { File.prototype.slice = () => { throw new Error('gone'); }; }")
    assert await reading.page.locator("#pl-read-file").evaluate(DROP, ["folder"]) == [True, True, False]
    await expect(reading.page.locator("#pl-read-file [role=alert]")).to_have_text(
        "folder cannot be read: choose a file that you have access to, not a folder."
    )
