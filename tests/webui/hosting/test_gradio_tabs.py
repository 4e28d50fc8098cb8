"""Tests limits of tabs, calls, streams and unread results, separate for each user."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.server_messages import HeartbeatMessage
from starlette.types import Message, Receive, Scope, Send

from pellucid.client.assistant_protocol import AssistantFor
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting import gradio_tabs
from pellucid_webui.hosting.gradio_host import GradioPage
from pellucid_webui.hosting.login import owner_of
from pellucid_webui.hosting.mount import Page
from support.page.small_page_server import PagedServer, paged

pytestmark = pytest.mark.slow

NOTE, RECALL, WAIT, RELEASE, FAIL = range(5)

MAX_TABS, MAX_STREAMS, MAX_RUNNING_CALLS, MAX_STOP_CALLS, MAX_UNREAD_MESSAGES = 12, 20, 8, 2, 50
"""Smaller limits than those of a real page."""

PATIENCE = 60
"""Timeout in seconds, reached only if a test fails."""


def waiting_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a page that keeps and returns a note of each tab.

    A waiting call runs until its user releases all waiting calls.
    """
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

    async def fail(text: str) -> str:
        raise RuntimeError(text)

    with gr.Blocks() as blocks:
        kept, box = gr.State("nothing"), gr.Textbox()
        # As on our page, calls of one handler run at the same time.
        gr.Button().click(note, box, kept, concurrency_limit=None)
        gr.Button().click(recall, kept, box, concurrency_limit=None)
        gr.Button().click(wait, None, box, concurrency_limit=None)
        gr.Button().click(release, None, None, concurrency_limit=None)
        gr.Button().click(fail, box, box, concurrency_limit=None)
    return GradioPage(blocks)


@pytest.fixture
def anna(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[PagedServer]:
    """Provide the browser of anna, a user of a server with two users and small limits."""
    for name in ("MAX_TABS", "MAX_STREAMS", "MAX_RUNNING_CALLS", "MAX_STOP_CALLS", "MAX_UNREAD_MESSAGES"):
        monkeypatch.setattr(gradio_tabs, name, globals()[name])
    with paged(tmp_path_factory.mktemp("data"), waiting_page, keys="anna:key-of-anna,ben:key-of-ben") as server:
        server.http.post("/login", data={"key": "key-of-anna"})
        server.wait()
        yield server


@pytest.fixture
def ben(anna: PagedServer) -> Iterator[PagedServer]:
    with httpx.Client(
        base_url=anna.server.url, timeout=30, trust_env=False, headers={"origin": anna.server.url}
    ) as http:
        http.post("/login", data={"key": "key-of-ben"})
        yield PagedServer(anna.server, anna.page, http)


def join(server: PagedServer, function: int, session: str, *data: object, **event: str) -> httpx.Response:
    body = {"fn_index": function, "data": list(data), "session_hash": session, "event_data": event}
    return server.http.post("/gradio_api/queue/join", json=body)


def gradio(server: PagedServer) -> gr.Blocks:
    assert server.page._gradio is not None
    return server.page._gradio.blocks


def test_tabs_are_forgotten_for_their_own_user(anna: PagedServer, ben: PagedServer) -> None:
    """Too many tabs of ben displace only ben's least recently used tabs.

    A tab with a running call is not dropped for newer tabs, and gets the answer.
    """
    anna.call(NOTE, "hers", session="tab")
    assert join(ben, WAIT, "patient").status_code == 200
    for number in range(MAX_TABS + 5):
        ben.call(NOTE, f"his {number}", session=f"tab{number}")
    assert anna.call(RECALL, None, session="tab") == ["hers"]
    newest = MAX_TABS + 4
    assert ben.call(RECALL, None, session=f"tab{newest}") == [f"his {newest}"]
    assert ben.call(RECALL, None, session="tab0") == ["nothing"]
    blocks = gradio(anna)
    assert len(blocks.state_holder.session_data) <= MAX_TABS + 1
    assert len(blocks._queue.pending_messages_per_session) <= MAX_TABS + 1
    assert len(blocks._queue.pending_event_ids_session) <= MAX_TABS + 1
    ben.call(RELEASE, session=f"tab{newest}")
    with ben.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "patient"}) as stream:
        assert any('"data":["released"]' in line for line in stream.iter_lines())


def test_closed_tabs_are_forgotten_first(anna: PagedServer) -> None:
    """Closed tabs, as left by reloads, are dropped before open tabs."""
    anna.call(NOTE, "kept", session="open")
    anna.call(NOTE, "x", session="closed")
    blocks = gradio(anna)
    for name, state in blocks.state_holder.session_data.items():
        state.is_closed = name == list(blocks.state_holder.session_data)[1]
    for number in range(MAX_TABS - 1):
        anna.call(NOTE, "x", session=f"tab{number}")
    assert anna.call(RECALL, None, session="open") == ["kept"]


def test_unread_messages(anna: PagedServer) -> None:
    """A tab with too many unread messages is dropped, or refused during a running call."""
    queue = gradio(anna)._queue
    assert join(anna, NOTE, "deaf", "x").status_code == 200
    wait_until(lambda: not queue.event_ids_to_events)
    (unread,) = queue.pending_messages_per_session.values()
    for _ in range(MAX_UNREAD_MESSAGES):
        unread.put_nowait(HeartbeatMessage())
    assert join(anna, WAIT, "deaf").status_code == 200
    assert unread not in queue.pending_messages_per_session.values()
    (unread,) = queue.pending_messages_per_session.values()
    for _ in range(MAX_UNREAD_MESSAGES):
        unread.put_nowait(HeartbeatMessage())
    refused = join(anna, NOTE, "deaf", "x")
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        429,
        "This tab does not read its results: reload the page.",
    )
    anna.call(RELEASE, session="other")


