"""Tests a standalone page, and a page whose server is gone, in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import ENDLESS, PageServer, Tab, watched
from support.page.scripted_assistant import tokens
from support.page.small_page_server import PagedServer
from support.page.storyteller import Storyteller

pytestmark = pytest.mark.process

KILLED = "Interrupted: the server stopped before the answer was complete."

STOPPED = "The server was stopped before the answer was complete."


class Network:
    """A connection to a local server through a separate port that can be cut."""

    def __init__(self, address: str) -> None:
        self._to = urlsplit(address).port
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """The address of the server through this connection."""
        return f"http://127.0.0.1:{self._port}"

    async def mend(self) -> None:
        """Let connections through, always on the same port."""
        self._listening = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._listening.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections, and accept no new connections."""
        assert self._listening is not None, "it was mended"
        self._listening.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._listening.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, forth}
        await asyncio.gather(_pass_on(reader, forth), _pass_on(back, writer))
        self._writers -= {writer, forth}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def network(story_server: PagedServer) -> AsyncIterator[Network]:
    """Provide an open connection to the server."""
    found = Network(story_server.server.url)
    await found.mend()
    yield found
    await found.cut()


async def test_connection_that_breaks(teller: Storyteller, browser_page: Page, network: Network) -> None:
    """An answer that ends while the browser is offline is shown after reconnecting."""
    tab = watched(browser_page, network.address)
    await tab.open()
    await tab.be_brief(40)
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(0)
    await network.cut()
    await expect(browser_page.locator("#pl-server-problem")).to_contain_text("The server does not answer.")
    await teller.until_running(False)
    assert await browser_page.locator(".pl-message[aria-busy=true]").count() == 1
    await network.mend()
    await tab.answered(2)
    assert "40 tokens" in await browser_page.locator(".pl-assistant .pl-note").inner_text()
    await tab.answer("And then?")


async def test_standalone_page(mortal: PageServer, teller: Storyteller, browser_page: Page) -> None:
    """A page in a process of its own has every tab, and loses no text when the process dies."""
    tab = watched(browser_page, mortal.address)
    await tab.open()
    await every_tab(tab, teller)
    assert tab.elsewhere == []
    assert tab.problems == []
    for end, sentence in ((PageServer.kill, KILLED), (PageServer.stop, STOPPED)):
        await in_the_middle(tab, mortal, end, sentence)


async def every_tab(tab: Tab, teller: Storyteller) -> None:
    """A standalone page reads and fills in like the server's own page."""
    page = tab.page
    await tab.tab("Read")
    await page.locator("#pl-read-go").click()
    await expect(page.locator("#pl-reading .pl-figures")).to_contain_text("Perplexity")
    await tab.tab("Infill")
    teller.script = tokens(" a", " + b")
    await page.get_by_role("button", name="Complete at the cursor").click()
    await expect(page.locator(".pl-infill .pl-shown")).to_contain_text("a + b")
    teller.script = ()
    await tab.tab("Chat")


async def in_the_middle(tab: Tab, mortal: PageServer, end: Callable[[PageServer], None], sentence: str) -> None:
    """After the death of the server no text is lost, and the page reconnects by itself."""
    page = tab.page
    await page.get_by_role("button", name="New chat").click()
    await expect(page.locator(".pl-message")).to_have_count(0)
    await tab.be_brief(4)
    first = await tab.answer("Say yes and nothing else.")
    await tab.be_brief(ENDLESS)
    await tab.send("Write a long story about a fox and a hen.")
    shown = await tab.grown(40)
    address = page.url
    field = page.get_by_role("textbox", name="Your message")
    await field.fill("and then")
    end(mortal)
    problem = page.locator("#pl-server-problem")
    await expect(problem).to_contain_text("The server does not answer. Your text is kept")
    shown = max(shown, (await tab.texts())[3], key=len)
    assert await field.input_value() == "and then"
    for toast in await page.get_by_test_id("toast-body").all_inner_texts():
        assert "Attempting reconnection" in toast

    mortal.start()
    await page.get_by_text(sentence).wait_for()
    await tab.answered(4)
    texts = await tab.texts()
    assert texts[:3] == ["Say yes and nothing else.", first, "Write a long story about a fox and a hen."]
    assert texts[3].startswith(shown)
    assert page.url == address
    assert await field.input_value() == "and then"
    await expect(problem).to_be_hidden()

    await page.get_by_role("button", name="Continue", exact=True).last.click()
    await tab.grown(len(texts[3]) + 10)
    await page.get_by_role("button", name="Stop").click()
    await tab.answered(4)
    assert (await tab.texts())[3].startswith(texts[3])
    await expect(page.locator(".pl-assistant .pl-version")).to_have_text("2 / 2")
    await field.fill("")
