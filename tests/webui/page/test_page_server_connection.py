"""Tests the page's script between Gradio and the server: no call is assigned to a stream of results that is closed already."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Route

from support.page.heat_page import ADDRESS, asset

SERVER = """
// What the server answers: a stream of results that ends when the test says so, and calls whose stream is open or closed.
window.fetch = async (asked) => {
  const { pathname, search } = new URL(asked, location.href);
  if (pathname.endsWith("/queue/data"))
    return new Response(new ReadableStream({ start(controller) { window.results = controller; } }));
  return new Response("{}", { headers: { "pellucid-stream": search.slice(1), "content-type": "application/json" } });
};
"""

CALL = """async (stream) => {
  window.order = [];
  const reader = (await fetch("gradio_api/queue/data")).body.getReader();
  const read = (async () => { while (!(await reader.read()).done); window.order.push("end"); })();
  const call = fetch(`gradio_api/queue/join?${stream}`, { method: "POST" }).then(() => window.order.push("call"));
  await new Promise((resolve) => setTimeout(resolve, 200));
  window.results.close();
  await Promise.all([read, call]);
  return window.order;
}"""


async def opened(page: Page) -> Page:
    """Open a page with the script over a scripted server."""

    async def answer(route: Route) -> None:
        scripts = [asset(f"{name}.js") for name in ("dom", "server_connection")]
        body = "".join(f"<script>{script}</script>" for script in (SERVER, *scripts))
        await route.fulfill(body=f"<!doctype html><html><body>{body}</body></html>", content_type="text/html; charset=utf-8")

    await page.route("**/*", answer)
    await page.goto(ADDRESS)
    return page


@pytest.mark.parametrize(("stream", "order"), [("closed", ["end", "call"]), ("open", ["call", "end"])])
async def test_calls_between_streams(browser_page: Page, stream: str, order: list[str]) -> None:
    """A call whose stream the server has closed is answered once Gradio has read that; with an open one it does not wait."""
    assert await (await opened(browser_page)).evaluate(CALL, stream) == order


async def test_a_stream_that_is_cut(browser_page: Page) -> None:
    """A stream that breaks off counts as ended: calls do not wait for it forever."""
    cut = CALL.replace("window.results.close()", "window.results.error(new Error('cut'))")
    cut = cut.replace("while (!(await reader.read()).done);", "try { while (!(await reader.read()).done); } catch {}")
    assert await (await opened(browser_page)).evaluate(cut, "closed") == ["end", "call"]
