"""Tests the page in the server: late import, no delays, nothing else exposed or contacted."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

import pellucid_webui.hosting.mount
from pellucid.api.app import create_app
from pellucid.api.server_state import ServerState
from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid.client.http_client import Client
from pellucid.door.api_keys import LOCAL
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import GradioPage
from pellucid_webui.hosting.mount import PREPARING
from support.page.small_page_server import PagedServer, kept_answer, page_of, paged, small_page
from support.servers.http_servers import TINY, ScriptedAssistant, scripted_state

pytestmark = pytest.mark.slow

ADDRESS = re.compile(r"(?:https?:)?//[A-Za-z0-9.-]+\.[a-z]{2,}[^\"'\s]*")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """Start a server with a ready page, an allowed origin and a limit of 20,000 bytes per body."""
    data = tmp_path_factory.mktemp("data")
    with paged(data, allowed_origins=("https://ide.example",), max_body_bytes=20_000) as server:
        server.wait()
        yield server


def test_near_and_far_speak() -> None:
    """A local assistant and a client both have the type of an assistant, checked by mypy."""

    def assistants(near: LocalAssistant, far: Client) -> tuple[Assistant, Assistant]:
        return near, far

    assert callable(assistants)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has not imported Gradio before, as in a server."""
    folders = [
        str(Path(module.__file__ or "").parents[2])
        for module in (pellucid_webui.hosting.mount, sys.modules["pellucid.client.http_client"])
    ]
    kept = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    environment = kept | {"PYTHONPATH": os.pathsep.join(folders)} | environment
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_importing_it_is_light() -> None:
    """A server with an unopened page imports neither Gradio nor torch."""
    code = "import sys, pellucid_webui.hosting.mount, pellucid.serving.page_only_server; print(*sys.modules)"
    found = run_python(code).stdout.split()
    assert "pellucid_webui.hosting.mount" in found
    assert not {"gradio", "torch", "transformers", "pandas", "numpy"} & set(found)


@pytest.mark.process
def test_a_killed_server_leaves_no_files(tmp_path: Path) -> None:
    """A page is created in a fresh process, and no temporary file remains after a kill."""
    temporary, data = tmp_path / "temporary", tmp_path / "data"
    temporary.mkdir()
    data.mkdir()
    code = f"""
import os
from pathlib import Path
from typing import Any
from pellucid.client.assistant_protocol import shared
from pellucid.client.http_client import Client
from pellucid_webui.hosting.gradio_host import build, pellucid_view
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
assistants = shared(Client("http://127.0.0.1:9"))
build(pellucid_view, assistants, ConversationStore(Path({str(data)!r}) / "conversations.db"), Turns())
print("made", flush=True)
os._exit(9)
"""
    found = run_python(code, TMPDIR=str(temporary), XDG_CACHE_HOME=str(data))
    assert (found.returncode, found.stdout) == (9, "made\n"), found.stderr
    assert list(temporary.iterdir()) == []


