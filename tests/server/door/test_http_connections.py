"""Silent and slow clients are disconnected, hold no memory, and delay no other client."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Scope

from pellucid.api.server_state import ServerState
from pellucid.door import request_body
from pellucid.door.api_keys import read_keys
from pellucid.door.http_connections import MAX_FILES, AcceptErrors, LimitedConnection, allow_files
from pellucid.errors import UnavailableError
from support.page.small_page_server import paged
from support.servers.hostile_clients import connections, head, push, received, reset, resident_bytes, stream_request
from support.servers.http_servers import (
    TINY,
    LiveServer,
    ScriptedAssistant,
    live,
    live_scripted,
    live_tiny,
    scripted_state,
)
from support.trial_counts import trial_count

KEY = "a-long-key"
SHOWN = (f"X-Api-Key: {KEY}",)
MEGABYTE = 10**6
LARGE = b"x" * (16 * 2**20 - 100_000)
"""A body just under the default limit."""

HELD_AT_ONCE = 160 * MEGABYTE
"""The memory that 60 unfinished bodies may hold.

Two of the largest bodies, 60 small bodies, the data in transit, and malloc's reserve.
"""


@pytest.fixture
def guarded() -> Iterator[LiveServer]:
    with live_scripted(keys=read_keys(KEY), max_body_bytes=16 * 2**20) as server:
        yield server


@pytest.fixture
def many_files() -> Iterator[None]:
    """Permit sockets for both sides, since both sides are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY and hard < 8192 else 8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set all time limits to a fraction of a second."""
    monkeypatch.setattr("pellucid.door.http_connections.HEADER_SECONDS", 1.0)
    monkeypatch.setattr("pellucid.door.http_connections.UNREAD_SECONDS", 0.3)
    monkeypatch.setattr("pellucid.door.request_body.FIRST_SECONDS", 0.3)
    monkeypatch.setattr("pellucid.door.request_body.SLOWEST_BYTES_PER_SECOND", 10 * MEGABYTE)


def answered(connection: socket.socket, text: bytes) -> None:
    """Read until a text was received."""
    data = b""
    while text not in data:
        part = connection.recv(65536)
        assert part, data
        data += part


def ends(connection: socket.socket) -> bool:
    """Return True if the server ends a connection that still receives bytes."""
    for _ in range(600):
        try:
            connection.sendall(b"x")
        except OSError:
            return True
        time.sleep(0.05)
    return False


def healthy(server: LiveServer) -> bool:
    return server.http.get("/health").status_code == 200


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "next"])
def test_headers_that_never_end(guarded: LiveServer, before: bytes) -> None:
    """Late headers are answered 408 in the shape of all errors, on a new or a used connection."""
    with ExitStack() as opened:
        half_open = []
        for _ in range(30):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", guarded.port), timeout=30))
            one.sendall(before)
            if before:
                answered(one, b'"ok"')
            one.sendall(b"GET /health HTTP/1.1\r\nHost: local")
            half_open.append(one)
        assert healthy(guarded)
        for one in half_open:
            answer, _, body = received(one).partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer.lower()
            error = json.loads(body)["error"]
            assert (error["code"], error["type"]) == (408, "invalid_request_error")
            assert error["message"] == "The request headers did not arrive in time: send the request again."


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_headers_byte_by_byte(guarded: LiveServer) -> None:
    """A byte now and then does not extend the time for headers."""
    with connections(guarded.port, 1) as (one,):
        one.settimeout(0.05)
        answer, end = b"", time.monotonic() + 30
        while not answer and time.monotonic() < end:
            one.sendall(b"G")
            try:
                answer = one.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_silent_connections(guarded: LiveServer) -> None:
    """A connection without any data is closed without an answer."""
    with connections(guarded.port, 20) as silent:
        assert [received(one) for one in silent] == [b""] * 20


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [b"", b"x" * 1000, b"x" * 500_000])
def test_bodies_that_never_end(guarded: LiveServer, sent: bytes) -> None:
    """A late body is answered 408, and the connection is closed."""
    with connections(guarded.port, 1) as (one,):
        one.sendall(head(guarded.port, "/v1/completions", MEGABYTE, SHOWN) + sent)
        answer = received(one)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request body did not arrive in time: send the request again." in answer


@pytest.mark.usefixtures("impatient")
def test_body_after_a_refusal(guarded: LiveServer) -> None:
    """A refused client can read the reason, and cannot keep the connection open with more data."""
    with connections(guarded.port, 1) as (one,):
        one.sendall(head(guarded.port, "/v1/completions", MEGABYTE))
        assert one.recv(4096).startswith(b"HTTP/1.1 401 ")
        assert ends(one)


def test_connection_is_kept_after_a_refusal(guarded: LiveServer) -> None:
    """The rest of a refused body is dropped, and the connection takes the next request."""
    with connections(guarded.port, 1) as (one,):
        one.sendall(head(guarded.port, "/v1/completions", MEGABYTE))
        assert one.recv(4096).startswith(b"HTTP/1.1 401 ")
        one.sendall(b"x" * MEGABYTE + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered(one, b"HTTP/1.1 200 ")


def test_no_http(guarded: LiveServer) -> None:
    """Data in another protocol than HTTP is refused in the shape of all errors."""
    with connections(guarded.port, 1) as (one,):
        one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        head_of_answer, _, body = received(one).partition(b"\r\n\r\n")
    assert head_of_answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == 400


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_streams_outlast_all_limits() -> None:
    """A silent stream to a client that does not read for a while is not cut."""

    async def before(index: int) -> None:
        await asyncio.sleep(1.5)

    with live_scripted(ScriptedAssistant(before=before)) as server, connections(server.port, 1) as (one,):
        one.sendall(
            stream_request(server.port, "/v1/completions", {"prompt": "x", "stream": True}, ("Connection: close",))
        )
        time.sleep(2)
        assert b"data: [DONE]" in received(one)


@pytest.mark.usefixtures("many_files")
def test_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand idle connections the oldest are closed; streams and new clients are served."""
    monkeypatch.setattr("pellucid.door.http_connections.MAX_OUTSIDE", 256)
    begun, release = threading.Event(), asyncio.Event()

    async def before(index: int) -> None:
        begun.set()
        await release.wait()

    with live_scripted(ScriptedAssistant(before=before)) as server, connections(server.port, 1) as (stream,):
        stream.sendall(
            stream_request(server.port, "/v1/completions", {"prompt": "x", "stream": True}, ("Connection: close",))
        )
        assert begun.wait(120)  # Until the request is read, the connection counts as idle.
        held = resident_bytes()
        with connections(server.port, 1000) as idle:
            assert healthy(server)
            closed = sum(1 for one in idle[:744] if received(one) == b"")
            grown = resident_bytes() - held
            assert len(server.server.server_state.connections) <= 256 + 2
            release_in(server, release)
            assert b"data: [DONE]" in received(stream)
    assert closed == 744
    assert grown < 40 * MEGABYTE


