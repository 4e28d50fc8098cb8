"""The command for editors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pellucid.__main__ import EDITOR_STARTS, main
from pellucid.errors import PellucidError
from pellucid_lsp import run_language_server
from pellucid_lsp.methods.standard_methods import create
from pellucid_lsp.run_language_server import serve
from support.editors import lsp_client
from support.editors.lsp_client import until

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]


def sent(message: dict[str, Any]) -> bytes:
    """Return a message as on the wire."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_tcp(tmp_path: Path) -> None:
    """With ``--tcp`` the server accepts a single local connection, and exits at disconnection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "lsp", "--tcp", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env=lsp_client.homes(tmp_path))
    try:
        await until(lambda: is_open(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent(INITIALIZE))
        header = await lsp_client.within(reader.readuntil(b"\r\n\r\n"))
        found = re.search(rb"Content-Length: (\d+)", header)
        assert found is not None
        answer = json.loads(await lsp_client.within(reader.readexactly(int(found.group(1)))))
        assert answer["result"]["capabilities"]["inlineCompletionProvider"] == {}
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        assert await lsp_client.within(process.wait()) == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"capabilities": {}, "initializationOptions": {"server": {"url": "http://127.0.0.1:9", "start": False}}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "initialized", "params": {}}
OPEN = {
    "jsonrpc": "2.0",
    "method": "textDocument/didOpen",
    "params": {"textDocument": {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = 1\n"}},
}
SHUTDOWN = {"jsonrpc": "2.0", "id": 2, "method": "shutdown"}
EXIT = {"jsonrpc": "2.0", "method": "exit"}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([INITIALIZE, INITIALIZED, OPEN, SHUTDOWN, EXIT], 0),
        ([INITIALIZE, INITIALIZED, OPEN, EXIT], 1),
        ([INITIALIZE, EXIT], 1),
    ],
)
async def test_end_of_the_process(tmp_path: Path, messages: list[dict[str, Any]], code: int) -> None:
    """``exit`` ends the process without an error, and without ``shutdown`` with code 1."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pellucid", "lsp"),
        env={**os.environ, **lsp_client.homes(tmp_path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"".join(map(sent, messages)))
        _, errors = await lsp_client.within(asyncio.gather(process.stdout.read(), process.stderr.read()))
        assert await lsp_client.within(process.wait()) == code
        assert not re.search(b"Traceback|RuntimeWarning|ERROR", errors), errors
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Discarded:
    """A connection that discards answers. A closed connection refuses answers."""

    closed = False
    written = 0

    def write(self, data: bytes) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        self.written += len(data)

    def close(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("editor_homes")
@pytest.mark.parametrize(
    ("messages", "code"),
    [([INITIALIZE, INITIALIZED, OPEN, EXIT], 1), ([EXIT], 1), ([INITIALIZE, INITIALIZED, OPEN], 0)],
)
async def test_end(messages: list[dict[str, Any]], code: int, caplog: pytest.LogCaptureFixture) -> None:
    """``exit`` at any time ends the service without an error, and so does a closed connection."""
    reader, server, connection = asyncio.StreamReader(), create(), Discarded()
    server.protocol.set_writer(connection)
    service = asyncio.create_task(serve(server, reader))
    first, *rest = messages
    reader.feed_data(sent(first))
    await until(lambda: connection.written > 0 or service.done())  # Editors wait for the answer to initialize.
    reader.feed_data(b"".join(map(sent, rest)))
    reader.feed_eof()
    assert await lsp_client.within(service) == code
    assert [one for one in caplog.records if one.name.startswith("pellucid_lsp") and one.levelname == "ERROR"] == []


@pytest.mark.usefixtures("editor_homes")
async def test_messages_after_exit(caplog: pytest.LogCaptureFixture) -> None:
    """Messages of tasks that outlive the editor are discarded without an error."""
    reader, server = asyncio.StreamReader(), create()
    server.protocol.set_writer(Discarded())
    reader.feed_data(sent(EXIT))
    assert await lsp_client.within(serve(server, reader)) == 1
    server.messages.show_error(PellucidError("A late message is discarded."))
    assert "closed" not in caplog.text


def is_open(port: int) -> bool:
    """Return whether a process listens on the port, without using up the only connection."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in rows)


def test_either_or(run: Run) -> None:
    """A port and stdin cannot be combined."""
    code, _, errors = run("lsp", "--tcp", "8000", "--stdio")

    assert code == 2
    assert "cannot be combined with --stdio" in errors


@pytest.mark.parametrize("arguments", EDITOR_STARTS)
def test_editor_starts(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """Arguments of editors mean to the program what the arguments mean to the command line."""
    calls: list[tuple[int | None, bool]] = []
    monkeypatch.setattr(run_language_server, "run", lambda tcp, *, copilot: calls.append((tcp, copilot)))
    monkeypatch.setattr(sys, "argv", ["pellucid", *arguments])

    main()
    run(*arguments)

    assert len(calls) == 2
    assert calls[0] == calls[1]


def test_version_number(run: Run) -> None:
    """Clients of the Copilot language server read a number from ``--version``, and nothing else."""
    code, output, _ = run("lsp", "--as", "copilot", "--version")

    assert code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", output)


@pytest.mark.parametrize(
    ("given", "code", "sentence"),
    [
        (("--as", "copilot", "--node-ipc"), 1, "--node-ipc is a channel between Node.js processes"),
        (("--as", "vim"), 2, "'vim' is not one of 'copilot'"),
    ],
)
def test_unknown_ways(run: Run, given: tuple[str, ...], code: int, sentence: str) -> None:
    """An unknown channel or dialect ends the command with a sentence about the option."""
    ended, output, errors = run("lsp", *given)

    assert (ended, output) == (code, "")
    assert sentence in errors


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the language server's dependencies are missing, the error names the extra."""
    for name in [
        name for name in sys.modules if name.startswith("pellucid_lsp.") and name != "pellucid_lsp.run_language_server"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)

    code, _, errors = run("lsp")

    assert code == 1
    assert 'pip install "pellucid[lsp]"' in errors
