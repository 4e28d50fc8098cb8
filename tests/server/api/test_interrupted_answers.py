"""Answers end with the connection, at errors, and at shutdown."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pellucid.errors import PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import Priority, Terms
from support.servers.http_servers import (
    LiveServer,
    ScriptedAssistant,
    live_scripted,
    live_tiny,
    spoken,
)

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "ab", "max_tokens": 2000, "ignore_eos": True},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "ab"}], "ignore_eos": True},
    "/completion": {"prompt": "ab", "ignore_eos": True},
    "/infill": {"input_prefix": "ab", "ignore_eos": True, "n_cmpl": 1},
}


@pytest.fixture(scope="module")
def long_server() -> Any:
    """Run a server with a long context, so no answer ends during a test."""
    with live_tiny(context=2048) as server:
        yield server


def post(connection: socket.socket, path: str, body: dict[str, Any]) -> None:
    """Send a request as bytes, so the test alone holds the connection."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        f"{len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)


def running(server: LiveServer) -> int:
    return sum(slot["is_processing"] for slot in server.http.get("/slots").json())


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition; the limit is only reached in a failing test."""
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ROUTES)
def test_dropped_connection_frees_the_sequence(long_server: LiveServer, path: str, stream: bool) -> None:
    """A client that disconnects leaves no running sequence."""
    finished = long_server.state.statuses()["tiny"].totals.finished
    with socket.create_connection(("127.0.0.1", long_server.port)) as connection:
        post(connection, path, ROUTES[path] | {"stream": stream})
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: running(long_server) == 1)
    wait_until(lambda: running(long_server) == 0)

    assert long_server.state.statuses()["tiny"].totals.finished == finished + 1


def test_no_free_slot(long_server: LiveServer) -> None:
    """/slots?fail_on_no_slot=1 is 200 with a free slot, and 503 without a free slot."""
    with httpx.Client(base_url=long_server.url, trust_env=False, timeout=60) as client:
        before = client.get("/slots", params={"fail_on_no_slot": 1, "model": "tiny"})
        connections = [socket.create_connection(("127.0.0.1", long_server.port)) for _ in range(4)]
        for connection in connections:
            post(connection, "/infill", ROUTES["/infill"] | {"input_prefix": str(connection.fileno())})
        wait_until(lambda: running(long_server) == 4)
        during = client.get("/slots", params={"fail_on_no_slot": 1, "model": "tiny"})
        for connection in connections:
            connection.close()
        wait_until(lambda: running(long_server) == 0)

    assert before.status_code == 200
    assert (during.status_code, during.json()["error"]["type"]) == (503, "unavailable_error")


def test_newer_request_supersedes_the_older(long_server: LiveServer) -> None:
    """A request with the same id_slot ends the older request early."""
    with httpx.Client(base_url=long_server.url, trust_env=False, timeout=60) as client:
        older: dict[str, Any] = {}

        def ask() -> None:
            older.update(client.post("/infill", json={"input_prefix": "a", "id_slot": 3, "ignore_eos": True}).json())

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: running(long_server) == 1)
        newer = client.post("/infill", json={"input_prefix": "ab", "id_slot": 3, "n_predict": 2}).json()
        thread.join()

    assert (older["superseded"], newer["superseded"]) == (True, False)
    assert running(long_server) == 0


@pytest.mark.parametrize("path", ROUTES)
def test_slow_reader_does_not_hold_the_answer(path: str) -> None:
    """A streamed answer is generated to the end, even if the client stops reading."""
    assistant = ScriptedAssistant(script=[spoken("x" * 100_000)] * 300, before=lambda _: asyncio.sleep(0))
    with live_scripted(assistant) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        post(connection, path, ROUTES[path] | {"stream": True})
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert assistant.closed.wait(timeout=60)


def test_closing_a_stream_closes_the_answer() -> None:
    """The assistant's generator is closed if the client disconnects while the answer hangs."""

    async def hang(index: int) -> None:
        if index == 1:
            await asyncio.Event().wait()

    assistant = ScriptedAssistant(before=hang)
    with live_scripted(assistant) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            post(connection, "/v1/completions", {"prompt": "x", "stream": True})
            received = b""
            while b"Hello" not in received:
                received += connection.recv(1000)
            assert not assistant.closed.is_set()

        assert assistant.closed.wait(30)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/score"])
