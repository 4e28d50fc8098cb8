"""Pellucid's own methods and commands: units, ranges, and messages against the protocol."""

from __future__ import annotations

import asyncio

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from support.editors import lsp_client
from support.editors.lsp_client import INLINE, Connect, id_of
from support.servers.http_servers import LiveServer, ScriptedAssistant, spoken

URI = "file:///project/a.py"


TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"


AT = (1, 7)


async def test_an_error_is_told_once(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The same error at every keystroke is shown once."""
    editor = await connect(options={"model": "nope"})
    editor.open(URI, TEXT)
    for _ in range(3):
        assert await editor.texts(URI, *AT) == []

    (message,) = editor.messages
    assert "has no model 'nope'" in message


async def test_messages_that_are_not_the_protocol(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An invalid request gets an error, and a command without an argument does nothing."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect()
    editor.open(URI, TEXT)
    for params in ({}, {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 7}}, {"textDocument": 7}):
        answer = editor.client.protocol.send_request("pellucid/raw", None, msg_id="raw")
        editor.client.protocol._send_data(
            {"jsonrpc": "2.0", "id": "raw", "method": "textDocument/inlineCompletion", "params": params}
        )
        with pytest.raises(JsonRpcException):
            await lsp_client.within(asyncio.wrap_future(answer))
    assert await editor.command("pellucid.accepted") is None
    assert await editor.texts("file:///nowhere/none.py", 0, 0) == []

    assert await editor.texts(URI, *AT) == ["urn a"]


async def test_parts_in_the_clients_units(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The accepted length counts the document's line endings."""
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
    """The tokens of a suggestion for a selected item follow the item's text."""
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
    """In a notebook, ranges are relative to the cell."""
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
                            [
                                types.TextDocumentContentChangePartial(
                                    types.Range(types.Position(1, 4), types.Position(1, 4)), "math.pi"
                                )
                            ],
                        )
                    ]
                )
            ),
        )
    )
    await editor.command("pellucid.accepted", id_of(item))

    found = await editor.request(
        "pellucid/tokens", {"textDocument": {"uri": uris[1]}, "position": {"line": 1, "character": 6}}
    )
    assert [(one.range.start.line, one.range.start.character) for one in found.tokens] == [(1, 4), (1, 8)]
    branched = await editor.request("pellucid/branch", {"id": found.id, "token": 1, "alternative": 1})
    assert (branched.range.start.line, branched.range.end.character) == (1, 11)


async def test_capabilities_without_a_browser(connect: Connect, model_server: LiveServer) -> None:
    """An editor without support for opening pages still gets the page's address."""
    editor = await connect(capabilities=types.ClientCapabilities(text_document=INLINE))

    assert await editor.command("pellucid.openPage") == model_server.url
