"""Tests of marks on surprising code: the request, hints, code actions, and changed lines."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from support.editors.lsp_client import INLINE, URI, Connect, Editor, until, within
from support.required_programs import require_program
from support.servers.http_servers import ScriptedAssistant

TEXT = "x = '😀'; y = a != b\nz = 1\n"
WRITTEN, BETTER = -9.0, -3.0
"""The log probabilities of a line with and without the bug."""


@pytest.fixture(autouse=True)
def doubts(assistant: ScriptedAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model doubt each ``!=``, and find lines without ``!=`` likelier."""

    async def score(query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        assistant.calls.append({"verb": "score", "text": query.text})
        text = str(query.text)
        if assistant.before is not None:
            await assistant.before(0)
        if query.gap is not None:
            yield _token(text, WRITTEN if "!=" in text else BETTER)
        else:
            while text:
                head, sign, text = text.partition(" !=")
                yield _token(head, -0.01)
                if sign:
                    yield _token(sign, -9.0, " ==")
        yield Finish(FinishReason.STOP, Usage())

    monkeypatch.setattr(assistant, "score", score)


def _token(text: str, logprob: float, other: str | None = None) -> Token:
    top = () if other is None else (Alternative(1, other, other.encode(), -0.1),)
    return Token(7, text, text.encode(), 0, logprob, 2, 0.5, top)


def read(assistant: ScriptedAssistant) -> list[str]:
    return [call["text"] for call in assistant.calls if call["verb"] == "score"]


def shown(editor: Editor, uri: str = URI) -> list[types.Diagnostic]:
    return list(editor.client.diagnostics.get(uri, []))


async def show(editor: Editor, command: str = "pellucid.showSurprise", uri: str = URI, **more: Any) -> Any:
    return await editor.command(command, {"textDocument": {"uri": uri}, **more})


async def actions(editor: Editor, line: int, uri: str = URI) -> list[types.CodeAction]:
    """Return the actions of marks; edits by instruction are commands without an edit."""
    here = types.Range(types.Position(line, 0), types.Position(line, 100))
    params = types.CodeActionParams(types.TextDocumentIdentifier(uri), here, types.CodeActionContext([]))
    offered = await within(editor.client.text_document_code_action_async(params)) or []
    return [one for one in offered if isinstance(one, types.CodeAction) and one.edit is not None]


def edits(action: types.CodeAction) -> list[types.TextEdit]:
    assert action.edit is not None
    assert action.edit.changes is not None
    return list(action.edit.changes[URI])


async def test_the_request(connect: Connect) -> None:
    """A mark has a range in the client's units, both texts' probabilities, and a reason."""
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8])
    editor = await connect(capabilities=types.ClientCapabilities(general=general, text_document=INLINE), text=TEXT)

    result = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}})

    (mark,) = result.marks
    assert (mark.range.start.line, mark.range.start.character, mark.range.end.character) == (0, 18, 20)
    (alternative,) = mark.alternatives
    assert (mark.text, alternative.text, mark.logOdds) == ("!=", "==", BETTER - WRITTEN)
    assert (mark.probability, alternative.probability) == (
        pytest.approx(0.0025, abs=1e-4),
        pytest.approx(0.9975, abs=1e-4),
    )
    assert (
        mark.reason
        == "== fits better than != between the lines around it: probability over 0.99 instead of under 0.01."
    )
    assert result.message == "1 word is marked: the model finds another one likelier."


async def test_hints_and_their_actions(connect: Connect) -> None:
    """The command shows hints with a replacing action each, and a second command clears both."""
    editor = await connect(text=TEXT)
    result = await show(editor)
    assert (result["marks"], result["message"]) == (1, "1 word is marked: the model finds another one likelier.")
    await until(lambda: bool(shown(editor)))
    (hint,) = shown(editor)
    assert (hint.severity, hint.source, hint.code) == (types.DiagnosticSeverity.Hint, "pellucid", "surprise")
    (action,) = await actions(editor, 0)
    assert action.title == "Replace `!=` with `==` (p over 0.99 instead of under 0.01)"
    (edit,) = edits(action)
    assert (edit.range, edit.new_text) == (hint.range, "==")
    assert await actions(editor, 1) == []

    await show(editor, "pellucid.clearSurprise")

    await until(lambda: not shown(editor))
    assert await actions(editor, 0) == []


