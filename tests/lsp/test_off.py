"""The off switch, privacy and changed settings take effect immediately."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import client_capabilities

from support.editors import lsp_client
from support.editors.lsp_client import INLINE, Connect, Editor, id_of, until
from support.servers.http_servers import LiveServer, ScriptedAssistant, spoken

URI = "file:///project/a.py"
TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"
AT = (1, 7)


@pytest.fixture
def hanging(assistant: ScriptedAssistant) -> ScriptedAssistant:
    """A model that generates two tokens and then waits."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", " +", " b", "\n", "x"])]

    async def before(index: int) -> None:
        if index == 2:
            await asyncio.Event().wait()

    assistant.before = before
    return assistant


async def running(editor: Editor, assistant: ScriptedAssistant) -> asyncio.Future[Any]:
    """A request that is being generated."""
    editor.open(URI, TEXT)
    answer = editor.ask(URI, *AT)
    await until(lambda: bool(assistant.calls))
    return answer


async def test_switched_off_while_generating(connect: Connect, hanging: ScriptedAssistant) -> None:
    """Switching suggestions off cancels running requests."""
    editor = await connect()
    answer = await running(editor, hanging)

    await editor.command("pellucid.toggle")

    assert (await lsp_client.within(answer)).items == ()
    await until(hanging.closed.is_set)


async def test_settings_changed_while_generating(connect: Connect, hanging: ScriptedAssistant) -> None:
    """A change of settings cancels running requests."""
    editor = await connect(capabilities=client_capabilities("visual-studio-code"))
    answer = await running(editor, hanging)

    editor.client.set_configuration({"pellucid": {"completion": {"level": "quiet"}}})
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))

    assert (await lsp_client.within(answer)).items == ()
    await until(hanging.closed.is_set)


async def test_a_closed_document_is_not_generated_for(connect: Connect, hanging: ScriptedAssistant) -> None:
    """Closing a document cancels its requests, and forgets its explanation."""
    editor = await connect()
    answer = await running(editor, hanging)

    editor.close(URI)

    await until(hanging.closed.is_set)
    assert (await lsp_client.within(answer)).items == ()
    assert await editor.request("pellucid/explain", {"textDocument": {"uri": URI}}) is None


async def test_nothing_of_our_own_requests_is_sent_when_off(connect: Connect, assistant: ScriptedAssistant) -> None:
    """While suggestions are off, branches and scores are refused, and explanations send no request."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect()
    editor.open(URI, TEXT)
    (item,) = await editor.inline(URI, *AT)
    await editor.command("pellucid.toggle")
    sent = len(assistant.calls)
    range = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 5}}

    for method, params in (
        ("pellucid/branch", {"id": id_of(item), "token": 1, "alternative": 1}),
        ("pellucid/score", {"textDocument": {"uri": URI}, "range": range}),
    ):
        with pytest.raises(JsonRpcException, match="switched off everywhere"):
            await editor.request(method, params)
    explained = await editor.request("pellucid/explain", {"id": id_of(item)})
    assert (explained.shown, explained.prompt.text) == ("urn a", None)
    assert len(assistant.calls) == sent


@pytest.mark.parametrize("uri", ["git:/project/.env?%7B%7D", "vscode-vfs://github/me/.env", "untitled:.env", "file:///project/.env"])
async def test_secrets_by_any_name(connect: Connect, assistant: ScriptedAssistant, uri: str) -> None:
    """A secret file is refused by every form of its URI, for scores as well."""
    editor = await connect()
    editor.open(uri, "KEY=\n", "plaintext")

    assert await editor.texts(uri, 0, 4) == []
    with pytest.raises(JsonRpcException, match=r"\.env"):
        await editor.request(
            "pellucid/score",
            {"textDocument": {"uri": uri}, "range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 3}}},
        )
    assert assistant.calls == []


async def test_ignored_in_a_folder_that_came_later(connect: Connect, assistant: ScriptedAssistant, tmp_path: Path) -> None:
    """The ignore files of a workspace folder apply as soon as it is opened."""
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


@pytest.mark.process
async def test_settings_come_before_anything_is_sent(model_server: LiveServer, assistant: ScriptedAssistant, tmp_path: Path) -> None:
    """A client's own settings apply to the first document: if they switch suggestions off, no server is contacted."""
    capabilities = client_capabilities("visual-studio-code")
    client = {"pellucid": {"enabled": False}}
    settings = {"server": {"url": "http://127.0.0.1:9", "start": False}}
    editor = await lsp_client.start(lsp_client.homes(tmp_path), settings, capabilities=capabilities, configuration=client)
    editor.open(URI, TEXT)

    assert await editor.texts(URI, *AT) == []
    assert (await editor.request("pellucid/status")).state == "off"
    assert editor.messages == []
    await editor.leave()