def test_plain_page_until_gradio_is_there(tmp_path: Path) -> None:
    """While the page is prepared, / shows the progress and the API answers."""
    go = threading.Event()

    def create(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
        go.wait()
        return small_page(assistant_for, store, turns)

    with paged(tmp_path, create) as server:
        before = server.http.get("/")
        answer = server.http.post("/v1/completions", json={"prompt": "x"})
        asset = server.http.get("/theme.css")
        go.set()
        after = server.wait()
    assert PREPARING.sentence in before.text
    assert "location.reload()" in before.text
    assert answer.status_code == 200
    assert (asset.status_code, asset.json()["error"]["type"]) == (503, "unavailable_error")
    assert "<gradio-app" in after


def test_plain_page_while_models_load(tmp_path: Path) -> None:
    """While models load, / shows the progress, and Gradio is not imported."""
    state = ServerState(models=(TINY,), grace=0.0)
    state.progress.start("tiny.gguf", 400 * 2**20)
    state.progress.advance(100 * 2**20)
    with paged(tmp_path, state=state) as server:
        text = server.http.get("/").text
        assert server.page._page_task is None
    assert "The models are being loaded: tiny.gguf." in text
    assert '<progress max="100" value="25"' in text
    assert "location.reload()" in text
    assert f"<code>{TINY}</code> (loading)" in text


def test_nothing_is_made_before_anybody_looks(tmp_path: Path) -> None:
    """A server with an unopened page writes no conversations."""
    with paged(tmp_path / "data") as server:
        assert server.http.get("/v1/models").status_code == 200
    assert not (tmp_path / "data").exists()


def test_what_is_kept_is_the_users_own(tmp_path: Path) -> None:
    """Other users of the machine cannot read the conversations."""
    with paged(tmp_path / "data") as server:
        server.wait()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data" / "conversations.db").exists()


def test_without_gradio(tmp_path: Path) -> None:
    """Without the extra, / says how to install Gradio, and the API works."""

    def create(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    with paged(tmp_path, create) as server:
        text = settled(server)
        answer = server.http.post("/v1/completions", json={"prompt": "x"})
    assert (
        "The page needs gradio, which is not installed: run pip install &quot;pellucid[webui]&quot; and "
        "restart the server."
    ) in text
    assert "<script" not in text
    assert answer.status_code == 200


def test_page_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A failed page does not affect the API, and only the log has the error."""

    def create(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
        raise RuntimeError("the insides")

    with paged(tmp_path, create) as server:
        text = settled(server)
        assert server.http.get("/health").status_code == 200
    assert "The page could not be created; see the server log." in text
    assert "the insides" not in text
    assert "RuntimeError: the insides" in caplog.text


def test_conversations_that_cannot_be_opened(tmp_path: Path) -> None:
    """An error of the conversations' file is shown on the page."""
    (tmp_path / "conversations.db").write_bytes(b"no database" * 100)
    with paged(tmp_path) as server:
        assert "cannot be opened" in settled(server)


def settled(server: PagedServer) -> str:
    """Return the plain page after the last reload."""
    while "location.reload()" in (text := server.http.get("/").text):
        pass
    return text


def test_nothing_from_elsewhere(small: PagedServer) -> None:
    """The page has no address of another server, and the browser may contact no other."""
    page = small.http.get("/")
    config = small.http.get("/config")
    css = small.http.get("/theme.css")
    for answer in (page, config, css):
        elsewhere = {found for found in ADDRESS.findall(answer.text) if not found.startswith(small.server.url)}
        assert elsewhere - {"http://www.w3.org/2000/svg"} == set()
        assert "connect-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"
    assert "og:" not in page.text


def test_gradio_keeps_to_itself(small: PagedServer) -> None:
    """Gradio's analytics, history and links are off."""
    config = small.http.get("/config").json()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert (config["analytics_enabled"], config["run_history"], config["footer_links"], config["mcp_server"]) == (
        False,
        False,
        [],
        False,
    )
    assert (config["show_error"], config["space_id"]) == (False, None)


def test_gradio_has_no_api(small: PagedServer) -> None:
    """No call, file or address of Gradio's API is there, and no other page of Gradio's."""
    gets = ("info", "app_id", "queue/data?session_hash=s1", "heartbeat/s1", "openapi.json", "mcp", "runs", "token")
    posts = ("queue/join", "upload", "cancel", "run/predict", "call/x", "component_server", "vibe-edit", "stream/x")
    files = [
        f"file={target}" for target in ("http://127.0.0.1:9/x", "HTTPS://example.org/x", Path(__file__).absolute())
    ]
    for call in (*gets, *files, "proxy=http://x.hf.space"):
        assert small.http.get(f"/gradio_api/{call}").status_code == 404, call
    for call in posts:
        answer = small.http.post(f"/gradio_api/{call}", json={"data": []})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error"), call
    for path in ("/monitoring", "/monitoring/summary", "/svelte/x.js", "/robots.txt", "/docs"):
        assert small.http.get(path).json()["error"]["code"] == 404, path


def test_api_stays_as_it_was(small: PagedServer) -> None:
    """Errors of the API keep the API's format."""
    unknown, wrong = small.http.get("/v1/nowhere"), small.http.get("/v1/completions")
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (
        404,
        "There is no /v1/nowhere here: /openapi.json lists all routes.",
    )
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, 405)
    assert small.http.post("/", json={}).status_code == 405
    assert small.http.get("/page/whose").status_code == 405


def test_page_owns_nothing_of_the_api(tmp_path: Path) -> None:
    """No API route belongs to the page, because the page needs no key in a header."""
    state = scripted_state()
    app, page = create_app(state), page_of(state, tmp_path)
    paths = [route.path for route in app.routes if isinstance(route, Route | APIRoute)] + list(app.openapi()["paths"])
    assert {"/v1/score", "/infill", "/openapi.json"} <= set(paths)
    assert [path for path in paths if page.owns(path)] == []


def test_routes_run_and_stream(small: PagedServer) -> None:
    """A route uses the assistant of this process, and the answer is streamed."""
    assert [event["text"] for event in small.events("answer", text="hi")] == ["Hello", "Hello world"]
    assert small.call("whose") == {"owner": "local"}


def test_errors_show_no_insides(small: PagedServer, caplog: pytest.LogCaptureFixture) -> None:
    """An error in a route is logged, and not shown on the page."""
    last = small.call("fail", text="secrets")
    assert last["error"]["type"] == "server_error"
    assert "insides" not in str(last)
    assert "insides" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "https://ide.example"},
        {"host": "evil.example"},
    ],
)
def test_only_the_page_may_ask(small: PagedServer, headers: dict[str, str]) -> None:
    """Requests with effects are accepted only from the page, under a name of the server."""
    with httpx.Client(base_url=small.server.url, trust_env=False, timeout=60) as other:
        answer = other.post("/page/whose", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")


def test_open_page_does_not_keep_the_server(tmp_path: Path) -> None:
    """An open page does not keep an idle server running, but a chat does."""
    now, started = [100.0], threading.Event()
    with paged(tmp_path, state=scripted_state(hanging(started), clock=lambda: now[0])) as server:
        server.state.idleness.overlook(server.page.watches)
        server.wait()
        assert server.http.get("/page/alive").status_code == 200  # Then the request before has ended.
        now[0] = 110.0
        assert server.http.get("/page/alive").status_code == 200
        assert server.state.idleness.seconds == 10.0
        server.call("whose")
        assert server.state.idleness.seconds == 0.0
        events = server.events("answer", text="hi")
        next(events)
        started.wait()
        now[0] = 120.0
        assert server.state.idleness.seconds == 0.0


def test_leaves_with_pages_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Open pages and chats do not delay a shutdown beyond the grace time."""
    started = threading.Event()
    with paged(tmp_path, state=scripted_state(hanging(started), grace=0.2)) as server:
        server.wait()
        events = server.events("answer", text="hi")
        next(events)
        started.wait()
        server.server.shut_down()
        list(events)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("grace", [0.0, 0.5])
def test_running_answers_are_kept(tmp_path: Path, grace: float) -> None:
    """An answer without a reader is stopped after the grace time, and saved."""
    started = threading.Event()
    with paged(tmp_path, unwatched_page, state=scripted_state(hanging(started), grace=grace)) as server:
        server.wait()
        server.call("begin", text="hi")
        started.wait()
        begun = time.monotonic()
    assert grace <= time.monotonic() - begun < 20
    assert kept_answer(tmp_path) == ("Hello", FinishReason.CANCELLED)


def test_answers_that_no_tab_watches_have_their_grace_time(tmp_path: Path) -> None:
    """An answer without a reader is finished before the exit."""
    started, go_on = threading.Event(), threading.Event()

    async def before(index: int) -> None:
        if index == 1:
            started.set()
            await asyncio.to_thread(go_on.wait)

    with paged(tmp_path, unwatched_page, state=scripted_state(ScriptedAssistant(before=before), grace=3600)) as server:
        server.wait()
        server.call("begin", text="hi")
        started.wait()
        server.server.shut_down()
        # No request is open any more.
        while not server.page._ending.is_set():
            time.sleep(0.01)
        time.sleep(0.2)
        go_on.set()
    assert kept_answer(tmp_path) == ("Hello world", FinishReason.STOP)


def unwatched_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a page that starts an answer without a waiting request."""

    async def begin(_: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        settings = TurnSettings(model=TINY)
        id = store.create(LOCAL, settings)
        node = store.add(LOCAL, id, None, "assistant", "", settings=settings)
        turns.start(id, Turn(store, node), assistant_for(LOCAL), [Message("user", str(asked["text"]))], settings)
        yield {}

    with gr.Blocks() as blocks:
        gr.Textbox()
    return GradioPage(blocks, routes={"begin": begin})


def hanging(started: threading.Event) -> ScriptedAssistant:
    """Generate a token, set the event, and then wait for an hour."""

    async def before(index: int) -> None:
        if index == 1:
            started.set()
            await asyncio.sleep(3600)

    return ScriptedAssistant(before=before)
