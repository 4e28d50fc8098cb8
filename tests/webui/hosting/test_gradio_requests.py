"""Tests the requests to Gradio: only the page's own calls, in sessions of their user."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message, Scope

from pellucid.client.assistant_protocol import AssistantFor
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.gradio_host import GradioPage
from pellucid_webui.hosting.gradio_requests import DATA, HEARTBEAT, JOIN, with_owner_session
from pellucid_webui.hosting.login import owner_of
from support.page.small_page_server import PagedServer, paged

KEYS = "anna:key-of-anna,ben:key-of-ben"
NOTE, RECALL = 0, 1


def diary_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a page that keeps and returns a note of each tab, with the user's name."""

    async def note(text: str, request: gr.Request) -> str:
        return f"{owner_of(request)}: {text}"

    async def recall(noted: str) -> str:
        return noted

    with gr.Blocks() as blocks:
        kept, box = gr.State("nothing"), gr.Textbox()
        gr.Button().click(note, box, kept)
        gr.Button().click(recall, kept, box)
    return GradioPage(blocks)


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """Start a server with two users, with anna logged in."""
    with paged(tmp_path_factory.mktemp("data"), diary_page, keys=KEYS) as server:
        server.http.post("/login", data={"key": "key-of-anna"})
        server.wait()
        yield server


@pytest.fixture
def ben(diary: PagedServer) -> Iterator[PagedServer]:
    with httpx.Client(
        base_url=diary.server.url, timeout=30, trust_env=False, headers={"origin": diary.server.url}
    ) as http:
        http.post("/login", data={"key": "key-of-ben"})
        yield PagedServer(diary.server, diary.page, http)


def join(server: PagedServer, function: int, session: str, *data: object) -> httpx.Response:
    return server.http.post(
        "/gradio_api/queue/join", json={"fn_index": function, "data": list(data), "session_hash": session}
    )


def read_stream(server: PagedServer, session: str) -> str:
    """Read the stream of a session up to the end of an event."""
    text = ""
    with server.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            text += line
            if "process_completed" in line:
                break
    return text


def test_a_stream_is_its_users(diary: PagedServer, ben: PagedServer) -> None:
    """Only anna gets the results of her tab, even if ben knows the session_hash."""
    diary.call(NOTE, "my secret", session="tab")
    assert join(diary, RECALL, "tab", None).status_code == 200
    assert join(ben, RECALL, "tab", None).status_code == 200
    of_ben = read_stream(ben, "tab")
    assert "secret" not in of_ben
    assert '"data":["nothing"]' in of_ben
    assert '"data":["anna: my secret"]' in read_stream(diary, "tab")


def test_what_a_tab_keeps_is_its_users(diary: PagedServer, ben: PagedServer) -> None:
    """The same session_hash of two users gives two tabs with separate states."""
    diary.call(NOTE, "one", session="shared")
    assert ben.call(RECALL, None, session="shared") == ["nothing"]
    ben.call(NOTE, "two", session="shared")
    assert diary.call(RECALL, None, session="shared") == ["anna: one"]
    assert ben.call(RECALL, None, session="shared") == ["ben: two"]


def test_events_of_others_cannot_be_ended(diary: PagedServer, ben: PagedServer) -> None:
    """Gradio's routes that end events are closed, because the page does not use these routes."""
    event = join(diary, RECALL, "cancelled", None).json()["event_id"]
    for call in ("cancel", "reset"):
        body = {"session_hash": "cancelled", "fn_index": RECALL, "event_id": event}
        assert ben.http.post(f"/gradio_api/{call}", json=body).status_code == 404
    assert '"data":["nothing"]' in read_stream(diary, "cancelled")


