"""Tests the page while its server is gone, in a browser with real models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import ENDLESS, PageServer, StandalonePage, watched
from support.page.page_tabs import until_idle

pytestmark = pytest.mark.model

KILLED = "Interrupted: the server stopped before the answer was complete."

STOPPED = "The server was stopped before the answer was complete."


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, page_server: PageServer) -> Iterator[PageServer]:
    """Provide a page in a process that may be killed, without a grace time for answers.

    It stores conversations and handles signals as ``pellucid serve`` does, but loads no model.
    """
    server = StandalonePage(tmp_path_factory.mktemp("mortal"), page_server.address)
    server.start()
    yield server
    server.stop()


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
async def network(page_server: PageServer) -> AsyncIterator[Network]:
    """Provide an open connection to the server."""
    found = Network(page_server.address)
    await found.mend()
    yield found
    await found.cut()


async def test_connection_that_breaks(page_server: PageServer, browser_page: Page, network: Network) -> None:
    """An answer that ends while the browser is offline is shown after reconnecting."""
    tab = watched(browser_page, network.address)
    await tab.open()
    await tab.be_brief(100)
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(0)
    await network.cut()
    await expect(browser_page.locator("#pl-server-problem")).to_contain_text("The server does not answer.")
    await until_idle(page_server.address)
    assert await browser_page.locator(".pl-message[aria-busy=true]").count() == 1
    await network.mend()
    await tab.answered(2)
    assert "100 tokens" in await browser_page.locator(".pl-assistant .pl-note").inner_text()
    await tab.answer("And then?")


@pytest.mark.parametrize(
    ("end", "sentence"), [(PageServer.kill, KILLED), (PageServer.stop, STOPPED)], ids=["killed", "stopped"]
)
async def test_in_the_middle(
    mortal: PageServer, browser_page: Page, end: Callable[[PageServer], None], sentence: str
) -> None:
    """After the death of the server no text is lost, and the page reconnects by itself."""
    tab = watched(browser_page, mortal.address)
    await tab.open()
    await tab.be_brief(ENDLESS)
    first = await tab.answer("Say yes and nothing else.")
    await tab.send("Write a long story about a fox and a hen.")
    shown = await tab.grown(40)
    address = browser_page.url
    field = browser_page.get_by_role("textbox", name="Your message")
    await field.fill("and then")
    end(mortal)
    await expect(browser_page.locator("#pl-server-problem")).to_contain_text(
        "The server does not answer. Your text is kept"
    )
    shown = max(shown, (await tab.texts())[3], key=len)
    assert await field.input_value() == "and then"
    for toast in await browser_page.get_by_test_id("toast-body").all_inner_texts():
        assert "Attempting reconnection" in toast

    mortal.start()
    await browser_page.get_by_text(sentence).wait_for()
    await tab.answered(4)
    texts = await tab.texts()
    assert texts[:3] == ["Say yes and nothing else.", first, "Write a long story about a fox and a hen."]
    assert texts[3].startswith(shown)
    assert browser_page.url == address
    assert await field.input_value() == "and then"
    await expect(browser_page.locator("#pl-server-problem")).to_be_hidden()

    await browser_page.get_by_role("button", name="Continue").last.click()
    await tab.grown(len(texts[3]) + 10)
    await browser_page.get_by_role("button", name="Stop").click()
    await tab.answered(4)
    assert (await tab.texts())[3].startswith(texts[3])
    await expect(browser_page.locator(".pl-assistant .pl-version")).to_have_text("2 / 2")
