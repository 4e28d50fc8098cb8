"""The server's process, started and stopped like a user's server, with a tiny random model."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.config import load_settings
from pellucid.errors import ConfigError, UnavailableError
from pellucid.serving import serve, server
from pellucid.serving.listening_socket import listen
from pellucid.serving.loading import warm_up
from pellucid.serving.server import curl, greeting, page_of
from pellucid.serving.server_parts import ServerParts
from pellucid.system.progress import Progress
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import tiny_llama
from support.servers.scripted_engine import FORMAT, MID, ScriptedEngine, byte_tokenizer, scripted_assistant
from support.servers.started_commands import Start, started_commands

VOCAB = 320
LONG = SamplingParams(max_tokens=30_000, ignore_eos=True)
"""An answer longer than any test."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for long answers."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(vocab_size=VOCAB, max_position_embeddings=32_768).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


PATIENCE = 300
"""Seconds to wait; reached only in a failing test."""


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Start `pellucid serve` with the options; remaining processes are killed at the end."""
    variables = {
        "PELLUCID_CACHE": str(tmp_path / "cache"),
        "PELLUCID_DATA": str(tmp_path / "data"),
        "PELLUCID_QUANT": "none",  # Nothing is compiled.
    }
    command = ("serve", "--port", str(port), "--context", "32768")
    with started_commands("from pellucid.cli.app import app; app()", *command, **variables) as start:
        yield start


async def ready(client: Client, process: subprocess.Popen[str]) -> None:
    """Wait until the server has loaded the model."""
    async with asyncio.timeout(PATIENCE):
        while (await client.server_health()).status is not HealthStatus.READY:
            assert process.poll() is None, process.communicate()
            await asyncio.sleep(0.05)


async def gone(client: Client) -> None:
    """Wait until the server takes no more connections."""
    async with asyncio.timeout(PATIENCE):
        while (await client.server_health()).answers:
            await asyncio.sleep(0.05)


async def computed(client: Client, prompt: str) -> int:
    """Return how many tokens of a prompt the server computed."""
    query = CompletionQuery(prompt, params=SamplingParams(max_tokens=1), heal=False)
    items = [item async for item in client.complete(query)]
    assert isinstance(items[-1], Finish)
    return items[-1].usage.computed


@pytest.mark.process
async def test_two_starts(start: Start, folder: Path, port: int, tmp_path: Path) -> None:
    """Servers leave when idle and on a second signal; the next server knows the prompts."""
    one, two = ("".join(f"{name}_{n} = {n * n}\n" for n in range(20)) for name in ("first", "second"))

    process = start("--model", folder, "--no-page", "--idle-exit", "3")
    async with Client(f"http://127.0.0.1:{port}") as client:
        await ready(client, process)
        assert await computed(client, one) > 100
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.endswith("\nNo request for 3 seconds: exiting (--idle-exit).\n")
    (saved,) = [path for path in (tmp_path / "cache" / "prefixes").rglob("*") if path.is_file()]
    size = saved.stat().st_size

    process = start("--model", folder, "--grace", "3600")
    query = CompletionQuery("def", params=SamplingParams(max_tokens=5, top_logprobs=2, ignore_eos=True))
    async with Client(f"http://127.0.0.1:{port}") as client, Client(f"http://127.0.0.1:{port}") as other:
        await ready(client, process)
        assert await computed(client, one) == 1, "after an idle exit"
        assert await computed(client, two) > 100
        assert [type(item) async for item in client.complete(query)] == [Token] * 5 + [Finish]
        async with aclosing(client.complete(CompletionQuery("def", params=LONG))) as items:
            await anext(items)
            process.terminate()
            await gone(other)
            assert process.poll() is None, "the first signal waits for the answer"
            process.send_signal(signal.SIGINT)
            with pytest.raises(UnavailableError, match="shutting down"):
                async for _ in items:
                    pass
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.replace(f"packing {folder.name}", "").count("ERROR")) == (0, 0)
    assert saved.stat().st_size > size, "after signals"
    assert out.startswith("Pellucid ")
    for part in (f"http://127.0.0.1:{port}", "model   tiny: ", "memory at rest: ", "try     curl -N "):
        assert part in out


def test_open_page_keeps_no_server(tmp_path: Path) -> None:
    """Health checks by an open page do not count as requests; using the page does."""
    state = ServerState(models=("tiny",))
    page_of(load_settings(data=tmp_path), state)

    counted = {path: state.idleness.counts(path) for path in ("/page/alive", "/", "/page/chat")}
    assert counted == {
        "/page/alive": False,
        "/": True,
        "/page/chat": True,
    }


def test_model_that_cannot_be_loaded(run: Run, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without a loadable model exits with code 1 and a sentence with the reason."""
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
    model = tmp_path / "none.gguf"

    assert run("serve", "--model", model, "--no-page", "--port", str(port))[::2] == (
        1,
        f"pellucid: {model} does not exist.\n",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "qwen2.5-coder-0.5b-instrukt"], "qwen2.5-coder-0.5b-instruct"),
        (["--model", "qwen2.5-coder-0.5b-instruct", "--model", "./nowhere"], "nowhere"),
        (["--device", "cuda:7"], "cuda:7"),
    ],
)
def test_wrong_name_is_refused_at_once(run: Run, options: list[str], sentence: str) -> None:
    """An unknown model or device ends the command before the server listens."""
    code, out, err = run("serve", *options)

    assert (code, out) == (1, "")
    assert sentence in err


