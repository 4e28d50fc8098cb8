"""Tests of edits by instruction in an editor: the request, its progress, and the code actions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from pellucid.completion.edits.by_instruction.hunk_syntax import BROKEN
from pellucid.completion.edits.by_instruction.instructed_edits import UNCHANGED
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid_lsp.methods.instructed_edits import CHANGED, DROPPED, EXPLAIN_CODE, INSTRUCT, LEFT_OUT, OFF
from support.editors.lsp_client import INLINE, URI, Connect, Editor, until
from support.servers.http_servers import ScriptedAssistant, spoken

TEXT = "class A:\n    x = '😀'\n    y = 2\n\nz = 3\n"
RANGE = {"start": {"line": 1, "character": 0}, "end": {"line": 3, "character": 0}}
ANSWER = [spoken(text) for text in ("x = '😀'", "\ny", " = 5\n", "```\n")]


@pytest.fixture(autouse=True)
def answers(assistant: ScriptedAssistant) -> None:
    """Let the model set y to 5."""
    assistant.script = ANSWER


async def ask(editor: Editor, **fields: Any) -> Any:
    given = {"textDocument": {"uri": URI}, "range": RANGE, "instruction": "Set y to 5."} | fields
    return await editor.request("pellucid/edit", {name: value for name, value in given.items() if value is not None})


def shown(range: Any) -> tuple[int, int, int, int]:
    return range.start.line, range.start.character, range.end.line, range.end.character


async def test_an_edit(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The result has the new text and hunks with ranges, tokens and the state of the syntax."""
    editor = await connect(text=TEXT)
    made = await ask(editor, seed=3)

    assert (made.text, made.reason) == ("    x = '😀'\n    y = 5\n", None)
    (hunk,) = made.hunks
    assert (hunk.first, shown(hunk.range)) == (2, (2, 0, 2, 9))
    assert (hunk.newText, hunk.old, hunk.new) == ("    y = 5", ["    y = 2"], ["    y = 5"])
    assert (hunk.breaksSyntax, made.note) == (False, None)
    assert [token.token for token in hunk.tokens] == ["\ny", " = 5\n"]
    assert assistant.calls[0]["params"].seed == 3
    assert "class A:" in assistant.calls[0]["messages"][0].content


async def test_ranges_are_in_the_clients_units(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The range of a line with characters of several units ends at the line's end."""
    assistant.script = [spoken("x = '😀😀'\ny = 2\n```\n")]
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8])
    editor = await connect(capabilities=types.ClientCapabilities(general=general, text_document=INLINE), text=TEXT)
    (hunk,) = (await ask(editor)).hunks
    width = len("    x = '😀'".encode())
    assert (shown(hunk.range), hunk.newText) == ((1, 0, 1, width), "    x = '😀😀'")


@pytest.mark.parametrize(("newline", "ends"), [("\n", True), ("\r\n", False)])
async def test_lines_below_the_last_one(
    connect: Connect, assistant: ScriptedAssistant, newline: str, ends: bool
) -> None:
    """Lines requested below the last line are inserted there, with or without a final line end."""
    assistant.script = [spoken("w = 4\n```\n")]
    editor = await connect()
    text = TEXT.replace("\n", newline)
    editor.open(URI, text if ends else text.removesuffix(newline))
    below = {"line": 5, "character": 0}
    (hunk,) = (await ask(editor, range={"start": below, "end": below})).hunks
    expected = ((5, 0, 5, 0), f"w = 4{newline}") if ends else ((4, 5, 4, 5), f"{newline}w = 4")
    assert (shown(hunk.range), hunk.newText) == expected
    assert "z = 3\n```" in assistant.calls[0]["messages"][0].content


async def test_a_cell_of_a_notebook(connect: Connect) -> None:
    """Lines of a cell are counted within the cell, regardless of the cells above."""
    editor = await connect()
    cells = [
        types.NotebookCell(types.NotebookCellKind.Code, f"vscode-notebook-cell:/project/n.ipynb#{index}")
        for index in range(2)
    ]
    notebook = types.NotebookDocument("file:///project/n.ipynb", "jupyter-notebook", 1, cells)
    texts = [
        types.TextDocumentItem(cell.document, "python", 1, text)
        for cell, text in zip(cells, ("import os\n\n", TEXT), strict=True)
    ]
    editor.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(notebook, texts))
    made = await ask(editor, textDocument={"uri": cells[1].document})
    (hunk,) = made.hunks
    assert (hunk.first, shown(hunk.range), hunk.newText) == (2, (2, 0, 2, 9), "    y = 5")