async def test_an_error_is_told_once(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The same error at every keystroke is one message."""
    editor = await connect(options={"model": "nope"})
    editor.open(URI, TEXT)
    for _ in range(3):
        assert await editor.texts(URI, *AT) == []

    (message,) = editor.messages
    assert "does not serve 'nope'" in message


async def test_messages_that_are_not_the_protocol(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An invalid request gets an error, and a command without its argument does nothing."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect()
    editor.open(URI, TEXT)
    for params in ({}, {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 7}}, {"textDocument": 7}):
        answer = editor.client.protocol.send_request("pellucid/raw", None, msg_id="raw")
        editor.client.protocol._send_data({"jsonrpc": "2.0", "id": "raw", "method": "textDocument/inlineCompletion", "params": params})
        with pytest.raises(JsonRpcException):
            await lsp_client.within(asyncio.wrap_future(answer))
    assert await editor.command("pellucid.accepted") is None
    assert await editor.texts("file:///nowhere/none.py", 0, 0) == []

    assert await editor.texts(URI, *AT) == ["urn a"]


async def test_parts_in_the_clients_units(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The accepted length counts the inserted text: the document's line endings, and the selected text."""
    texts = ["if", " a:", "\n", "        ", "pass", "\n", "\n", "\n", "x"]
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(texts)]
    editor = await connect(shape="block")
    editor.open(URI, "def f(a):\r\n    \r\n\r\n\r\nx = 1\r\n")
    (item,) = await editor.inline(URI, 1, 4)
    for text in ("if a:", "if a:\r\n        pa"):
        editor.notify("pellucid/didPartiallyAccept", {"id": id_of(item), "acceptedLength": len(text)})
    editor.insert(URI, 1, 4, "if a:\r\n        pa")

    found = await editor.request("pellucid/tokens", {"id": id_of(item)})

    assert (found.text, found.tokens[0].range.start.line) == ("if a:\n        pa", 1)
    assert (await editor.request("pellucid/status")).counts.accepted == 1


async def test_ranges_behind_a_selected_item(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The tokens of a suggestion for a selected item follow that item's text."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate([" a", "\n", "x"])]
    editor = await connect()
    editor.open(URI, TEXT)
    selected = types.SelectedCompletionInfo(types.Range(types.Position(1, 4), types.Position(1, 7)), "return")
    (item,) = await editor.inline(URI, *AT, selected=selected)

    found = await editor.request("pellucid/tokens", {"id": id_of(item)})
    assert found.tokens[0].range.start.character == 4 + len("return")
    editor.notify("pellucid/didPartiallyAccept", {"id": id_of(item), "acceptedLength": len("return a")})
    editor.replace(URI, selected.range, "return a")
    found = await editor.request("pellucid/tokens", {"id": id_of(item)})
    assert (found.text, found.tokens[0].range.start.character) == (" a", 10)


async def test_ranges_in_a_cell(connect: Connect, assistant: ScriptedAssistant) -> None:
    """In a notebook, ranges are those of the cell."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["math", ".pi", "\n", "x"])]
    editor = await connect()
    uris = [f"vscode-notebook-cell:/n.ipynb#{number}" for number in range(2)]
    cells = [types.NotebookCell(types.NotebookCellKind.Code, uri) for uri in uris]
    texts = ["import math\n\n\n", "x = 1\ny = "]
    editor.client.notebook_document_did_open(
        types.DidOpenNotebookDocumentParams(
            types.NotebookDocument("file:///project/n.ipynb", "jupyter-notebook", 1, cells),
            [types.TextDocumentItem(uri, "python", 1, text) for uri, text in zip(uris, texts, strict=True)],
        )
    )
    (item,) = await editor.inline(uris[1], 1, 4)
    editor.client.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(2, "file:///project/n.ipynb"),
            types.NotebookDocumentChangeEvent(
                cells=types.NotebookDocumentCellChanges(
                    text_content=[
                        types.NotebookDocumentCellContentChanges(
                            types.VersionedTextDocumentIdentifier(2, uris[1]),
                            [types.TextDocumentContentChangePartial(types.Range(types.Position(1, 4), types.Position(1, 4)), "math.pi")],
                        )
                    ]
                )
            ),
        )
    )
    await editor.command("pellucid.accepted", id_of(item))

    found = await editor.request("pellucid/tokens", {"textDocument": {"uri": uris[1]}, "position": {"line": 1, "character": 6}})
    assert [(one.range.start.line, one.range.start.character) for one in found.tokens] == [(1, 4), (1, 8)]
    branched = await editor.request("pellucid/branch", {"id": found.id, "token": 1, "alternative": 1})
    assert (branched.range.start.line, branched.range.end.character) == (1, 11)


async def test_capabilities_without_a_browser(connect: Connect, model_server: LiveServer) -> None:
    """An editor that cannot open pages gets the address all the same."""
    editor = await connect(capabilities=types.ClientCapabilities(text_document=INLINE))

    assert await editor.command("pellucid.openPage") == model_server.url
