"""Secret and ignored files are never sent, and settings apply before the first request."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import client_capabilities

from support.editors import lsp_client
from support.editors.lsp_client import Connect
from support.servers.http_servers import ScriptedAssistant

URI = "file:///project/a.py"


TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"


AT = (1, 7)


@pytest.mark.parametrize(
    "uri", ["git:/project/.env?%7B%7D", "vscode-vfs://github/me/.env", "untitled:.env", "file:///project/.env"]
)
async def test_secrets_by_any_name(connect: Connect, assistant: ScriptedAssistant, uri: str) -> None:
    """A secret file is refused by every form of its URI, for suggestions and for scores."""
    editor = await connect()
    editor.open(uri, "KEY=\n", "plaintext")

    assert await editor.texts(uri, 0, 4) == []
    with pytest.raises(JsonRpcException, match=r"\.env"):
        await editor.request(
            "pellucid/score",
            {
                "textDocument": {"uri": uri},
                "range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 3}},
            },
        )
    assert assistant.calls == []


async def test_ignored_in_a_folder_that_came_later(
    connect: Connect, assistant: ScriptedAssistant, tmp_path: Path
) -> None:
    """The ignore files of an added workspace folder apply at once."""
    (tmp_path / "later" / ".git").mkdir(parents=True)
    (tmp_path / "later" / ".gitignore").write_text("local.py\n")
    uri = (tmp_path / "later" / "local.py").as_uri()
    editor = await connect(folder=tmp_path / "first")
    editor.open(uri, TEXT)
    folder = types.WorkspaceFolder((tmp_path / "later").as_uri(), "later")
    editor.client.workspace_did_change_workspace_folders(
        types.DidChangeWorkspaceFoldersParams(types.WorkspaceFoldersChangeEvent([folder], []))
    )

    assert await editor.texts(uri, *AT) == []
    assert assistant.calls == []
    assert "gitignore" in (await editor.request("pellucid/explain", {})).reason


async def test_settings_come_before_anything_is_sent(editor_homes: None) -> None:
    """A client's own settings apply to the first document: switched off, no server is asked."""
    capabilities = client_capabilities("visual-studio-code")
    client = {"pellucid": {"enabled": False}}
    settings = {"server": {"url": "http://127.0.0.1:9", "start": False}}
    editor = await lsp_client.start_here(settings, capabilities=capabilities, configuration=client)
    editor.open(URI, TEXT)

    assert await editor.texts(URI, *AT) == []
    assert (await editor.request("pellucid/status")).state == "off"
    assert editor.messages == []
    await editor.leave()
