"""Without a running model server, the language server starts a model server, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from lsprotocol import types

from support.editors import lsp_client
from support.editors.lsp_client import INLINE, URI, Editor, until
from support.servers.real_model_server import real_models

pytestmark = pytest.mark.model

TEXT = "def add(a, b):\n    ret\n\n\nprint(add(1, 2))\n"


@pytest.fixture
async def editor(tmp_path: Path) -> AsyncIterator[Editor]:
    """An editor with progress, private folders and a free port; the server ends with the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = lsp_client.homes(tmp_path) | real_models() | {"PELLUCID_PORT": str(port)}
    window = types.WindowClientCapabilities(work_done_progress=True)
    capabilities = types.ClientCapabilities(text_document=INLINE, window=window)
    settings = {"completion": {"ahead": False}, "statusNotifications": True, "server": {"apiKey": "hunter2"}}
    editor = await lsp_client.start(environment, settings, capabilities=capabilities)
    yield editor
    await editor.leave()
    with suppress(FileNotFoundError):
        os.kill(pid_of_server(tmp_path), signal.SIGTERM)


def pid_of_server(folder: Path) -> int:
    (record,) = (folder / "xdg_state_home" / "pellucid" / "servers").glob("*.json")
    return int(json.loads(record.read_text())["pid"])


async def test_from_nothing(editor: Editor, tmp_path: Path) -> None:
    """Ghost text appears after the first start, with progress shown, and after a kill."""
    editor.open(URI, TEXT)

    assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    states = [status.state for status in editor.statuses]
    assert states.index("starting") < states.index("ready")
    (reports,) = editor.client.progress_reports.values()
    assert [getattr(report, "kind", None) for report in (reports[0], reports[-1])] == ["begin", "end"]
    first = pid_of_server(tmp_path)

    os.kill(first, signal.SIGKILL)
    editor.insert(URI, 0, 0, "import re\n")
    await editor.inline(URI, 4, 0)
    editor.insert(URI, 2, 7, "u")
    assert await editor.texts(URI, 2, 8) == ["rn a + b"]
    assert editor.messages == []
    assert pid_of_server(tmp_path) != first
    await until(lambda: editor.statuses[-1].state == "ready")
