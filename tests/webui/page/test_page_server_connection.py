"""Tests the page's script between Gradio and the server: the order of calls and results."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Route

from support.page.heat_page import ADDRESS, answer_with

SERVER = """
// What the server answers: a stream of results that ends when the test says so, \
and calls whose stream is open or closed.
window.fetch = async (asked) => {
  const { pathname, search } = new URL(asked, location.href);
  if (pathname.endsWith("/queue/data"))
    return new Response(new ReadableStream({ start(controller) { window.results = controller; } }));
  const [stream, id, wait] = search.slice(1).split("&");
  if (wait === "fail") throw new TypeError("Failed to fetch");
  if (wait) await new Promise((resolve) => { window.answerCall = resolve; });
  return new Response(JSON.stringify({ event_id: id }), \
{ headers: { "pellucid-stream": stream, "content-type": "application/json" } });
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


OVERTAKING = """async (named) => {
  window.order = [];
  const reader = (await fetch("gradio_api/queue/data")).body.getReader();
  const read = (async () => { while (!(await reader.read()).done) window.order.push("results"); })();
  await (await fetch("gradio_api/queue/join?open&earlier", { method: "POST" })).json();
  const call = fetch("gradio_api/queue/join?open&later&wait", { method: "POST" });
  const handled = call.then((response) => response.json()).then(() => window.order.push("call"));
  window.results.enqueue(new TextEncoder().encode(`data: {"msg":"process_generating","event_id":"${named}"}\\n\\n`));
  await new Promise((resolve) => setTimeout(resolve, 200));
  window.answerCall();
  await handled;
  window.results.close();
  await read;
  return window.order;
}"""


async def opened(page: Page) -> Page:
    """Open a page with the script over a scripted server."""

    async def answer(route: Route) -> None:
        module = '<script type="module" src="./assets/frame/server_connection.js"></script>'
        html = f"<!doctype html><html><body><script>{SERVER}</script>{module}</body></html>"
        await answer_with(route, ADDRESS, html)

    await page.route("**/*", answer)
    await page.goto(ADDRESS)
    return page


@pytest.mark.parametrize(("stream", "order"), [("closed", ["end", "call"]), ("open", ["call", "end"])])
async def test_calls_between_streams(browser_page: Page, stream: str, order: list[str]) -> None:
    """A call on a closed stream is answered after the stream's end, other calls at once."""
    assert await (await opened(browser_page)).evaluate(CALL, stream) == order


async def test_a_stream_that_is_cut(browser_page: Page) -> None:
    """A broken stream counts as ended, so that calls do not wait forever."""
    cut = CALL.replace("window.results.close()", "window.results.error(new Error('cut'))")
    cut = cut.replace("while (!(await reader.read()).done);", "try { while (!(await reader.read()).done); } catch {}")
    assert await (await opened(browser_page)).evaluate(cut, "closed") == ["end", "call"]


@pytest.mark.parametrize(("named", "order"), [("later", ["call", "results"]), ("earlier", ["results", "call"])])
async def test_results_before_the_response(browser_page: Page, named: str, order: list[str]) -> None:
    """Results of a call wait until Gradio has handled the response to this call."""
    assert await (await opened(browser_page)).evaluate(OVERTAKING, named) == order


async def test_results_after_a_failed_call(browser_page: Page) -> None:
    """A failed call delays no results."""
    failing = OVERTAKING.replace('"gradio_api/queue/join?open&later&wait"', '"gradio_api/queue/join?open&later&fail"')
    failing = failing.replace("response.json()", "response.json(), () => {}").replace("window.answerCall();", "")
    assert await (await opened(browser_page)).evaluate(failing, "later") == ["call", "results"]