async def test_lines_are_streamed(connect: Connect) -> None:
    """With a token for partial results, whole lines come as progress before the result."""
    editor = await connect()
    lines: list[str] = []
    editor.client.protocol.fm._features["$/progress"] = lambda params: lines.extend(params.value["lines"])
    editor.open(URI, TEXT)
    await ask(editor, partialResultToken="t")
    assert lines == ["    x = '😀'", "    y = 5"]


async def test_windows_line_ends(connect: Connect) -> None:
    """New text has the document's line ends."""
    editor = await connect()
    editor.open(URI, TEXT.replace("\n", "\r\n"))
    made = await ask(editor)
    assert (made.text, made.hunks[0].newText) == ("    x = '😀'\r\n    y = 5\r\n", "    y = 5")


@pytest.mark.parametrize(("line", "dropped"), [(2, True), (0, True), (4, False)])
async def test_a_document_that_changes_meanwhile(
    connect: Connect, assistant: ScriptedAssistant, line: int, dropped: bool
) -> None:
    """Changes in or above the selection drop the edit with a sentence; changes below do not."""
    reached, release = threading.Event(), threading.Event()

    async def before(index: int) -> None:
        if index == 2 and not reached.is_set():
            reached.set()
            await asyncio.to_thread(release.wait)

    assistant.before = before
    editor = await connect(text=TEXT)
    asked = asyncio.create_task(ask(editor))
    await until(reached.is_set)
    editor.replace(URI, types.Range(types.Position(line, 0), types.Position(line, 0)), " ")
    # The change has arrived before the answer continues.
    await editor.command("pellucid.editAccepted")
    release.set()
    made = await asked
    assert (made.reason, len(made.hunks)) == ((CHANGED, 0) if dropped else (None, 1))


def stuck(assistant: ScriptedAssistant) -> threading.Event:
    """Let the answer wait forever at the third token, and return the event of reaching it."""
    reached = threading.Event()

    async def before(index: int) -> None:
        if index == 2:
            reached.set()
            await asyncio.Event().wait()

    assistant.before = before
    return reached


