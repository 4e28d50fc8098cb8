"""The Copilot methods apart from suggestions: account, settings, models, panels and chat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcMethodNotFound

from support.editors import lsp_client
from support.editors.lsp_client import Editor, until
from support.servers.http_servers import TINY, LiveServer, ScriptedAssistant, spoken

URI = "file:///project/a.py"
TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"

Start = Callable[..., Awaitable[Editor]]


@pytest.fixture
async def start(model_server: LiveServer, assistant: ScriptedAssistant, editor_homes: None) -> AsyncIterator[Start]:
    """Start an editor with a Copilot plugin, without Pellucid's settings in ``initialize``."""
    started: list[Editor] = []
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]

    async def start(client: str | None = None) -> Editor:
        options = {
            "editorInfo": {"name": "Neovim", "version": "0.11"},
            "editorPluginInfo": {"name": "copilot.lua", "version": "1.0"},
        }
        editor = await lsp_client.start_here(options, copilot=True, client=client)
        started.append(editor)
        change(editor, pellucid={"server": {"url": model_server.url, "start": False}, "completion": {"ahead": False}})
        return editor

    yield start
    for editor in started:
        await editor.leave()


def change(editor: Editor, **settings: Any) -> None:
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings))


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("checkStatus", {"options": {"localChecksOnly": True}, "_": True}, {"status": "OK", "user": "local"}),
        ("checkStatus", {"dummy": "checkStatus"}, {"status": "OK", "user": "local"}),
        ("checkStatus", None, {"status": "OK", "user": "local"}),
        ("signIn", {}, {"status": "AlreadySignedIn", "user": "local"}),
        ("signInInitiate", None, {"status": "AlreadySignedIn", "user": "local"}),
        ("signInConfirm", {"userCode": "1234-5678"}, {"status": "OK", "user": "local"}),
        ("signOut", {"_": True}, {"status": "NotSignedIn"}),
        (
            "textDocument/copilotInlineEdit",
            {"textDocument": {"uri": URI, "version": 1}, "position": {"line": 0, "character": 0}},
            {"edits": []},
        ),
        (
            "textDocument/copilotPanelCompletion",
            {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}},
            {"items": []},
        ),
        ("getPanelCompletions", {"panelId": "panel:1", "doc": {"uri": URI}}, {"solutionCountTarget": 0}),
    ],
)
async def test_answers(start: Start, method: str, params: Any, result: dict[str, Any]) -> None:
    """No sign-in is needed: answers are objects, whatever the parameters, and no browser opens."""
    editor = await start()

    answer = await editor.request(method, params)

    assert answer._asdict() == result
    assert editor.client.shown_documents == []


async def test_nothing_to_download_for_sublime(start: Start) -> None:
    """LSP-copilot gets an empty user name, so that no picture is downloaded from GitHub."""
    editor = await start("Sublime Text LSP")

    assert (await editor.request("checkStatus", {}))._asdict() == {"status": "OK", "user": ""}


async def test_editor_and_version(start: Start) -> None:
    """The editor's information is accepted, and the version is Pellucid's."""
    editor = await start()

    assert (
        await editor.request(
            "setEditorInfo", {"editorInfo": {"name": "vscode", "version": "4200"}, "editorPluginInfo": {}}
        )
        == "OK"
    )
    assert editor.result.server_info is not None
    assert (await editor.request("getVersion", {"_": True})).version == editor.result.server_info.version


async def test_models(start: Start) -> None:
    """The model server's models are listed; a selected model is used, an unknown model ignored."""
    editor = await start()
    (model,) = await editor.request("copilot/models", None)
    assert model == {"id": TINY, "modelName": TINY, "scopes": ["completion"], "default": True}

    editor.open(URI, TEXT)
    for name in ("gpt-41-copilot", TINY, ""):
        change(editor, github={"copilot": {"selectedCompletionModel": name}})
        assert await editor.texts(URI, 1, 7) == ["urn a"]
    assert editor.messages == []


async def test_models_while_off(start: Start) -> None:
    """While suggestions are off, even the names of the models are not requested."""
    editor = await start()
    await editor.command("pellucid.toggle")

    with pytest.raises(JsonRpcException, match="Suggestions are switched off everywhere"):
        await editor.request("copilot/models", None)
    assert (await editor.request("pellucid/status")).state == "off"


async def test_disabled_languages(start: Start) -> None:
    """Languages switched off by the client get no suggestions, until the setting changes."""
    editor = await start()
    editor.open(URI, TEXT)

    change(
        editor,
        disabledLanguages=[{"languageId": "python"}, {"languageId": "."}, 7],
        telemetry={"telemetryLevel": "all"},
    )
    change(editor, http={"proxy": "127.0.0.1:3128"}, mcp="{}", nextEditSuggestions={"enabled": True})
    assert await editor.texts(URI, 1, 7) == []

    change(editor, disabledLanguages=[])
    assert await editor.texts(URI, 1, 7) == ["urn a"]
    assert editor.messages == []


async def test_no_automatic_completions(start: Start) -> None:
    """Without automatic completions, only completions requested by hand are given."""
    editor = await start()
    editor.open(URI, TEXT)
    doc = {"uri": URI, "version": 1, "position": {"line": 1, "character": 7}}

    change(editor, enableAutoCompletions=False)

    assert await editor.texts(URI, 1, 7) == []
    assert (await editor.request("getCompletions", {"doc": doc})).completions == []
    assert len(await editor.texts(URI, 1, 7, invoked=True)) > 0
    assert len((await editor.request("getCompletionsCycling", {"doc": doc})).completions) > 0


async def test_own_settings_are_checked(start: Start) -> None:
    """A misspelt setting under ``pellucid`` is reported."""
    editor = await start()

    change(editor, pellucid={"completion": {"levle": "quiet"}})

    await until(lambda: len(editor.messages) == 1)
    assert "pellucid.completion.levle is not a setting" in editor.messages[0]


async def test_panels_end(start: Start) -> None:
    """The end of the panel's empty list is reported."""
    editor = await start()
    done: list[Any] = []
    editor.client.feature("PanelSolutionsDone")(lambda given: done.append(given))

    await editor.request("getPanelCompletions", {"panelId": "panel:1"})

    await until(lambda: len(done) == 1)
    assert done[0]._asdict() == {"panelId": "panel:1", "status": "OK"}


async def test_null_parameters_and_unknown_notifications(start: Start) -> None:
    """``initialized`` and ``didFocus`` accept null; chat is refused, unknown messages ignored."""
    editor = await start()
    editor.notify_raw("initialized", None)
    editor.notify_raw("textDocument/didFocus", None)
    editor.notify_raw("textDocument/didFocus", {"textDocument": {"uri": URI}})
    editor.notify_raw("textDocument/didShowInlineEdit", {"item": {"command": None}})
    for method in ("conversation/create", "conversation/preconditions", "conversation/templates"):
        with pytest.raises(JsonRpcMethodNotFound):
            await editor.request(method, {"options": {}, "_": True})

    editor.open(URI, TEXT)
    assert await editor.texts(URI, 1, 7) == ["urn a"]
    assert editor.messages == []