async def passed(path: str, *, owner: str = "anna", query: str = "", body: bytes = b"") -> tuple[Scope, bytes]:
    """Return the scope and body of a request after the check."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST" if path == JOIN else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"content-length", str(len(body)).encode()), (b"x-kept", b"yes")],
    }
    found = await with_owner_session(Request(scope, receive), owner)
    return found.scope, (await found.receive())["body"]


def session_in(scope: Scope, body: bytes) -> str:
    """Return the session in a checked request."""
    if scope["path"] == JOIN:
        return str(json.loads(body)["session_hash"])
    if scope["path"] == DATA:
        (found,) = parse_qs(str(scope["query_string"], "ascii")).values()
        return found[-1]
    return str(scope["path"]).removeprefix(HEARTBEAT)


async def sessions_of(owner: str, session: str) -> set[str]:
    """Return the sessions in requests by all three routes."""
    return {
        session_in(*await passed(JOIN, owner=owner, body=json.dumps({"session_hash": session}).encode())),
        session_in(*await passed(DATA, owner=owner, query=f"session_hash={session}&session_hash={session}&x=1")),
        session_in(*await passed(HEARTBEAT + session, owner=owner)),
    }


async def test_sessions_are_apart() -> None:
    """A tab has the same session by all routes, distinct for each user and session_hash."""
    found = [
        await sessions_of(owner, session)
        for owner in ("anna", "ben", "local")
        for session in ("s1", "s2", "anna", "ben")
    ]
    assert all(len(one) == 1 for one in found)
    assert len(set.union(*found)) == len(found)
    stolen = next(iter(found[0]))
    assert stolen not in await sessions_of("ben", stolen)


async def test_a_heartbeat_keeps_its_path() -> None:
    """A heartbeat's path is changed in both forms."""
    scope, _ = await passed(HEARTBEAT + "s1")
    assert scope["path"].encode() == scope["raw_path"]


async def test_a_call_is_passed_on() -> None:
    """The body of a call reaches Gradio with the same content and the correct length."""
    call = {
        "fn_index": 3,
        "data": ["é\U0001f600", None, 1e300, {"a": [True]}],
        "event_data": {"verb": "x"},
        "session_hash": "s1",
    }
    scope, body = await passed(JOIN, body=json.dumps(call).encode())
    assert json.loads(body) == call | {"session_hash": json.loads(body)["session_hash"]}
    assert dict(scope["headers"]) == {b"content-length": str(len(body)).encode(), b"x-kept": b"yes"}


async def test_a_key_that_is_there_twice() -> None:
    """Of a duplicate key, the check and Gradio see only the last value."""
    _, body = await passed(
        JOIN, body=b'{"data": [{"path": "/etc/hostname"}], "data": [1], "session_hash": "a", "session_hash": "b"}'
    )
    assert body.count(b'"data"') == body.count(b'"session_hash"') == 1
    assert b"path" not in body


BAD: list[tuple[bytes, str]] = [
    (b'{"session_hash": "s1", "data": ["\xed\xa0\x80"]}', "must be JSON without deep nesting"),
    ('{"session_hash": "s1", "data": []}'.encode("utf-16"), "must be JSON without deep nesting"),
    (b'{"session_hash": "s1", "data": [{"text": "\\ud83d"}]}', "half a character"),
    (b"", "must be JSON without deep nesting"),
    (b"{", "must be JSON without deep nesting"),
    (b"\xff\xfe\x00", "must be JSON without deep nesting"),
    (b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "must be JSON without deep nesting"),
    (b'{"data":[' + b"9" * 5000 + b"]}", "must be JSON without deep nesting"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"{}", "must name its session"),
    (b'{"session_hash": null}', "must name its session"),
    (b'{"session_hash": ""}', "must name its session"),
    (b'{"session_hash": ["s1"]}', "must name its session"),
    (b'{"session_hash": "s1", "data": [[[{"a": {"path": null}}]]]}', "accepts the content of a file, not a path"),
    (b'{"session_hash": "s1", "path": 1}', "accepts the content of a file, not a path"),
    (b'{"session_hash": "s1", "data": [{"\\u0070ath": "/etc/hostname"}]}', "accepts the content of a file, not a path"),
]


def test_bad_calls(diary: PagedServer) -> None:
    """A body that is not a call is refused in a sentence, and the page keeps working."""
    for body, sentence in BAD:
        answer = diary.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]["message"]
    assert diary.http.get("/gradio_api/queue/data").status_code == 400
    assert diary.http.get("/gradio_api/heartbeat/").status_code == 400
    assert diary.call(RECALL, None, session="after") == ["nothing"]


@pytest.mark.slow
def test_many_users_at_once(diary: PagedServer, ben: PagedServer) -> None:
    """Simultaneous calls of two users in sessions of the same name never interfere."""
    found: dict[str, list[Any]] = {"anna": [], "ben": []}

    def use(server: PagedServer, name: str) -> None:
        for number in range(5):
            server.call(NOTE, f"{name}-{number}", session=f"busy{number}")
            found[name] += server.call(RECALL, None, session=f"busy{number}")

    threads = [threading.Thread(target=use, args=(server, name)) for server, name in ((diary, "anna"), (ben, "ben"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"{name}: {name}-{number}" for number in range(5)] for name in found}