@pytest.mark.usefixtures("many_files")
def test_a_burst_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of requests at a busy server is answered, even beyond the limit of idle clients."""
    monkeypatch.setattr("pellucid.door.http_connections.MAX_OUTSIDE", 50)
    release = threading.Event()
    with live_scripted() as server, connections(server.port, 1) as (first,):
        first.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered(first, b'"ok"')
        next(iter(server.server.server_state.connections)).loop.call_soon_threadsafe(release.wait, 120)
        with connections(server.port, 300) as burst:
            for one in burst:
                one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            release.set()
            assert [received(one)[:12] for one in burst] == [b"HTTP/1.1 200"] * 300


def test_clients_that_have_given_up() -> None:
    """Requests of disconnected clients are not answered."""
    asked: list[int] = []
    release = threading.Event()

    async def before(index: int) -> None:
        asked.append(index)

    with live_scripted(ScriptedAssistant(before=before)) as server:
        with connections(server.port, 1) as (first,):
            first.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answered(first, b'"ok"')
            next(iter(server.server.server_state.connections)).loop.call_soon_threadsafe(release.wait, 120)
            with connections(server.port, 50) as impatient_ones:
                for one in impatient_ones:
                    one.sendall(stream_request(server.port, "/v1/completions", {"prompt": "x", "stream": True}))
            release.set()
        assert healthy(server)
        assert server.http.post("/v1/completions", json={"prompt": "x"}).status_code == 200
    assert asked.count(0) == 1  # The first token of the last request.


def test_a_used_connection_is_kept(guarded: LiveServer) -> None:
    """A connection stays open for a minute after a response, so clients can reuse it."""
    with connections(guarded.port, 1) as (one,):
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered(one, b'"ok"')
        (kept,) = guarded.server.server_state.connections
        assert isinstance(kept, LimitedConnection)
        late = time.monotonic() + 60
        while kept.timeout_keep_alive_task is None:  # The response ends after the body.
            assert time.monotonic() < late, "an idle connection is kept for ever"
            time.sleep(0.01)
        assert kept.timeout_keep_alive_task.when() > kept.loop.time() + 60
        assert kept._timer is None


@pytest.mark.usefixtures("many_files")
def test_clients_that_ask_and_do_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with requests and no reads are closed for newer clients, like silent clients."""
    monkeypatch.setattr("pellucid.door.http_connections.MAX_OUTSIDE", 20)
    monkeypatch.setattr("pellucid.door.http_connections.LimitedConnection._admit", lambda connection, owner: None)
    with live_scripted() as server, connections(server.port, 40) as deaf:
        for one in deaf:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        late = time.monotonic() + 60
        while len(server.server.server_state.connections) > 20:
            assert time.monotonic() < late, "connections are held for clients that read nothing"
            with connections(server.port, 1):
                time.sleep(0.2)


