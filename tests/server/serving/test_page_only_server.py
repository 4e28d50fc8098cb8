"""`pellucid webui` is the page alone, over a running server."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.config import load_settings
from pellucid.door.api_keys import LOCAL, read_keys
from pellucid.door.plain_page import PageNotice
from pellucid.serving.listening_socket import listen
from pellucid.serving.page_only_server import PageServer, notice_of
from pellucid.system.progress import Work
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import GradioPage
from support.page.small_page_server import kept_answer
from support.servers.http_servers import TINY, ScriptedAssistant, live_scripted
from support.servers.started_commands import Start, started_commands

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9"


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Start `pellucid webui` with the options; remaining processes are killed at the end."""
    code = "import sys; from pellucid.cli.app import app\ntry: app()\nfinally: print('torch' in sys.modules)"
    with started_commands(code, "webui", "--port", str(port), PELLUCID_DATA=str(tmp_path / "data")) as start:
        yield start


def page(port: int, process: subprocess.Popen[str], part: str) -> httpx.Response:
    """Return the page at a port, once the page contains a part."""
    answer = None
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30)
        except httpx.ConnectError:  # The page does not listen yet.
            answer = None
        if answer is not None and part in answer.text:
            return answer
        assert answer is None or "location.reload()" in answer.text, answer.text
        time.sleep(0.1)
    raise AssertionError(answer and answer.text)


def test_page_over_a_server(start: Start, port: int, tmp_path: Path) -> None:
    """The page's process keeps conversations, imports no torch, and survives the server's exit."""
    with live_scripted() as server:
        process = start("--server", server.url)
        answer = page(port, process, "gradio_config")
        assert server.url not in answer.text
    text = page(port, process, f"No server answers at {server.url}: start one with pellucid serve").text
    assert "location.reload()" in text
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    assert out == (
        f"The page is at http://127.0.0.1:{port}/ and uses the server at {server.url}. Press Ctrl-C to "
        "stop it.\nFalse\n"
    )
    assert (tmp_path / "data" / "conversations.db").exists()


REFUSED = "does not accept the API key: start pellucid webui with --api-key-file or PELLUCID_API_KEY."


def test_what_the_terminal_says(run: Run, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal names the missing server, or the key that is not sent to an unnamed server."""
    monkeypatch.setattr(PageServer, "run", lambda server, sockets: None)
    monkeypatch.setenv("PELLUCID_PORT", "8437")
    at_port = ("--port", str(port))
    code, out, err = run("webui", "--server", URL, *at_port)
    assert (code, out.startswith(f"The page is at http://127.0.0.1:{port}/")) == (0, True)
    assert err == f"No server answers at {URL}: start one with pellucid serve, or give another address with --server.\n"

    monkeypatch.setenv("PELLUCID_API_KEY", "secret")
    with live_scripted(keys=read_keys("secret")) as server:
        _, _, err = run("webui", "--server", server.url, *at_port)
    assert err == (
        f"The API key in the settings is sent only to http://127.0.0.1:8437: give the key for {server.url} "
        f"with --api-key-file.\nThe server at {server.url} {REFUSED}\n"
    )


@contextmanager
def serving(page_server: PageServer, listener: socket.socket) -> Iterator[httpx.Client]:
    """Run a page process in a thread, and yield a client with the page's origin."""
    thread = threading.Thread(target=page_server.run, args=([listener],))
    thread.start()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(base_url=origin, timeout=30, trust_env=False, headers={"origin": origin}) as http:
        yield http
    thread.join(30)
    assert not thread.is_alive()


def loaded(http: httpx.Client, part: str) -> str:
    """Return the page once the page contains a part."""
    while part not in (text := http.get("/").text):
        time.sleep(0.05)
    return text


def test_key_is_asked_for_here_too(tmp_path: Path, port: int) -> None:
    """With a key the page is locked like the server's page, and is not the API."""
    settings = load_settings(data=tmp_path, api_key="secret")
    with live_scripted(keys=read_keys("secret")) as server, listen("127.0.0.1", port) as listener:
        page_server = PageServer(settings, server.url, "127.0.0.1", lambda *_: GradioPage(gr.Blocks()), key="secret")
        with serving(page_server, listener) as http:
            loaded(http, "Log in to Pellucid")
            assert http.get("/config").status_code == 401
            assert http.get("/v1/models").status_code == 401
            assert http.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 404
            assert http.post("/login", data={"key": "secret"}).status_code == 303
            assert "Log in" not in http.get("/").text
            assert http.get("/", headers={"host": "evil.example"}).status_code == 403
            page_server.handle_exit(signal.SIGINT, None)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (ServerHealth(HealthStatus.LOADING), f"The server at {URL} is loading its models."),
        (
            ServerHealth(HealthStatus.LOADING, "Loading model", Work("a.gguf", 3, 4)),
            f"The server at {URL} is loading its models: a.gguf.",
        ),
        (
            ServerHealth(HealthStatus.LEAVING, "x"),
            f"The server at {URL} is shutting down: start it again with pellucid serve.",
        ),
        (
            ServerHealth(HealthStatus.FAILED, "x"),
            f"The server at {URL} has failed and no longer answers requests: start it again.",
        ),
        (
            ServerHealth(HealthStatus.FORBIDDEN, "Host."),
            f"The server at {URL} does not accept requests to this address: Host.",
        ),
        (ServerHealth(HealthStatus.REFUSED, "Key."), f"The server at {URL} {REFUSED}"),
        (
            ServerHealth(HealthStatus.FOREIGN),
            f"The server at {URL} is not Pellucid: give the address of a Pellucid server with --server.",
        ),
        (ServerHealth(HealthStatus.SILENT, "late"), f"The server at {URL} does not respond: late."),
    ],
)
def test_every_status_is_a_sentence(found: ServerHealth, sentence: str) -> None:
    """Each state of the server is reported in a sentence, with the progress of loading."""
    notice = notice_of(found, URL)

    step = found.step or Work("")
    assert notice == PageNotice(sentence, step.done, step.total)
    for status in (HealthStatus.READY, HealthStatus.AWAY):  # AWAY shows the page for the remaining models.
        assert notice_of(ServerHealth(status), URL) is None


