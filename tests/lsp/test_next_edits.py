"""Tests of edits elsewhere in a document, by Pellucid's and by Copilot's request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from pellucid.completion.edits.edit_judge import NOT_CALIBRATED
from pellucid.completion.edits.edit_memory import NextEdit
from pellucid.completion.settings import GateLevel
from pellucid.models.calibrations import NOT_OWN
from pellucid_lsp.editor_settings import EditorSettings
from pellucid_lsp.session import EditorSession
from support.editors.lsp_client import INLINE, URI, Connect, Editor
from support.servers.http_servers import TINY, ScriptedAssistant, spoken

TEXT = "x = total(a)\ny = total(b)  # 😀\n"
FIRST = types.Range(types.Position(0, 4), types.Position(0, 9))
"""The name in the first line."""


@pytest.fixture(autouse=True)
def reads_alike(assistant: ScriptedAssistant) -> None:
    """Let the model find all lines equally probable, enough for the normal level."""
    assistant.script = [spoken("x")]


async def own_edits(editor: Editor, uri: str = URI) -> list[Any]:
    return list((await editor.request("pellucid/nextEdits", {"textDocument": {"uri": uri}})).edits)


def shown(range: Any) -> tuple[int, int, int, int]:
    return range.start.line, range.start.character, range.end.line, range.end.character


async def test_the_same_settings_again(connect: Connect) -> None:
    """Neither an edit before the first settings, nor equal settings announced, end a search."""
    workspace = types.WorkspaceClientCapabilities(configuration=True)
    editor = await connect(capabilities=types.ClientCapabilities(text_document=INLINE, workspace=workspace), text=TEXT)
    # The answer to the server's request for the settings comes after this edit.
    editor.replace(URI, FIRST, "mean")
    search = asyncio.create_task(own_edits(editor))
    await asyncio.sleep(0)
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
    assert len(await search) == 1


async def test_repeated_elsewhere(connect: Connect, assistant: ScriptedAssistant) -> None:
    """After a change of a name, the same change is suggested elsewhere, in the client's units."""
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8])
    editor = await connect(capabilities=types.ClientCapabilities(general=general, text_document=INLINE), text=TEXT)
    assert await own_edits(editor) == []
    editor.replace(URI, FIRST, "mean")

    (edit,) = await own_edits(editor)

    width = len("y = total(b)  # 😀".encode())
    assert (edit.text, shown(edit.range)) == ("y = mean(b)  # 😀", (1, 0, 1, width))
    assert edit.probability == pytest.approx(0.6, abs=0.005)
    assert edit.logOdds == 0
    assert [call["text"] for call in assistant.calls] == ["y = mean(b)  # 😀\n", "y = total(b)  # 😀\n"]
    assert editor.messages == []


async def test_dismissed_and_levels(connect: Connect) -> None:
    """Dismissed edits, and at the quiet level edits no likelier than the old text, are dropped."""
    editor = await connect(text=TEXT)
    editor.replace(URI, FIRST, "mean")
    (edit,) = await own_edits(editor)
    await editor.command("pellucid.editDismissed", edit.id)
    assert await own_edits(editor) == []
    quiet = await connect(level="quiet", text=TEXT)
    quiet.replace(URI, FIRST, "mean")
    assert await own_edits(quiet) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nextEdits": False}, "The setting pellucid.nextEdits is false."),
        ({"enabled": False}, "Suggestions are switched off."),
        ({"completion": {"languagesOff": ["python"]}}, "Suggestions are off for this document's language"),
    ],
)
async def test_switched_off(
    connect: Connect, assistant: ScriptedAssistant, options: dict[str, Any], reason: str
) -> None:
    """With next edits or all suggestions off, the model reads nothing, for an explained reason."""
    editor = await connect(options=options, text=TEXT)
    editor.replace(URI, FIRST, "mean")
    assert await own_edits(editor) == []
    explained = await editor.request("pellucid/explainEdits", {"textDocument": {"uri": URI}})
    assert (explained.reason.startswith(reason), explained.changes) == (True, [])
    assert [call for call in assistant.calls if call["verb"] == "score"] == []