@pytest.mark.usefixtures("many_files")
def test_responses_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with many requests and no reads loses the connection."""
    monkeypatch.setattr("pellucid.door.http_connections.STALLED_SECONDS", 0.5)
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with live_scripted() as server, connections(server.port, 5) as deaf:
        for one in deaf:
            one.sendall(ask * 200)
        late = time.monotonic() + 60
        while server.server.server_state.connections:
            assert time.monotonic() < late, "connections are held for clients that read nothing"
            time.sleep(0.05)


@pytest.mark.slow
def test_responses_that_are_read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow but steady reader gets a large response whole, beyond the time limit."""
    monkeypatch.setattr("pellucid.door.http_connections.STALLED_SECONDS", 2.0)
    content = "x" * 1_000_000
    body = json.dumps({"content": content}).encode()
    with live_scripted(max_body_bytes=16 * 2**20) as server, connections(server.port, 1) as (slow,):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.sendall(head(server.port, "/tokenize", len(body), ("Connection: close",)) + body)
        began, size = time.monotonic(), 0
        while part := slow.recv(65536):
            size += len(part)
            time.sleep(len(part) / 800_000)
    assert size > 3 * len(content)
    assert time.monotonic() - began > 4.0  # Longer than the limit.


def test_one_owner_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key owner has a limit of open requests, without an effect on other owners."""
    monkeypatch.setattr("pellucid.door.http_connections.MAX_PER_OWNER", 3)
    release = asyncio.Event()

    async def before(index: int) -> None:
        await release.wait()

    def ask(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        # A connection of its own.
        return httpx.post(f"{server.url}/tokenize", json={"content": "x"}, headers=headers, trust_env=False)

    state = scripted_state(ScriptedAssistant(before=before), keys=read_keys("anna:key-of-anna,ben:key-of-ben"))
    with live(state) as server, connections(server.port, 3) as held:
        for one in held:
            headers = ("Authorization: Bearer key-of-ben", "Connection: close")
            one.sendall(stream_request(server.port, "/v1/completions", {"prompt": "x", "stream": True}, headers))
        late = time.monotonic() + 60
        while (refused := ask("key-of-ben")).status_code == 200:
            assert time.monotonic() < late, "ben's requests are not counted"
        assert refused.status_code == 429
        assert (
            refused.json()["error"]["message"]
            == "You already have 3 open requests: wait for some to finish, or close them."
        )
        assert ask("key-of-anna").status_code == 200
        release_in(server, release)
        for one in held:
            assert b"data: [DONE]" in received(one)
        while ask("key-of-ben").status_code != 200:
            assert time.monotonic() < late, "answered requests are still counted"


def release_in(server: LiveServer, event: asyncio.Event) -> None:
    """Set an event of the server's loop."""
    connection = next(iter(server.server.server_state.connections))
    connection.loop.call_soon_threadsafe(event.set)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with a tiny model, an adapter and the default limit of bodies."""
    state = ServerState(models=(TINY,), grace=0.0, max_body_bytes=16 * 2**20)
    with live_tiny(tmp_path_factory.mktemp("cache"), state) as server:
        yield server


def slots_are_free(server: LiveServer) -> bool:
    """Return True once all slots are free."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        slots = server.http.get("/slots").json()
        if not any(slot["is_processing"] for slot in slots):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("path", ["/v1/completions", "/nowhere"])
