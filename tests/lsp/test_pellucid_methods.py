"""Pellucid's own methods: units, ranges, fields, and messages against the protocol."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import log

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.workspace import PositionCodec

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import Suggestion
from pellucid_lsp.inspection_json import hover_markdown, tokens_report
from support.editors import lsp_client
from support.editors.lsp_client import URI, Connect, id_of
from support.editors.token_factory import joined, make_tokens
from support.servers.http_servers import ScriptedAssistant, spoken

TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"
AT = (1, 7)
EXACT, RANGED, UNKNOWN = make_tokens("a", "b", "c")
TOKENS = (
    replace(EXACT, entropy=0.5 * log(2)),
    replace(RANGED, entropy=None, entropy_range=(1.9 * log(2), 2.6 * log(2))),
    replace(UNKNOWN, entropy=None),
)


async def test_an_error_is_told_once(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The same error at every keystroke is shown once."""
    editor = await connect(options={"model": "nope"}, text=TEXT)
    for _ in range(3):
        assert await editor.texts(URI, *AT) == []

    (message,) = editor.messages
    assert "has no model 'nope'" in message


async def test_messages_that_are_not_the_protocol(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An invalid request gets an error, and a command without an argument does nothing."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect(text=TEXT)
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
    editor = await connect(shape="block", text="def f(a):\r\n    \r\n\r\n\r\nx = 1\r\n")
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
    editor = await connect(text=TEXT)
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


def test_hover_over_tokens_without_an_exact_entropy() -> None:
    """A hover shows an exact entropy, the bounds of a range, and nothing for an unknown entropy."""
    cursor = DocumentCursor("file:///a.py", "", "", "python")
    shown = hover_markdown(Suggestion("1", cursor, joined(TOKENS), TOKENS, "m", SuggestionShape.LINE), 0)
    rows = [row.split("|")[-2].strip() for row in shown.partition("entropy, bits")[2].splitlines()[2:]]
    assert rows == ["0.50", "1.90 to 2.60", ""]


def test_tokens_of_the_view() -> None:
    """The editors' views get an entropy's bounds only if the exact entropy is unknown."""
    found = tokens_report(TOKENS, types.Position(0, 0), PositionCodec())
    assert [one["entropy"] for one in found] == [0.5 * log(2), None, None]
    assert ["entropy_range" in one for one in found] == [False, True, False]