async def test_marks_follow_the_text(connect: Connect) -> None:
    """A mark moves with lines inserted above, and vanishes if the mark's line changes."""
    editor = await connect(text=TEXT)
    await show(editor)
    editor.insert(URI, 0, 0, "# above\n")
    await until(lambda: [hint.range.start.line for hint in shown(editor)] == [1])
    ((edit,),) = [edits(action) for action in await actions(editor, 1)]
    assert edit.range == shown(editor)[0].range
    editor.insert(URI, 1, 0, " ")
    await until(lambda: not shown(editor))


async def test_a_range_and_a_limit(connect: Connect) -> None:
    """Only the given range is searched, and marks are returned up to the limit."""
    editor = await connect(text="a != b\nc != d\ne != f\n")
    later = {"start": {"line": 1, "character": 0}, "end": {"line": 3, "character": 0}}
    found = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}, "range": later})
    assert [mark.range.start.line for mark in found.marks] == [1, 2]
    one = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}, "range": later, "limit": 1})
    assert len(one.marks) == 1


@pytest.mark.parametrize("edits", [True, False])
async def test_an_ended_search(connect: Connect, assistant: ScriptedAssistant, edits: bool) -> None:
    """A change of the document, or clearing all marks, ends a running search with the reasons."""
    editor = await connect(text=TEXT)
    assistant.before = lambda _: asyncio.sleep(3600)
    search = asyncio.create_task(show(editor))
    await until(lambda: bool(read(assistant)))
    if edits:
        editor.insert(URI, 1, 0, " ")
    else:
        await editor.command("pellucid.clearSurprise")
    with pytest.raises(Exception, match=r"The search was cancelled: the document .* the marks were cleared"):
        await search
    assert shown(editor) == []


async def test_on_save(connect: Connect, assistant: ScriptedAssistant, tmp_path: Path) -> None:
    """Changed lines are searched on save only with the setting, and only in git worktrees."""
    folder = tmp_path / "project"
    commit(folder, "a != b\n")
    uri, notes = (folder / "a.py").as_uri(), (folder / "notes.md").as_uri()
    quiet = await connect()
    quiet.open(uri, "quiet != b\n")
    save(quiet, uri)
    editor = await connect(options={"surprise": "onSave"})
    for other, language in ((URI, "python"), (notes, "markdown")):
        editor.open(other, "other != b\n", language)
        save(editor, other)
    editor.open(uri, "a != b\nc != d\n")
    save(editor, uri)
    await until(lambda: [hint.range.start.line for hint in shown(editor, uri)] == [1])
    await quiet.request("pellucid/status")
    assert not [text for text in read(assistant) if "quiet" in text or "other" in text]
    assert editor.messages == []


def save(editor: Editor, uri: str) -> None:
    editor.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))


def commit(folder: Path, text: str) -> None:
    """Make a worktree with a committed a.py."""
    folder.mkdir()
    (folder / "a.py").write_text(text)
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", "a.py"), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run([require_program("git"), *arguments], cwd=folder, check=True, capture_output=True)


async def test_changes_since_the_last_commit(connect: Connect, tmp_path: Path) -> None:
    """Only lines that differ from the last commit are marked, even before the lines are saved."""
    folder = tmp_path / "project"
    commit(folder, "a != b\nc\n")
    editor = await connect(folder=folder)
    uri = (folder / "a.py").as_uri()
    editor.open(uri, "a != b\nc\n")
    assert (await show(editor, "pellucid.showSurpriseInChanges", uri))[
        "message"
    ] == "No line here differs from the last commit."
    editor.insert(uri, 2, 0, "d != e\n")
    assert (await show(editor, "pellucid.showSurpriseInChanges", uri))["marks"] == 1
    await until(lambda: [hint.range.start.line for hint in shown(editor, uri)] == [2])
    above = {"start": {"line": 0, "character": 0}, "end": {"line": 2, "character": 0}}
    nothing = await show(editor, "pellucid.showSurpriseInChanges", uri, range=above)
    assert nothing["message"] == "No line here differs from the last commit."
    await until(lambda: not shown(editor, uri))