@pytest.mark.parametrize(
    "failure", [PellucidError("The model broke."), Finish(FinishReason.ERROR, Usage(), error="The model broke.")]
)
def test_error_in_the_middle_of_a_stream(path: str, failure: Exception | Finish) -> None:
    """An error after the first token is an event, and the stream ends as usual."""
    body = {"/v1/completions": {"prompt": "x"}, "/v1/score": {"text": "x"}}.get(
        path, {"messages": [{"role": "user", "content": "x"}]}
    )
    tokens = [spoken("a")] * 100  # More than a single event, even for events with many tokens.
    with live_scripted([*tokens, failure]) as server:
        text = server.http.post(path, json={**body, "stream": True}).text

    error, done = text.strip().split("\n\n")[-2:]
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "The model broke."
    assert done == "data: [DONE]"


def test_unexpected_error_in_a_stream() -> None:
    """An unexpected error is reported without details, and the server continues."""
    with live_scripted([spoken("a"), RuntimeError("secret")]) as server:
        text = server.http.post("/v1/completions", json={"prompt": "x", "stream": True}).text
        assert server.http.get("/health").status_code == 200

    assert "secret" not in text
    assert '"type": "server_error"' in text


@pytest.mark.parametrize("stream", [True, False])
def test_shutdown_ends_answers_properly(stream: bool) -> None:
    """After the grace time, a stream ends with an error event, and a waiting request with 503."""
    reached = threading.Event()

    async def hang(index: int) -> None:
        if index == 1:
            reached.set()
            await asyncio.Event().wait()

    assistant = ScriptedAssistant(before=hang)
    with live_scripted(assistant) as server:
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(server.http.post("/v1/completions", json={"prompt": "x", "stream": stream}))
        )
        thread.start()
        assert reached.wait(30)
        server.shut_down()
        thread.join()

    assert assistant.closed.is_set()
    assert "The server is shutting down" in answers[0].text
    if stream:
        assert answers[0].text.endswith("data: [DONE]\n\n")
    else:
        assert (answers[0].status_code, answers[0].json()["error"]["type"]) == (503, "unavailable_error")


def test_grace_time_lets_answers_finish() -> None:
    """Within the grace time a running answer finishes."""
    reached, go_on = threading.Event(), threading.Event()

    async def wait(index: int) -> None:
        if index == 1:
            reached.set()
            while not go_on.is_set():
                await asyncio.sleep(0.01)

    with live_scripted(ScriptedAssistant(before=wait), grace=60.0) as server:
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(server.http.post("/v1/completions", json={"prompt": "x", "stream": True}))

        thread = threading.Thread(target=ask)
        thread.start()
        assert reached.wait(30)
        server.shut_down()
        wait_until(lambda: server.state.leaving)
        go_on.set()
        thread.join()

    assert '" world"' in answers[0].text
    assert '"finish_reason":"stop"' in answers[0].text


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/v1/completions", {"prompt": "x", "echo": True, "logprobs": 1}),
        ("/v1/completions", {"prompt": "x", "prompt_logprobs": 1}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "prompt_logprobs": 1}),
    ],
)
def test_reading_the_prompt_is_on_the_request_s_terms(route: str, fields: dict[str, Any]) -> None:
    """Scoring a prompt has the request's priority and deadline, and supersedes nothing."""
    assistant = ScriptedAssistant()
    clock = iter(range(100))
    body = {"priority": "background", "deadline": 50.0, "supersede": "window", **fields}
    with live_scripted(assistant, clock=lambda: float(next(clock))) as server:
        assert server.http.post(route, json=body).status_code == 200

    read, generated = (call["terms"] for call in assistant.calls)
    assert (read.priority, read.key) == (Priority.BACKGROUND, None)
    assert (generated.priority, generated.key is None) == (Priority.BACKGROUND, False)
    assert 0 < generated.deadline < read.deadline < 50


def test_score_has_terms() -> None:
    """/v1/score has the request's priority, by default background."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        for fields in ({}, {"priority": "completion", "deadline": 5.0, "supersede": "window"}):
            assert server.http.post("/v1/score", json={"text": "x", **fields}).status_code == 200

    plain, urgent = (call["terms"] for call in assistant.calls)
    assert plain == Terms(Priority.BACKGROUND)
    assert (urgent.priority, urgent.deadline, urgent.key is None) == (Priority.COMPLETION, 5.0, False)