async def test_cancelled(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Cancelling the request closes the model's stream."""
    reached = stuck(assistant)
    editor = await connect(text=TEXT)
    params = {"textDocument": {"uri": URI}, "range": RANGE, "instruction": "x"}
    editor.client.protocol.send_request("pellucid/edit", params, msg_id="edit")
    await until(reached.is_set)
    editor.client.cancel_request(types.CancelParams("edit"))
    await until(assistant.closed.is_set)


async def test_no_change(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An answer equal to the selection gives a sentence and no hunks."""
    assistant.script = [spoken("x = '😀'\ny = 2\n```\n")]
    editor = await connect(text=TEXT)
    made = await ask(editor)
    assert (made.reason, made.hunks) == (UNCHANGED, [])


@pytest.mark.parametrize(
    ("options", "uri", "fields", "sentence"),
    [
        ({"instructedEdits": False}, URI, {}, OFF),
        ({"enabled": False}, URI, {}, "The setting pellucid.enabled is false"),
        ({}, "file:///project/.env", {}, r"\.env"),
        ({}, URI, {"instruction": None}, "pellucid/edit needs instruction"),
        ({}, URI, {"instruction": " "}, "The instruction is empty"),
        ({}, URI, {"range": None}, "pellucid/edit needs range"),
        ({}, URI, {"partialResultToken": [1]}, "partialResultToken should be a text or a number"),
    ],
)
async def test_refusals(
    connect: Connect,
    assistant: ScriptedAssistant,
    options: dict[str, Any],
    uri: str,
    fields: dict[str, Any],
    sentence: str,
) -> None:
    """Refused requests get a sentence, and the model is not asked."""
    editor = await connect(options=options)
    editor.open(uri, TEXT)
    with pytest.raises(JsonRpcException, match=sentence):
        await ask(editor, textDocument={"uri": uri}, **fields)
    assert assistant.calls == []


async def actions(editor: Editor, begin: int, end: int, *messages: str, only: list[str] | None = None) -> list[Any]:
    where = {"start": {"line": begin, "character": 0}, "end": {"line": end, "character": 0}}
    context = {
        "diagnostics": [{"range": where, "message": message} for message in messages],
        **({} if only is None else {"only": only}),
    }
    return list(
        await editor.request_raw(
            "textDocument/codeAction", {"textDocument": {"uri": URI}, "range": where, "context": context}
        )
    )


async def test_code_actions(connect: Connect) -> None:
    """Actions offer instructions for a selection and fixes for diagnostics, unless switched off."""
    editor = await connect(text=TEXT)
    titles = [one["title"].removeprefix("Pellucid: ") for one in await actions(editor, 1, 3, "y is\nunused")]
    assert titles == ["Fix: y is unused", "Write a docstring", "Add type hints", "Write tests for this", "Explain"]
    assert [one["title"] for one in await actions(editor, 1, 3, "unused", only=["quickfix"])] == [
        "Pellucid: Fix: unused"
    ]
    assert len(await actions(editor, 1, 3, "unused", only=["refactor"])) == 4
    assert await actions(editor, 1, 1) == []
    (fix,) = await actions(editor, 2, 2, "unused")
    assert fix["command"]["arguments"] == [URI, 2, 3, "Fix: unused"]
    for options in ({"instructedEdits": False}, {"enabled": False}):
        off = await connect(options=options, text=TEXT)
        assert await actions(off, 1, 3, "unused") == []


async def test_a_code_action_edits(connect: Connect) -> None:
    """A code action's command lets the editor apply all hunks at once."""
    editor = await connect()
    applied: list[Any] = []

    def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        applied.append(params.edit.changes)
        return types.ApplyWorkspaceEditResult(applied=True)

    editor.client.feature(types.WORKSPACE_APPLY_EDIT)(apply)
    editor.open(URI, TEXT)
    await editor.command(INSTRUCT, URI, 1, 3, "Set y to 5.")
    (edit,) = applied[0][URI]
    assert (shown(edit.range), edit.new_text) == ((2, 0, 2, 9), "    y = 5")
    with pytest.raises(JsonRpcException, match="needs the arguments of its code action"):
        await editor.command(INSTRUCT, URI, "1", 3, "x")


@pytest.mark.parametrize(
    ("answer", "applied", "rest"),
    [
        ("x = '😀'\ny = (5\n```\n", [], DROPPED),
        ("x = 7\n    y = 2\nw = (5\n```\n", [], DROPPED),
        ("x = 7\ny = 2\nw = (5\n```\n", ["    x = 7"], LEFT_OUT),
    ],
)
async def test_a_code_action_leaves_out_what_breaks_the_syntax(
    connect: Connect, assistant: ScriptedAssistant, answer: str, applied: list[str], rest: str
) -> None:
    """Hunks that break the syntax are not applied, and a message says so."""
    assistant.script = [spoken(answer)]
    editor = await connect()
    new: list[str] = []

    def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        new.extend(one.new_text for one in (params.edit.changes or {})[URI])
        return types.ApplyWorkspaceEditResult(applied=True)

    editor.client.feature(types.WORKSPACE_APPLY_EDIT)(apply)
    editor.open(URI, TEXT)
    await editor.command(INSTRUCT, URI, 1, 3, "Set y to 5.")
    assert (new, editor.messages) == (applied, [f"Pellucid: {BROKEN} {rest}"])


async def test_a_version_is_edited(connect: Connect) -> None:
    """An editor with version support gets the changed version; a refusal is shown as a message."""
    edits = types.WorkspaceClientCapabilities(
        workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True)
    )
    editor = await connect(capabilities=types.ClientCapabilities(workspace=edits, text_document=INLINE))
    applied: list[Any] = []

    def refuse(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        applied.append(params.edit)
        return types.ApplyWorkspaceEditResult(applied=False)

    editor.client.feature(types.WORKSPACE_APPLY_EDIT)(refuse)
    editor.open(URI, TEXT)
    await editor.command(INSTRUCT, URI, 1, 3, "Set y to 5.")
    (change,) = applied[0].document_changes
    assert (change.text_document.uri, isinstance(change.text_document.version, int), applied[0].changes) == (
        URI,
        True,
        None,
    )
    assert editor.messages == [f"Pellucid: {CHANGED}"]


@pytest.mark.parametrize(("command", "closes"), [(INSTRUCT, True), (EXPLAIN_CODE, False)])
async def test_ended(connect: Connect, assistant: ScriptedAssistant, command: str, closes: bool) -> None:
    """Closing the document, or switching off, ends a running request and the model's stream."""
    reached = stuck(assistant)
    editor = await connect(text=TEXT)
    asked = asyncio.create_task(editor.command(command, URI, 1, 3, *(["x"] if command == INSTRUCT else [])))
    await until(reached.is_set)
    if closes:
        editor.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(URI)))
    else:
        await editor.command("pellucid.toggle")
    with pytest.raises(JsonRpcException, match="The request was ended because"):
        await asked
    await until(assistant.closed.is_set)


