"""Nothing forbidden is sent: secrets, ignored files, and text after switching off or closing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import client_capabilities

from support.editors import lsp_client
from support.editors.lsp_client import URI, Connect, Editor, id_of, until
from support.servers.http_servers import ScriptedAssistant, spoken

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
    explained = await editor.request("pellucid/explain", {})
    assert (explained.outcome, ".env" in explained.reason) == ("off", True)
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


@pytest.fixture
def hanging(assistant: ScriptedAssistant) -> ScriptedAssistant:
    """A model that generates two tokens and then waits."""
    assistant.script = [
        spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", " +", " b", "\n", "x"])
    ]

    async def before(index: int) -> None:
        if index == 2:
            await asyncio.Event().wait()

    assistant.before = before
    return assistant


async def running(editor: Editor, assistant: ScriptedAssistant) -> asyncio.Future[Any]:
    """Return a request during generation."""
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
    """Closing a document cancels the requests and drops the explanation."""
    editor = await connect()
    answer = await running(editor, hanging)

    editor.close(URI)

    await until(hanging.closed.is_set)
    assert (await lsp_client.within(answer)).items == ()
    assert await editor.request("pellucid/explain", {"textDocument": {"uri": URI}}) is None


async def test_nothing_of_our_own_requests_is_sent_when_off(connect: Connect, assistant: ScriptedAssistant) -> None:
    """While suggestions are off, branches and scores are refused, and explanations ask no model."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect(text=TEXT)
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


async def test_attachments_of_a_chat(connect: Connect, tmp_path: Path) -> None:
    """A file has its path in the workspace as name; a secret or ignored one has a refusal."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("local.py\n")
    editor = await connect(folder=tmp_path, options={"enabled": False})

    async def told(name: str, text: str = TEXT) -> tuple[str, str | None]:
        given = {"textDocument": {"uri": (tmp_path / name).as_uri()}, "text": text}
        answer = await editor.request("pellucid/attachment", given)
        return answer.name, answer.refusal

    assert await told("src/add.py") == ("src/add.py", None)
    for name, reason in ((".env", "may hold secrets"), ("local.py", "ignores it")):
        _, refusal = await told(name)
        assert refusal is not None
        assert reason in refusal
    assert (await told("data.bin", "\0"))[1] == "data.bin is never sent to the model: it is not text."