@pytest.mark.parametrize(
    ("uri", "language", "options", "sentence"),
    [
        ("file:///project/.env", "python", {}, "never sent to the model"),
        (URI, "markdown", {}, "markdown is not code, so it is not searched."),
        (URI, "python", {"surprise": "off"}, "The setting pellucid.surprise is off."),
        (URI, "python", {"enabled": False}, "The setting pellucid.enabled is false."),
        (URI, "python", {"completion": {"languagesOff": ["python"]}}, "languagesOff contains python"),
    ],
)
async def test_refusals(
    connect: Connect, assistant: ScriptedAssistant, uri: str, language: str, options: dict[str, Any], sentence: str
) -> None:
    """A forbidden document is not read, and the error has the reason."""
    editor = await connect(options=options)
    editor.open(uri, TEXT, language)
    with pytest.raises(Exception, match=sentence):
        await editor.request("pellucid/surprise", {"textDocument": {"uri": uri}})
    assert read(assistant) == []


async def test_what_is_forbidden_while_git_runs(
    connect: Connect, assistant: ScriptedAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read if Pellucid is switched off while git still prints the last commit."""
    folder, tools = tmp_path / "project", tmp_path / "tools"
    commit(folder, "a\n")
    tools.mkdir()
    git = shutil.which("git")
    (tools / "git").write_text(
        f'#!/bin/sh\ntouch {tools}/begun\nuntil [ -e {tools}/go ]; do sleep 0.05; done\nexec {git} "$@"\n'
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    editor = await connect(folder=folder)
    uri = (folder / "a.py").as_uri()
    editor.open(uri, TEXT)
    search = asyncio.create_task(show(editor, "pellucid.showSurpriseInChanges", uri))
    await until((tools / "begun").exists)
    await editor.command("pellucid.toggle")
    (tools / "go").touch()
    with pytest.raises(Exception, match="The search was cancelled"):
        await search
    assert read(assistant) == []


@pytest.mark.parametrize("how", ["toggle", "setting", "close"])
async def test_marks_vanish(connect: Connect, how: str) -> None:
    """Hints and actions vanish with the document, or if Pellucid or the setting is switched off."""
    editor = await connect(text=TEXT)
    await show(editor)
    await until(lambda: bool(shown(editor)))
    if how == "toggle":
        await editor.command("pellucid.toggle")
    elif how == "setting":
        changed = types.DidChangeConfigurationParams({"pellucid": {"surprise": "off"}})
        editor.client.workspace_did_change_configuration(changed)
    else:
        editor.close(URI)
    await until(lambda: not shown(editor))
    if how != "close":
        assert await actions(editor, 0) == []


async def test_wrong_requests(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A hopeless request, and a command without a document, are refused with the reason."""
    editor = await connect(text=TEXT)
    empty = {"start": {"line": 1, "character": 2}, "end": {"line": 1, "character": 2}}
    backwards = {"start": {"line": 1, "character": 2}, "end": {"line": 0, "character": 2}}
    hopeless: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "limit should be a whole number of 1 or more, not 0"),
        ({"range": empty}, "The range is empty"),
        ({"range": backwards}, "The range is empty"),
    ]
    for more, sentence in hopeless:
        with pytest.raises(Exception, match=sentence):
            await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}, **more})
    without: list[list[Any]] = [[], ["text"], [{}]]
    for arguments in without:
        with pytest.raises(Exception, match=r"pellucid\.showSurprise needs"):
            await editor.command("pellucid.showSurprise", *arguments)
    incomplete: list[dict[str, Any]] = [{}, {"textDocument": {}}]
    for argument in incomplete:
        with pytest.raises(Exception, match=r"pellucid\.clearSurprise.* needs textDocument"):
            await editor.command("pellucid.clearSurprise", argument)
    assert read(assistant) == []