def test_calls_at_a_time(anna: PagedServer, ben: PagedServer) -> None:
    """The running calls are limited for each user, in any number of tabs.

    A user at the limit of calls can still stop answers.
    """
    for number in range(MAX_RUNNING_CALLS):
        assert join(ben, WAIT, f"tab{number % 7}").status_code == 200
    refused = join(ben, NOTE, "new", "x")
    sentence = f"You already have {MAX_RUNNING_CALLS} requests running: stop one or close a tab, then try again."
    assert refused.status_code == 429
    assert refused.json()["error"]["message"] == sentence
    assert anna.call(NOTE, "hers", session="tab0") == [None]
    assert ben.http.get("/").status_code == 200
    assert join(ben, WAIT, "tab", verb="send").status_code == 429
    stops = [join(ben, WAIT, "tab", verb="stop").status_code for _ in range(MAX_STOP_CALLS + 1)]
    assert stops == [200] * MAX_STOP_CALLS + [429]
    assert join(anna, WAIT, "tab1").status_code == 200
    anna.call(RELEASE, session="tab2")
    assert anna.call(WAIT, session="tab3") == ["released"]


def test_open_connections(anna: PagedServer, ben: PagedServer) -> None:
    """A user has a limited number of streams, and closed streams no longer count."""
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(
        base_url=ben.server.url, headers=ben.http.headers, cookies=ben.http.cookies, limits=limits, timeout=30
    ) as http:
        with ExitStack() as opened:
            for number in range(MAX_STREAMS):
                opened.enter_context(http.stream("GET", f"/gradio_api/heartbeat/tab{number}"))
            assert http.get("/gradio_api/heartbeat/one").status_code == 429
            with anna.http.stream("GET", "/gradio_api/heartbeat/hers") as stream:
                assert stream.status_code == 200
        wait_until(lambda: is_admitted(http))


def wait_until(holds: Callable[[], bool]) -> None:
    late = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < late
        time.sleep(0.01)


def is_admitted(http: httpx.Client) -> bool:
    """Return whether a further connection is accepted."""
    with http.stream("GET", "/gradio_api/heartbeat/one") as stream:
        return stream.status_code == 200


def test_calls_say_whether_their_results_are_read(anna: PagedServer) -> None:
    """The response to a call says whether the tab's stream is open."""
    assert join(anna, WAIT, "tab").headers["pellucid-stream"] == "closed"
    with anna.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "tab"}) as stream:
        assert stream.status_code == 200
        assert join(anna, RECALL, "tab", None).headers["pellucid-stream"] == "open"
        assert join(anna, RECALL, "other", None).headers["pellucid-stream"] == "closed"
    wait_until(lambda: join(anna, RECALL, "tab", None).headers["pellucid-stream"] == "closed")


def test_a_call_while_a_stream_ends(anna: PagedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """During the last message of a tab's stream, calls report the stream as closed."""
    page, announced, called = Page.__call__, asyncio.Event(), asyncio.Event()

    async def delay_the_end(self: Page, scope: Scope, receive: Receive, send: Send) -> None:
        async def pass_on(message: Message) -> None:
            if b"close_stream" in message.get("body", b""):
                announced.set()
                await called.wait()
            await send(message)
            if announced.is_set() and scope["path"].endswith("/join"):
                called.set()

        await page(self, scope, receive, pass_on)

    monkeypatch.setattr(Page, "__call__", delay_the_end)
    join(anna, NOTE, "tab", "x")
    with anna.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "tab"}) as stream:
        lines = stream.iter_lines()
        while "process_completed" not in next(lines):
            pass
        wait_until(announced.is_set)
        assert join(anna, RECALL, "tab", None).headers["pellucid-stream"] == "closed"
        assert "close_stream" in "".join(lines)


NO_CALLS: list[dict[str, Any]] = [
    {"fn_index": -1},
    {"fn_index": 99},
    {"fn_index": 10**4000},
    {"fn_index": True},
    {"fn_index": None},
    {"data": []},
    {"data": ["x", "y"]},
    {"data": None},
]


def test_calls_of_no_event(anna: PagedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that matches no event of the page is refused in a sentence.

    A tab without calls has no results, and a failed call ends, even if the log cannot be written.
    """
    for call in NO_CALLS:
        body = {"fn_index": NOTE, "data": ["x"], "session_hash": "s1"} | call
        answer = anna.http.post("/gradio_api/queue/join", json=body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "The page has no such call: reload it.")
    answer = anna.http.get("/gradio_api/queue/data", params={"session_hash": "silent"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        404,
        "No results are expected for this tab: reload the page.",
    )

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    (event,) = [event for event in anna.events(FAIL, "x") if event["msg"] == "process_completed"]
    assert not event["success"]


def test_two_readers_of_one_tab(anna: PagedServer) -> None:
    """Two readers of the same tab can close their connections without a leftover task."""
    assert join(anna, WAIT, "twice").status_code == 200
    before = tasks()
    with ExitStack() as opened:
        for _ in range(2):
            stream = opened.enter_context(
                anna.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "twice"})
            )
            assert stream.status_code == 200
        assert tasks() > before
    wait_until(lambda: tasks() <= before)


def tasks() -> int:
    """Return the number of readers' heartbeats in this process."""
    return sum(
        type(found) is asyncio.Task
        and not found.done()
        and "queue_data_helper.<locals>.heartbeat" in repr(found.get_coro())
        for found in gc.get_objects()
    )