async def test_secret_documents_are_not_read(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Edits of a secret document are neither followed nor suggested elsewhere."""
    editor = await connect()
    secret = "file:///project/.env"
    editor.open(secret, TEXT)
    editor.open(URI, TEXT)
    editor.replace(secret, FIRST, "mean")
    assert await own_edits(editor) == []
    assert [call for call in assistant.calls if call["verb"] == "score"] == []


async def test_another_document(connect: Connect, tmp_path: Path) -> None:
    """An edit is repeated in another document, until a workspace folder is closed."""
    editor = await connect(folder=tmp_path)
    other = "file:///project/b.py"
    editor.open(other, TEXT)
    editor.open(URI, "z = total(c)\n")
    editor.replace(other, FIRST, "mean")
    (edit,) = await own_edits(editor)
    assert edit.text == "z = mean(c)"
    added, closed = [types.WorkspaceFolder((tmp_path / name).as_uri(), "folder") for name in ("added", "")]
    for event, count in (
        (types.WorkspaceFoldersChangeEvent([added], []), 1),
        (types.WorkspaceFoldersChangeEvent([], [closed]), 0),
    ):
        editor.client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
        assert len(await own_edits(editor)) == count


async def places(editor: Editor, uri: str = URI) -> list[Any]:
    return list((await editor.request("pellucid/nextEditsElsewhere", {"textDocument": {"uri": uri}})).places)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A workspace with a file ignored by git, and files with the changed name."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    for name, text in {
        ".gitignore": "built.py\n",
        "built.py": TEXT,
        "b.py": TEXT,
        "c.py": TEXT,
        "d.py": "x = totals(a)\n",
    }.items():
        (folder / name).write_text(text)
    return folder


async def test_other_files_of_the_workspace(connect: Connect, project: Path) -> None:
    """Changes are found in saved files and open documents, but not in ignored files."""
    editor = await connect(folder=project)
    uri, saved, opened = ((project / name).as_uri() for name in ("a.py", "b.py", "c.py"))
    editor.open(uri, "x = total(a)\n")
    editor.open(opened, "\n\nx = total(a)\n")
    assert await places(editor, uri) == [], "nothing was changed yet"
    editor.replace(uri, FIRST, "mean")
    assert await own_edits(editor, uri) == []

    found = await places(editor, uri)

    new = {(saved, 0, "x = mean(a)"), (saved, 1, "y = mean(b)  # 😀"), (opened, 2, "x = mean(a)")}
    assert {(one.uri, one.line, one.new[0]) for one in found} == new
    assert [one.probability for one in found] == [pytest.approx(one, abs=0.005) for one in (0.8, 0.6, 0.8)]
    await editor.command("pellucid.editDismissed", found[0].id)
    assert len(await places(editor, uri)) == 2
    explained = await editor.request("pellucid/explainEdits", {"textDocument": {"uri": uri}})
    assert {one.uri for one in explained.changes} == {saved, opened}
    assert explained.reason.endswith("Other files: 2 of 3 changes found are suggested.")


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({"nextEdits": False}, 0),
        ({"enabled": False}, 0),
        ({"context": {"filesTokens": 0}}, 1),
        ({"context": {"exclude": ["b.py"]}}, 1),
    ],
)
async def test_other_files_that_must_not_be_read(
    connect: Connect, assistant: ScriptedAssistant, project: Path, options: dict[str, Any], files: int
) -> None:
    """Settings against edits, or against reading files, apply to edits in other files, too."""
    editor = await connect(folder=project, options=options)
    uri = (project / "a.py").as_uri()
    editor.open(uri, "x = total(a)\n")
    editor.open((project / "c.py").as_uri(), TEXT)
    editor.replace(uri, FIRST, "mean")
    assert {one.uri for one in await places(editor, uri)} == ({(project / "c.py").as_uri()} if files else set())
    assert bool([call for call in assistant.calls if call["verb"] == "score"]) == bool(files)


async def test_cells_of_notebooks(connect: Connect, assistant: ScriptedAssistant) -> None:
    """No edits are suggested in a notebook: cells are not separate documents."""
    editor = await connect()
    cell = "vscode-notebook-cell:/project/a.ipynb#1"
    notebook = types.NotebookDocument(
        "file:///project/a.ipynb", "jupyter-notebook", 1, [types.NotebookCell(types.NotebookCellKind.Code, cell)]
    )
    document = types.TextDocumentItem(cell, "python", 1, TEXT)
    editor.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(notebook, [document]))
    changed = types.NotebookDocumentCellContentChanges(
        types.VersionedTextDocumentIdentifier(2, cell), [types.TextDocumentContentChangePartial(FIRST, "mean")]
    )
    editor.client.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(2, notebook.uri),
            types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(text_content=[changed])),
        )
    )
    assert (await editor.request("pellucid/nextEdits", {"textDocument": {"uri": cell}})).edits == []
    assert [call for call in assistant.calls if call["verb"] == "score"] == []


@pytest.mark.parametrize(
    ("before", "change", "text", "place"),
    [
        ("add(to, first)\r\nadd(to, second)\r\n", ((1, 0, 1, 0), "log(first)\r\n"), "log(second)\r\n", (3, 0, 3, 0)),
        ("add(to, first)\nadd(to, second)", ((1, 0, 1, 0), "log(first)\n"), "\nlog(second)", (2, 15, 2, 15)),
        ("debug(to, first)\nx\ny\ndebug(to, second)\nz", ((0, 0, 1, 0), ""), "", (2, 0, 3, 0)),
    ],
)
async def test_whole_lines(
    connect: Connect, before: str, change: tuple[tuple[int, ...], str], text: str, place: tuple[int, ...]
) -> None:
    """Lines are inserted and deleted with line ends, even below an unterminated last line."""
    editor = await connect(text=before)
    (line, character, end, last), new = change
    editor.replace(URI, types.Range(types.Position(line, character), types.Position(end, last)), new)
    (edit,) = await own_edits(editor)
    assert (edit.text, shown(edit.range)) == (text, place)


async def test_copilot_clients(connect: Connect) -> None:
    """Copilot clients get edits of the named version, and can report showing and accepting."""
    editor = await connect(copilot=True)
    editor.open(URI, TEXT)
    editor.replace(URI, FIRST, "mean")
    params = {
        "textDocument": {"uri": URI, "version": 2},
        "position": {"line": 0, "character": 8},
        "context": {"triggerKind": 2},
    }

    (edit,) = (await editor.request("textDocument/copilotInlineEdit", params)).edits

    assert (edit.text, shown(edit.range), edit.textDocument.version) == ("y = mean(b)  # 😀", (1, 0, 1, 18), 2)
    editor.notify("textDocument/didShowInlineEdit", {"item": {"command": {"arguments": edit.command.arguments}}})
    await editor.command(edit.command.command, *edit.command.arguments)
    assert editor.messages == []
    later = params | {"textDocument": {"uri": URI, "version": 3}}
    assert (await editor.request("textDocument/copilotInlineEdit", later)).edits == [], "a version that never comes"


async def test_proposals_of_a_next_edit_model(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A next-edit model's proposal after the cursor is suggested, with a calibration note."""
    assistant.next_edit = "sweep"
    editor = await connect(text="a = 0\r\n\r\n\r\nb = '😀😀'\r\n")
    # Connect to the server, because a proposal alone does not connect.
    await editor.texts(URI, 0, 5)
    assistant.script = [spoken("a = 1\n\n\nb = '😀'\n")]
    editor.replace(URI, types.Range(types.Position(0, 4), types.Position(0, 5)), "1")

    answer = await editor.request(
        "pellucid/nextEdits", {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
    )

    (edit,) = answer.edits
    assert (edit.text, shown(edit.range), edit.logOdds) == ("b = '😀'", (3, 0, 3, 10), 0)
    assert answer.calibrationNote == NOT_CALIBRATED.format(TINY)
    *_, asked = (call for call in assistant.calls if call["verb"] == "complete")
    assert "<|file_sep|>current/a.py:1:4\na = <|cursor|>1\n\n\nb = '😀😀'\n" in asked["prefix"]
    assert editor.messages == []


async def test_requests_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests from different cursors within a line share the first request's search."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    session = EditorSession(EditorSettings(), [], lambda: None)
    begun: list[tuple[int, int] | None] = []

    async def suggest(uri: str, text: str, level: GateLevel, cursor: tuple[int, int] | None) -> list[NextEdit]:
        begun.append(cursor)
        await asyncio.sleep(0)
        return []

    monkeypatch.setattr(session.next_edits.edits, "suggest", suggest)
    await asyncio.gather(*(session.next_edits.own(URI, TEXT, 1, cursor) for cursor in [(0, 4), (0, 9), (0, 0)]))
    assert begun == [(0, 4)]
    await asyncio.gather(*(session.next_edits.own(URI, TEXT, 1, cursor) for cursor in [(0, 4), (1, 4)]))
    assert begun[-1] == (1, 4)
    await session.aclose()


async def test_a_wrong_position(connect: Connect) -> None:
    """An incomplete position is refused with the name of the missing field."""
    editor = await connect(text=TEXT)
    with pytest.raises(JsonRpcException, match=r"pellucid/nextEdits: position needs character\."):
        await editor.request("pellucid/nextEdits", {"textDocument": {"uri": URI}, "position": {"line": 0}})


async def test_explained_edits(connect: Connect) -> None:
    """The explanation has each change's outcome, and is null before the first edits."""
    editor = await connect(text=TEXT)
    request = {"textDocument": {"uri": URI}}
    assert await editor.request("pellucid/explainEdits", request) is None
    assert (await editor.request("pellucid/nextEdits", request)).calibrationNote is None
    editor.replace(URI, FIRST, "mean")
    answer = await editor.request("pellucid/nextEdits", request)
    assert answer.calibrationNote == NOT_OWN, "the model was asked"
    made = answer.edits
    explained = await editor.request("pellucid/explainEdits", request)
    assert [one.outcome for one in explained.changes] == ["shown"] * len(made)
    assert [one.probability for one in explained.changes] == [one.probability for one in made]
    assert (explained.required, explained.calibrationNote) == (0.5, NOT_OWN)
    assert "mean(" in explained.changes[0].new[0]
    assert explained.reason == f"{len(made)} of {len(made)} changes found are suggested."


async def test_open_documents_that_are_ignored_by_now(
    connect: Connect, assistant: ScriptedAssistant, project: Path
) -> None:
    """An open document is not searched after a change of ``.gitignore`` excludes the document."""
    editor = await connect(folder=project, options={"context": {"filesTokens": 0}})
    uri, opened = ((project / name).as_uri() for name in ("a.py", "c.py"))
    editor.open(uri, "x = total(a)\n")
    editor.open(opened, TEXT)
    editor.replace(uri, FIRST, "mean")
    assert len(await places(editor, uri)) == 2
    (project / ".gitignore").write_text("c.py\n")
    assert await places(editor, uri) == []


async def test_requests_of_other_documents(connect: Connect, assistant: ScriptedAssistant, project: Path) -> None:
    """A request for another document's edits ends a search in other files, but no reading."""
    editor = await connect(folder=project)
    uri, opened = ((project / name).as_uri() for name in ("a.py", "c.py"))
    editor.open(uri, "x = total(a)\n")
    editor.open(opened, TEXT)
    editor.replace(uri, FIRST, "mean")
    searched, own = await asyncio.gather(places(editor, uri), own_edits(editor, opened))
    assert (searched, len(own)) == ([], 2)
