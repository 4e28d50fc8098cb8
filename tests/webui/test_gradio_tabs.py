"""Limits for each user of the page: the tabs, calls and unread results of one never displace those of another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import gradio as gr
import httpx
import pytest

from page_served import PagedServer, paged
from pellucid.speaker import Speaker
from pellucid_webui.gradio_app import View
from pellucid_webui.gradio_tabs import RUNNING, TABS, UNREAD
from pellucid_webui.login import owner_of
from pellucid_webui.store import Store
from pellucid_webui.turn import Turns

NOTE, RECALL, WAIT, RELEASE = range(4)


def waiting_page(speaker: Speaker, store: Store, turns: Turns) -> View:
    """Keep what a tab notes, and return it again. A call that waits runs until its user releases all of them."""
    gates: dict[str, asyncio.Event] = {}

    def gate(request: gr.Request) -> asyncio.Event:
        return gates.setdefault(owner_of(request), asyncio.Event())

    async def note(text: str) -> str:
        return text

    async def recall(noted: str) -> str:
        return noted

    async def wait(request: gr.Request) -> str:
        await gate(request).wait()
        return "released"

    async def release(request: gr.Request) -> None:
        gate(request).set()

    with gr.Blocks() as blocks:
        kept, box = gr.State("nothing"), gr.Textbox()
        # As in our page: calls of one handler run beside each other.
        gr.Button().click(note, box, kept, concurrency_limit=None)
        gr.Button().click(recall, kept, box, concurrency_limit=None)
        gr.Button().click(wait, None, box, concurrency_limit=None)
        gr.Button().click(release, None, None, concurrency_limit=None)
    return View(blocks)


@pytest.fixture
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """The browser of one of two users of a server."""
    with paged(tmp_path_factory.mktemp("data"), waiting_page, keys="anna:key-of-anna,ben:key-of-ben") as server:
        server.http.post("/login", data={"key": "key-of-anna"})
        server.wait()
        yield server


@pytest.fixture
def ben(anna: PagedServer) -> Iterator[PagedServer]:
    """The other user's browser."""
    with httpx.Client(base_url=anna.server.url, timeout=30, trust_env=False, headers={"origin": anna.server.url}) as http:
        http.post("/login", data={"key": "key-of-ben"})
        yield PagedServer(anna.server, anna.page, http)


def join(server: PagedServer, function: int, session: str, *data: object) -> httpx.Response:
    body = {"fn_index": function, "data": list(data), "session_hash": session}
    return server.http.post("/gradio_api/queue/join", json=body)


def test_tabs_are_forgotten_for_their_own_user(anna: PagedServer, ben: PagedServer) -> None:
    """However many tabs ben opens, anna's keeps its state; of his own the least recently used are forgotten."""
    anna.call(NOTE, "hers", session="tab")
    for number in range(TABS + 5):
        ben.call(NOTE, f"his {number}", session=f"tab{number}")
    assert anna.call(RECALL, None, session="tab") == ["hers"]
    newest = TABS + 4
    assert ben.call(RECALL, None, session=f"tab{newest}") == [f"his {newest}"]
    assert ben.call(RECALL, None, session="tab0") == ["nothing"]


def test_what_gradio_keeps_is_bounded(anna: PagedServer, ben: PagedServer) -> None:
    """Gradio's stores hold no more tabs than we count, and unread results of a tab are bounded."""
    for number in range(TABS + 5):
        ben.call(NOTE, "x", session=f"tab{number}")
    for _ in range(3 * UNREAD):
        while join(ben, NOTE, "deaf", "x").status_code == 429:  # it takes a moment until the last ones have run
            pass
    assert anna.page._gradio is not None
    blocks = anna.page._gradio.blocks
    queue = blocks._queue
    assert len(blocks.state_holder.session_data) <= TABS
    assert len(queue.pending_messages_per_session) <= TABS
    assert len(queue.pending_event_ids_session) <= TABS
    assert max(len(ids) for ids in queue.pending_event_ids_session.values()) <= UNREAD + RUNNING


def test_calls_at_a_time(anna: PagedServer, ben: PagedServer) -> None:
    """RUNNING calls of one user run at a time, in any number of tabs; one more is refused, while another user's call runs."""
    for number in range(RUNNING):
        assert join(ben, WAIT, f"tab{number % 7}").status_code == 200
    refused = join(ben, NOTE, "new", "x")
    assert refused.status_code == 429
    assert refused.json()["error"]["message"] == (
        f"{RUNNING} of your requests are still running: stop an answer or close a tab, then try again."
    )
    assert anna.call(NOTE, "hers", session="tab0") == [None]

    assert join(anna, WAIT, "tab1").status_code == 200
    anna.call(RELEASE, session="tab2")
    assert anna.call(WAIT, session="tab3") == ["released"]


def test_tabs_with_a_running_call_stay(anna: PagedServer, ben: PagedServer) -> None:
    """A tab with a running call is not forgotten for newer tabs of its user, and gets its answer."""
    assert join(anna, WAIT, "patient").status_code == 200
    for number in range(TABS + 5):
        anna.call(NOTE, "x", session=f"tab{number}")
    anna.call(RELEASE, session="other")
    with anna.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "patient"}) as stream:
        assert any('"data":["released"]' in line for line in stream.iter_lines())