@pytest.mark.parametrize(
    ("options", "script", "sentence"),
    [
        ({"instructedEdits": False}, [], OFF),
        ({}, [Finish(FinishReason.ERROR, Usage(), error="out of memory")], "out of memory"),
        ({}, [spoken("It"), Finish(FinishReason.SUPERSEDED, Usage())], "Another request replaced this one"),
        ({}, [Finish(FinishReason.STOP, Usage())], "The model wrote nothing"),
    ],
)
async def test_explanations_that_fail(
    connect: Connect, assistant: ScriptedAssistant, options: dict[str, Any], script: list[Any], sentence: str
) -> None:
    """The switch for edits applies to explanations, and the model's failures are reported."""
    assistant.script = script
    editor = await connect(options=options, text=TEXT)
    with pytest.raises(JsonRpcException, match=sentence):
        await editor.command(EXPLAIN_CODE, URI, 1, 3)


async def test_explain(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The command shows the explanation, the request returns it; a cut answer has an ellipsis."""
    assistant.script = [spoken("It sets"), spoken(" x and y.\n")]
    editor = await connect(text=TEXT)
    request = {"textDocument": {"uri": URI}, "range": RANGE}
    assert (await editor.request("pellucid/explainCode", request)).text == "It sets x and y."
    assert editor.messages == []
    await editor.command(EXPLAIN_CODE, URI, 1, 3)
    assert editor.messages == ["Pellucid: It sets x and y."]
    for call in assistant.calls:
        asked = call["messages"][0].content
        assert ("y = 2" in asked, "z = 3" in asked) == (True, False)

    assistant.script = [spoken("It sets x. Then "), Finish(FinishReason.LENGTH, Usage())]
    assert (await editor.request("pellucid/explainCode", request)).text == "It sets x. Then \u2026"


async def test_explain_nothing(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A range without code, or an unopened document, is refused, and the model is not asked."""
    editor = await connect()
    with pytest.raises(JsonRpcException, match="is not open in this editor"):
        await ask(editor)
    editor.open(URI, TEXT)
    for first, last, sentence in (
        (3, 4, "The range has no code to explain: select some lines."),
        (3, 1, "The range ends before it begins."),
    ):
        range = {"start": {"line": first, "character": 0}, "end": {"line": last, "character": 0}}
        with pytest.raises(JsonRpcException, match=sentence):
            await editor.request("pellucid/explainCode", {"textDocument": {"uri": URI}, "range": range})
    assert not assistant.calls


async def test_code_of_a_chat(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A code block becomes hunks, in the lines that it changes or in a range, without the model."""
    editor = await connect(text=TEXT)

    async def apply(code: str, **fields: Any) -> Any:
        return await editor.request("pellucid/applyCode", {"textDocument": {"uri": URI}, "code": code, **fields})

    (hunk,) = (await apply("class A:\n    x = '😀'\n    y = 5\n")).hunks
    assert (shown(hunk.range), hunk.newText, hunk.breaksSyntax) == ((2, 0, 2, 9), "    y = 5", False)
    (hunk,) = (await apply("w = 1", range=RANGE)).hunks
    assert (hunk.first, hunk.new) == (1, ["    w = 1"])
    nothing = await apply("other = 1")
    assert (nothing.hunks, "select the lines that the code replaces" in nothing.reason) == ([], True)
    assert assistant.calls == []
