"""The page over a server that goes away, in a real browser with the real models."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.async_api import Page, expect

from page_fixtures import PageServer, watched

pytestmark = pytest.mark.model

KILLED = "It was interrupted: the server went away in the middle of it."

STOPPED = "The server was stopped in the middle of it."


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A server that may be killed, and that waits for no answer when it is stopped."""
    server = PageServer(tmp_path_factory.mktemp("mortal"), "--grace", "0")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(("end", "sentence"), [(PageServer.kill, KILLED), (PageServer.stop, STOPPED)], ids=["killed", "stopped"])
async def test_in_the_middle(mortal: PageServer, browser_page: Page, end: Callable[[PageServer], None], sentence: str) -> None:
    """Nothing that was shown or written is lost by the end of a server: the page says so meanwhile, comes back by itself, and goes on."""
    tab = watched(browser_page, mortal.address)
    await tab.open()
    await tab.be_brief(2000)
    first = await tab.answer("Say yes and nothing else.")
    await tab.send("Write a long story about a fox and a hen.")
    shown = await tab.grown(40)
    address = browser_page.url
    field = browser_page.get_by_role("textbox", name="Your message")
    await field.fill("and then")
    end(mortal)
    await expect(browser_page.locator(".pl-banner")).to_contain_text("The server does not answer. What you wrote is kept")
    shown = max(shown, (await tab.texts())[3], key=len)
    assert await field.input_value() == "and then"
    for toast in await browser_page.get_by_test_id("toast-body").all_inner_texts():
        assert "Attempting reconnection" in toast

    mortal.start()
    await browser_page.get_by_text(sentence).wait_for()
    await tab.answered(4)
    said = await tab.texts()
    assert said[:3] == ["Say yes and nothing else.", first, "Write a long story about a fox and a hen."]
    assert said[3].startswith(shown)
    assert browser_page.url == address
    assert await field.input_value() == "and then"
    await expect(browser_page.locator(".pl-banner")).to_be_hidden()

    await browser_page.get_by_role("button", name="Continue").last.click()
    await tab.grown(len(said[3]) + 10)
    await browser_page.get_by_role("button", name="Stop").click()
    await tab.answered(4)
    assert (await tab.texts())[3].startswith(said[3])
    await expect(browser_page.locator(".pl-assistant .pl-version")).to_have_text("2 / 2")
