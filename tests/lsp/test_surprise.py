"""Tests of marks on surprising code: the request, hints, code actions, and the lines that differ from the last commit."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from pellucid.tokens import Alternative, Finish, FinishReason, ScoreQuery, Token, Usage
from support.editors.lsp_client import INLINE, Connect, Editor, until, within
from support.servers.http_servers import ScriptedAssistant

URI = "file:///project/a.py"
TEXT = "x = '😀'; y = a != b\nz = 1\n"
WRITTEN, BETTER = -9.0, -3.0
"""The log probabilities of a line with the bug, and of any other."""


@pytest.fixture(autouse=True)
def doubts(assistant: ScriptedAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model doubt each ``!=``, and find lines without it likelier."""

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


async def actions(editor: Editor, line: int, uri: str = URI) -> list[Any]:
    here = types.Range(types.Position(line, 0), types.Position(line, 100))
    params = types.CodeActionParams(types.TextDocumentIdentifier(uri), here, types.CodeActionContext([]))
    return list(await within(editor.client.text_document_code_action_async(params)) or [])


@pytest.mark.parametrize(("encoding", "width"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
async def test_the_request(connect: Connect, encoding: str, width: int) -> None:
    """Each mark has its range in the client's units, the probabilities of what is written and of its alternatives, and a reason."""
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(encoding)])
    editor = await connect(capabilities=types.ClientCapabilities(general=general, text_document=INLINE))
    editor.open(URI, TEXT)

    result = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}})

    (mark,) = result.marks
    assert (mark.range.start.line, mark.range.start.character, mark.range.end.character) == (0, 15 + width - 1, 17 + width - 1)
    (alternative,) = mark.alternatives
    assert (mark.text, alternative.text, mark.logOdds) == ("!=", "==", BETTER - WRITTEN)
    assert (mark.probability, alternative.probability) == (pytest.approx(0.0025, abs=1e-4), pytest.approx(0.9975, abs=1e-4))
    assert mark.reason == "== fits better than != between the lines around it: probability 1.00 instead of 0.00."
    assert result.message == "1 word fits worse than another."


async def test_hints_and_their_actions(connect: Connect) -> None:
    """The command shows hints, each alternative is an action that puts it in, and the other command clears them."""
    editor = await connect()
    editor.open(URI, TEXT)
    result = await show(editor)
    assert (result["marks"], result["message"]) == (1, "1 word fits worse than another.")
    await until(lambda: bool(shown(editor)))
    (hint,) = shown(editor)
    assert (hint.severity, hint.source, hint.code) == (types.DiagnosticSeverity.Hint, "pellucid", "surprise")
    (action,) = await actions(editor, 0)
    assert action.title == "Replace `!=` with `==` (p 1.00 instead of 0.00)"
    (edit,) = action.edit.changes[URI]
    assert (edit.range, edit.new_text) == (hint.range, "==")
    assert await actions(editor, 1) == []

    await show(editor, "pellucid.clearSurprise")

    await until(lambda: not shown(editor))
    assert await actions(editor, 0) == []


async def test_marks_follow_the_text(connect: Connect) -> None:
    """A mark moves with lines that are added above it, and vanishes when its own line changes."""
    editor = await connect()
    editor.open(URI, TEXT)
    await show(editor)
    editor.insert(URI, 0, 0, "# above\n")
    await until(lambda: [hint.range.start.line for hint in shown(editor)] == [1])
    ((edit,),) = [action.edit.changes[URI] for action in await actions(editor, 1)]
    assert edit.range == shown(editor)[0].range
    editor.insert(URI, 1, 0, " ")
    await until(lambda: not shown(editor))


async def test_a_range_and_a_limit(connect: Connect) -> None:
    """Only the given range is searched, and of its marks those that fit worst are returned, up to the limit."""
    editor = await connect()
    editor.open(URI, "a != b\nc != d\ne != f\n")
    later = {"start": {"line": 1, "character": 0}, "end": {"line": 3, "character": 0}}
    found = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}, "range": later})
    assert [mark.range.start.line for mark in found.marks] == [1, 2]
    one = await editor.request("pellucid/surprise", {"textDocument": {"uri": URI}, "range": later, "limit": 1})
    assert len(one.marks) == 1


async def test_an_edit_ends_the_search(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A change of the document ends a search that is running, and the error says so."""
    editor = await connect()
    editor.open(URI, TEXT)
    assistant.before = lambda _: asyncio.sleep(3600)
    search = asyncio.create_task(show(editor))
    await until(lambda: bool(read(assistant)))
    editor.insert(URI, 1, 0, " ")
    with pytest.raises(Exception, match="The document has changed"):
        await search
    assert shown(editor) == []


async def test_on_save(connect: Connect, assistant: ScriptedAssistant) -> None:
    """With the setting the document is searched when it is saved, and without it it is not."""
    quiet = await connect()
    quiet.open(URI, TEXT)
    save(quiet, URI)
    await quiet.request("pellucid/status")
    assert read(assistant) == []
    editor = await connect(options={"surprise": "onSave"})
    editor.open(URI, TEXT)
    save(editor, URI)
    await until(lambda: len(shown(editor)) == 1)
    editor.open("file:///project/notes.md", "a != b\n", "markdown")
    save(editor, "file:///project/notes.md")
    await editor.request("pellucid/status")
    assert editor.messages == []


def save(editor: Editor, uri: str) -> None:
    editor.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))


def commit(folder: Path, text: str) -> None:
    """Make a worktree in which a.py is committed."""
    folder.mkdir()
    (folder / "a.py").write_text(text)
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", "a.py"), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


async def test_changes_since_the_last_commit(connect: Connect, tmp_path: Path) -> None:
    """Only lines that differ from the last commit are marked, also those that are not saved yet."""
    folder = tmp_path / "project"
    commit(folder, "a != b\nc\n")
    editor = await connect(folder=folder)
    uri = (folder / "a.py").as_uri()
    editor.open(uri, "a != b\nc\n")
    assert (await show(editor, "pellucid.showSurpriseInChanges", uri))["message"] == "No line here differs from the last commit."
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
        (URI, "markdown", {}, "Only code is searched for surprises, and markdown is none."),
        (URI, "python", {"surprise": "off"}, "The setting pellucid.surprise is off."),
        (URI, "python", {"enabled": False}, "The setting pellucid.enabled is false."),
        (URI, "python", {"completion": {"languagesOff": ["python"]}}, "languagesOff contains python"),
    ],
)
async def test_refusals(
    connect: Connect, assistant: ScriptedAssistant, uri: str, language: str, options: dict[str, Any], sentence: str
) -> None:
    """A document that must not be read is not read, and the error is the reason."""
    editor = await connect(options=options)
    editor.open(uri, TEXT, language)
    with pytest.raises(Exception, match=sentence):
        await editor.request("pellucid/surprise", {"textDocument": {"uri": uri}})
    assert read(assistant) == []


@pytest.mark.parametrize("arguments", [[], ["text"], [{}]])
async def test_wrong_arguments(connect: Connect, arguments: list[Any]) -> None:
    """A command without a document is refused with a sentence that names what it needs."""
    editor = await connect()
    with pytest.raises(Exception, match=r"pellucid\.showSurprise needs"):
        await editor.command("pellucid.showSurprise", *arguments)


async def test_a_closed_document(connect: Connect) -> None:
    """Its hints vanish with it."""
    editor = await connect()
    editor.open(URI, TEXT)
    await show(editor)
    await until(lambda: bool(shown(editor)))
    editor.close(URI)
    await until(lambda: not shown(editor))
