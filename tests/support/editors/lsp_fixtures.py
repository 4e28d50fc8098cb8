"""Fixtures: a scripted model server, and editors with language servers for the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.editors import lsp_client
from support.editors.lsp_client import Connect, Editor
from support.servers.http_servers import LiveServer, ScriptedAssistant, live, scripted_state

COPILOT = {
    "editorInfo": {"name": "Emacs", "version": "30.1"},
    "editorPluginInfo": {"name": "copilot.el", "version": "0.5"},
    "networkProxy": {"host": "127.0.0.1"},
}
"""Options of a plugin for the Copilot language server."""


@pytest.fixture
def assistant() -> ScriptedAssistant:
    return ScriptedAssistant()


@pytest.fixture
def model_server(assistant: ScriptedAssistant) -> Iterator[LiveServer]:
    """A real server with scripted answers instead of a model."""
    with live(scripted_state(assistant)) as server:
        yield server


@pytest.fixture
def editor_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give language servers in this process a test's folders for settings, state and logs."""
    for name, value in lsp_client.homes(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def connect(model_server: LiveServer, editor_homes: None) -> AsyncIterator[Connect]:
    """Start an editor; keywords are settings, by default in the section ``completion``.

    With ``text``, a document with this text is open at ``lsp_client.URI``. With ``copilot``, the
    client is a plugin for the Copilot language server.
    """
    started: list[Editor] = []

    async def connect(
        *,
        folder: Path | None = None,
        capabilities: Any = None,
        client: str | None = None,
        configuration: dict[str, Any] | None = None,
        copilot: bool = False,
        server: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        text: str | None = None,
        **completion: Any,
    ) -> Editor:
        settings = {
            "server": {"url": model_server.url, "start": False} | (server or {}),
            "completion": {"ahead": False} | completion,
            **(options or {}),
        }
        editor = await lsp_client.start_here(
            COPILOT | {"pellucid": settings} if copilot else settings,
            copilot=copilot,
            folder=folder,
            capabilities=capabilities,
            client=client,
            configuration=configuration,
        )
        started.append(editor)
        if text is not None:
            editor.open(lsp_client.URI, text)
        return editor

    yield connect
    for editor in started:
        await editor.leave()
