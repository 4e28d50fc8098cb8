"""Tests the server's additions to Gradio's responses: compression, caching and a first text."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from playwright.async_api import Page
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from pellucid_webui.hosting.responses import PageResponses
from support.page.small_page_server import PagedServer, paged

pytestmark = pytest.mark.slow

BROWSER = {"accept-encoding": "gzip, deflate, br"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    with paged(tmp_path_factory.mktemp("data")) as server:
        server.wait()
        yield server


@pytest.mark.parametrize("path", ["/", "/config"])
def test_large_documents_are_compressed(small: PagedServer, path: str) -> None:
    """The page and the configuration are compressed to less than half."""
    plain = small.http.get(path, headers={"accept-encoding": "identity"})
    with small.http.stream("GET", path, headers=BROWSER) as packed:
        sent = b"".join(packed.iter_raw())
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(sent) < len(plain.content) / 2
    assert gzip.decompress(sent) == plain.content


def test_only_files_named_by_content_are_cached(small: PagedServer) -> None:
    """A script named by content is cached; the page and missing scripts are not."""
    page = small.http.get("/")
    script = page.text.split('src="./assets/')[1].split('"')[0]
    assert page.headers["cache-control"] == "no-store"
    assert small.http.get(f"/assets/{script}").headers["cache-control"] == "private, max-age=31536000, immutable"
    missing = small.http.get("/assets/index-12345678.js")
    assert (missing.status_code, missing.headers.get("cache-control")) == (404, None)


async def test_streams_are_sent_as_they_come() -> None:
    """Events of a stream are sent immediately and uncompressed."""
    sent: list[Message] = []
    counts: list[int] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            counts.append(len(sent))
            await send({"type": "http.response.body", "body": event, "more_body": True})
        counts.append(len(sent))
        await send({"type": "http.response.body", "body": b""})

    async def collect(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("a stream has no body to read")

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/gradio_api/queue/data",
        "headers": [(b"accept-encoding", b"gzip")],
    }
    await PageResponses(stream, "", "")(scope, receive, collect)

    assert counts == [1, 2, 3]
    assert [message.get("body") for message in sent] == [None, b"data: 1\n\n", b"data: 2\n\n", b""]
    assert "content-encoding" not in Headers(raw=sent[0]["headers"])


async def test_first_words(small: PagedServer, browser_page: Page) -> None:
    """Without scripts the page shows a text, and scripts replace the text by the page."""
    assert '<p id="pl-starting">Pellucid is starting.</p>' in small.http.get("/").text
    await browser_page.goto(small.server.url)
    await browser_page.get_by_role("textbox").wait_for()
    assert await browser_page.locator("#pl-starting").evaluate("words => words.matches(':not(:only-child)')")