@contextmanager
def answering(data: Path, port: int, grace: int, go_on: threading.Event) -> Iterator[PageServer]:
    """Run a page process with an answer that no request awaits, until the process has exited."""
    first, turns_of_page = threading.Event(), []

    async def before(index: int) -> None:
        if index == 1:
            first.set()
            await asyncio.to_thread(go_on.wait)

    def create(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
        async def begin(_: str, __: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
            settings = TurnSettings(model=TINY)
            id = store.create(LOCAL, settings)
            turn = Turn(store, store.add(LOCAL, id, None, "assistant", "", settings=settings))
            turns_of_page.append(turns.start(id, turn, assistant_for(LOCAL), [Message("user", "hi")], settings))
            yield {}

        return GradioPage(gr.Blocks(), routes={"begin": begin})

    with live_scripted(ScriptedAssistant(before=before)) as server, listen("127.0.0.1", port) as listener:
        page_server = PageServer(load_settings(data=data, grace=grace), server.url, "127.0.0.1", create)
        with serving(page_server, listener) as http:
            loaded(http, "gradio_config")
            assert http.post("/page/begin", json={}).status_code == 200
            assert first.wait(30)
            while not turns_of_page[0].text:
                time.sleep(0.01)
            yield page_server
        go_on.set()


def test_answers_have_their_grace_time(tmp_path: Path, port: int) -> None:
    """An answer without a watching tab is finished before the page process exits."""
    go_on = threading.Event()
    with answering(tmp_path, port, 3600, go_on) as server:
        server.handle_exit(signal.SIGINT, None)
        time.sleep(1)
        go_on.set()

    assert kept_answer(tmp_path) == ("Hello world", FinishReason.STOP)


def test_grace_time_ends(tmp_path: Path, port: int) -> None:
    """After the grace time an answer is cancelled, and the text so far is kept."""
    with answering(tmp_path, port, 1, threading.Event()) as server:
        server.handle_exit(signal.SIGINT, None)

    assert kept_answer(tmp_path) == ("Hello", FinishReason.CANCELLED)


def test_second_signal_ends_the_grace_time(tmp_path: Path, port: int) -> None:
    """A second signal cancels the running answers, and keeps the texts so far."""
    with answering(tmp_path, port, 3600, threading.Event()) as server:
        server.handle_exit(signal.SIGINT, None)
        time.sleep(0.5)
        server.handle_exit(signal.SIGINT, None)

    assert kept_answer(tmp_path) == ("Hello", FinishReason.CANCELLED)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--host", "0.0.0.0"],
            "Other machines can reach the host 0.0.0.0: set an API key (--api-key-file or PELLUCID_API_KEY).",
        ),
        (
            ["--server", "nonsense"],
            "nonsense is not the address of a server (Request URL is missing an 'http://' or 'https://' protocol): use "
            "one like http://127.0.0.1:8437.",
        ),
        (["--api-key", "a,b"], "--api-key must give every user a different name and key, as in anna:KEY,ben:KEY."),
    ],
)
def test_wrong_options(run: Run, options: list[str], sentence: str) -> None:
    """Impossible options are reported in a single sentence with exit code 1."""
    assert run("webui", *options) == (1, "", f"pellucid: {sentence}\n")


def test_without_gradio(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradio the command names the installation command."""
    monkeypatch.setattr("pellucid.serving.page_only_server.find_spec", lambda name: None)

    assert run("webui") == (1, "", 'pellucid: The page needs gradio: run pip install "pellucid[webui]".\n')


def test_port_in_use(run: Run, port: int) -> None:
    """An occupied port causes a single sentence."""
    with socket.create_server(("127.0.0.1", port)):
        code, _, err = run("webui", "--server", URL, "--port", str(port))

    assert (code, err.startswith(f"pellucid: Cannot listen on port {port} of 127.0.0.1")) == (1, True)
