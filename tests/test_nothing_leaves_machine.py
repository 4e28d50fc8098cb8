"""Pellucid's system calls show that no data is sent to other machines."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from support.editors import lsp_client
from support.editors.lsp_client import Editor
from support.servers.real_model_server import real_models

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

URI = "file:///project/a.py"
TEXT = "def add(a, b):\n    ret\n\n\nprint(add(1, 2))\n"
CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
WAIT_SECONDS = 180


@pytest.fixture
async def traced(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Editor]:
    """An editor with a traced language server: a file lists all addresses in system calls."""
    monkeypatch.setattr(lsp_client, "LIMIT_SECONDS", float(WAIT_SECONDS))
    strace = ("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-s", "0", "-e", f"trace={CALLS}", "-e", "signal=none")
    command = (*strace, "-o", str(tmp_path / "trace"), *lsp_client.COMMAND)
    environment = lsp_client.homes(tmp_path) | real_models() | {"PELLUCID_PORT": str(port)}
    editor = await lsp_client.start(environment, {"completion": {"ahead": False}}, command=command)
    yield editor
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(server_record(tmp_path)["pid"], signal.SIGTERM)


def server_record(folder: Path) -> dict[str, int]:
    """Return the record of the model server started by the language server."""
    (record,) = (folder / "xdg_state_home" / "pellucid" / "servers").glob("*.json")
    found = json.loads(record.read_text())
    assert isinstance(found, dict)
    return found


async def test_nothing_leaves_the_machine(traced: Editor, port: int, tmp_path: Path) -> None:
    """A server, suggestions, completions over HTTP and the page send only to loopback addresses."""
    traced.open(URI, TEXT)
    assert await traced.texts(URI, 1, 7) == ["urn a + b"]
    pid = server_record(tmp_path)["pid"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=WAIT_SECONDS) as http:
        answer = await http.post("/infill", json={"input_prefix": "def f(", "input_suffix": "", "n_predict": 4})
        assert answer.status_code == 200, answer.text
        await page(http)
    os.kill(pid, signal.SIGTERM)  # strace holds the language server's pipes until all traced processes have ended.
    await traced.leave()
    calls = await asyncio.to_thread(lines_when_over, tmp_path / "trace", pid)

    addressed = [line for line in calls if ADDRESS.search(line)]
    abroad = [
        line for line in addressed for found in ADDRESS.findall(line) if not ipaddress.ip_address(found).is_loopback
    ]
    assert abroad == []
    assert [line for line in addressed if "53" in PORT.findall(line)] == [], "a name was looked up"
    assert addressed, "the language server has reached the model server, so that something was seen"


async def page(http: httpx.AsyncClient) -> None:
    """Wait for the page, and fetch the page and its assets."""
    end = time.monotonic() + WAIT_SECONDS
    while "gradio_config" not in (text := (await http.get("/")).text):
        assert time.monotonic() < end, text
        await asyncio.sleep(0.1)
    for path in {"/config", "/theme.css", *re.findall(r'(?:src|href)="\.?(/(?:assets|static)/[^"]+)"', text)}:
        assert (await http.get(path)).status_code in (200, 404), path
    asked = {"verb": "show", "conversation": None, "opens": True}
    shown = await http.post("/page/chat", json=asked, headers={"origin": str(http.base_url).rstrip("/")})
    assert shown.status_code == 200


def lines_when_over(trace: Path, pid: int) -> list[str]:
    """Return the lines of the trace after the model server's end."""
    end = time.monotonic() + WAIT_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
    return trace.read_text(encoding="utf-8").splitlines()