def test_port_in_use() -> None:
    """An occupied port causes a single sentence with the remedy."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as raised:
            listen("127.0.0.1", port)

    told = (
        f"Cannot listen on port {port} of 127.0.0.1 (address already in use): stop the program that uses "
        "it, or choose another --port."
    )
    assert str(raised.value) == told


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an unknown host names the host."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(
        ConfigError,
        match=r"^The host nowhere is not an address of this machine \(Name or service not known\): choose another "
        r"--host\.$",
    ):
        listen("nowhere", 0)


async def test_warm_up_is_an_infill_where_there_are_infills(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up is a healed infill for a model with infills, and plain text otherwise."""
    engines = {True: ScriptedEngine([97]), False: ScriptedEngine([97])}
    for infill, engine in engines.items():
        assistant = scripted_assistant(engine, byte_tokenizer(words=[b"ab"]), FORMAT if infill else None)
        card = ModelCard("scripted", 512, infill, chat=False)
        monkeypatch.setattr(assistant.models, "cards", lambda card=card: [card])
        await warm_up(assistant)

    healed, plain = (engine.requests for engine in engines.values())
    assert [MID in request.prompt and request.constraint is not None for request in healed] == [True]
    assert [(list(request.prompt)[-1], request.constraint) for request in plain] == [(ord("a"), None)]


def test_curl_line_is_for_a_shell() -> None:
    """The printed request can be pasted into a shell, quotes included, and contains no key."""
    body = {"prompt": 'it\'s "quoted"\n$HOME `ls`'}
    line = curl(load_settings(api_key="hunter2"), "/v1/completions", body)

    words = shlex.split(line)
    assert words[words.index("-d") + 1] == '{"prompt": "it\'s \\"quoted\\"\\n$HOME `ls`"}'
    assert "hunter2" not in line
    assert "Authorization: Bearer $PELLUCID_API_KEY" in words


@pytest.mark.parametrize(
    ("infill", "chat", "routes"),
    [
        (True, True, ["/infill", "/v1/chat/completions"]),
        (False, True, ["/v1/chat/completions"]),
        (False, False, ["/v1/completions"]),
    ],
)
def test_what_is_there_to_try(monkeypatch: pytest.MonkeyPatch, infill: bool, chat: bool, routes: list[str]) -> None:
    """The greeting has a request for each ability of the model."""
    assistant = scripted_assistant(ScriptedEngine([97]), byte_tokenizer(words=[b"ab"]), None)
    card = ModelCard("scripted", 512, infill, chat, description="small")
    monkeypatch.setattr(assistant.models, "cards", lambda: [card])
    settings = load_settings()
    asked = [line for line in greeting(settings, assistant).splitlines() if "curl" in line]
    assert [line.split(settings.url)[1].split()[0] for line in asked] == routes
    assert [line[:8] for line in asked] == ["try     ", "        "][: len(routes)]


def test_interrupt_while_the_server_is_imported(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """An interrupt before the server runs ends the process, although a thread is loading."""
    begun, end = threading.Event(), threading.Event()

    def build(progress: Progress) -> ServerParts:
        begun.set()
        end.wait(PATIENCE)
        raise ConfigError("No model was loaded.")

    def interrupted(*_: object) -> None:
        begun.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "local_parts", lambda _: build)
    monkeypatch.setattr(server, "Server", interrupted)
    monkeypatch.setattr(os, "_exit", sys.exit)
    try:
        with pytest.raises(SystemExit, match="130"):
            serve.run(load_settings(port=port))
    finally:
        end.set()
    assert gc.isenabled()
