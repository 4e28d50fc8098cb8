"""The command that editors run."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import lsp_client
from lsp_client import until

Run = Callable[..., tuple[int, str, str]]


async def test_tcp(tmp_path: Path) -> None:
    """With --tcp it listens on that port of this machine, and answers there one editor, with which it leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "lsp", "--tcp", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env=lsp_client.homes(tmp_path))
    try:
        await until(lambda: is_open(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}).encode()
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(message), message))
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


def is_open(port: int) -> bool:
    """Whether something listens, asked of the system: the one connection that is taken stays free, and so does the port."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in rows)


def test_either_or(run: Run) -> None:
    """A port and stdin at the same time are refused."""
    code, _, errors = run("lsp", "--tcp", "8000", "--stdio")

    assert code == 2
    assert "it is either this or --stdio" in errors


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the language server's own dependencies are missing, the extra that brings them is named."""
    monkeypatch.delitem(sys.modules, "pellucid_lsp.server", raising=False)
    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)

    code, _, errors = run("lsp")

    assert code == 1
    assert "pip install '.[lsp]'" in errors