def test_unfinished_bodies(tiny: LiveServer, path: str) -> None:
    """60 unfinished bodies on a route hold little memory, and delay no small request."""
    held = resident_bytes()
    with connections(tiny.port, 60) as unfinished:
        for one in unfinished:
            one.sendall(head(tiny.port, path, len(LARGE) + 1))
        push(unfinished, LARGE, seconds=1.0)
        grown = resident_bytes() - held
        answer = tiny.http.post("/v1/completions", json={"prompt": "x", "max_tokens": 1})
        assert healthy(tiny)
    assert answer.status_code == 200
    assert grown < HELD_AT_ONCE, f"{grown / MEGABYTE:.0f} MB"
    assert slots_are_free(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/login", "/page/chat", "/v1/completions"])
def test_unfinished_bodies_without_a_key(tmp_path: Path, path: str) -> None:
    """Clients without a key hold little memory, on the page and on the API."""
    with paged(tmp_path, keys="anna:key-of-anna", max_body_bytes=16 * 2**20) as server:
        server.http.post("/login", data={"key": "wrong"})
        held = resident_bytes()
        with connections(server.server.port, 60) as unfinished:
            for number, one in enumerate(unfinished):
                one.sendall(head(server.server.port, path, len(LARGE) + 1 if number % 2 else None))
                if not number % 2:
                    one.sendall(b"%x\r\n" % (len(LARGE) + 1))
            push(unfinished, LARGE, seconds=1.0)
            grown = resident_bytes() - held
            assert server.http.get("/health").status_code == 200
    assert grown < 30 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"


async def test_full_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body without room is refused with a remedy, and accepted once there is room."""
    monkeypatch.setattr(request_body, "MAX_LARGE_BODIES", 1)
    bodies, held = request_body.BodyReader(MEGABYTE), asyncio.Event()
    scope: Scope = {"type": "http", "headers": []}

    async def unfinished() -> Message:
        if held.is_set():
            await asyncio.Event().wait()
        held.set()
        return {"type": "http.request", "body": b"x" * 900_000, "more_body": True}

    async def whole() -> Message:
        return {"type": "http.request", "body": b"x" * 600_000, "more_body": False}

    first = asyncio.create_task(bodies.read(scope, unfinished))
    await held.wait()
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many large bodies at once"):
        await bodies.read(scope, whole)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert len(await bodies.read(scope, whole)) == 600_000


@pytest.mark.slow
def test_resets_in_the_middle_of_streams(tiny: LiveServer) -> None:
    """Many broken streams leave no slot taken, no connection open and no memory held."""
    body: dict[str, object] = {"prompt": "def", "stream": True, "max_tokens": 200, "ignore_eos": True}
    paths = ("/v1/completions", "/completion", "/infill")
    held = 0
    for number in range(max(trial_count(500), 90)):
        with socket.create_connection(("127.0.0.1", tiny.port), timeout=30) as one:
            one.sendall(stream_request(tiny.port, paths[0], body))
            assert one.recv(64).startswith(b"HTTP/1.1 200 ")
            reset(one)
        if number == 40:
            held = resident_bytes()
    assert slots_are_free(tiny)
    assert resident_bytes() - held < 40 * MEGABYTE
    assert len(tiny.server.server_state.connections) <= 1


def test_too_many_files_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Failures to accept cause a warning once a minute; other errors are reported as usual."""
    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(AcceptErrors())
        for _ in range(1000):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
        loop.call_exception_handler({"message": "another"})
    finally:
        loop.close()
    assert [record.getMessage() for record in caplog.records] == [
        (
            "No more connections can be accepted ([Errno 24] Too many open files): raise the limit of open files "
            "(ulimit -n)."
        ),
        "another",
    ]


def test_a_server_asks_for_files() -> None:
    """A server raises the limit of open files as far as permitted, and never lowers the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = before[1] if before[1] != resource.RLIM_INFINITY else 2 * MAX_FILES
    try:
        for soft, wanted in ((1000, min(MAX_FILES, most)), (min(MAX_FILES + 1, most), min(MAX_FILES + 1, most))):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
            allow_files()
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
