"""Tests a standalone page with a separate server, in a browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import PATIENCE, PageServer, watched

pytestmark = pytest.mark.model


@pytest.fixture
def alone(page_server: PageServer, tmp_path: Path) -> Iterator[str]:
    """Start a standalone page, and return the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "pellucid",
        "webui",
        "--server",
        page_server.address,
        "--port",
        str(port),
        "--data",
        str(tmp_path),
    ]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
    address = f"http://127.0.0.1:{port}"
    late = time.monotonic() + PATIENCE
    while "gradio_config" not in looked(address):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < late, (tmp_path / "log").read_text()
        time.sleep(0.1)
    yield address
    process.terminate()
    assert process.wait(30) == 0


def looked(address: str) -> str:
    try:
        return httpx.get(address).text
    except httpx.TransportError:
        return ""


async def test_every_tab(alone: str, browser_page: Page) -> None:
    """A standalone page chats, reads and fills in like the server's own page."""
    tab = watched(browser_page, alone)
    await tab.open()
    await tab.send("Say yes and nothing else.")
    await tab.answered(2)
    await browser_page.locator(".pl-assistant .pl-tokens-button").click()
    await browser_page.locator(".pl-assistant .pl-token").first.wait_for()

    await tab.tab("Read")
    await browser_page.locator("#pl-read-go").click()
    await expect(browser_page.locator("#pl-reading .pl-figures")).to_contain_text("Perplexity")

    await tab.tab("Infill")
    await browser_page.get_by_role("button", name="Complete at the cursor").click()
    await expect(browser_page.locator("#pl-infill .pl-table").first).to_contain_text("threshold")
    assert tab.elsewhere == []
    assert tab.problems == []
