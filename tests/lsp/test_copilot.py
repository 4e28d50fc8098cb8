"""The Copilot protocol: suggestions, account, settings, models, panels and chat."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcMethodNotFound

from support.editors import lsp_client
from support.editors.lsp_client import URI, Connect, Editor, id_of, until
from support.servers.http_servers import TINY, LiveServer, ScriptedAssistant, spoken

TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"
AT = {"line": 1, "character": 7}
SUM = ["urn", " a", " +", " b", "\n", "\n", "x"]
ACCEPTED = "github.copilot.didAcceptCompletionItem"


@pytest.fixture
def start(connect: Connect, assistant: ScriptedAssistant) -> Connect:
    """Start an editor with a Copilot plugin."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(SUM)]
    return partial(connect, copilot=True)


def doc(version: int | None = 1, **more: Any) -> dict[str, Any]:
    """Return the parameters of getCompletions, as sent by copilot.lua."""
    document = {"uri": URI, "relativePath": "a.py", "insertSpaces": True, "tabSize": 4, "indentSize": 4, "position": AT}
    document |= more if version is None else {"version": version, **more}
    return {
        "doc": document,
        "textDocument": {"uri": URI, "version": version},
        "position": document["position"],
        "_": True,
    }


async def test_initialize(start: Connect) -> None:
    """The client's options raise no error, positions are in UTF-16, and no menu is offered."""
    general = types.GeneralClientCapabilities(position_encodings=["utf-8", "utf-16"])
    editor = await start(capabilities=types.ClientCapabilities(general=general))

    assert editor.result.server_info is not None
    assert editor.result.server_info.name == "pellucid"
    capabilities = editor.result.capabilities
    assert capabilities.position_encoding == "utf-16"
    assert capabilities.inline_completion_provider is not None
    assert capabilities.completion_provider is None
    assert capabilities.execute_command_provider is not None
    assert ACCEPTED in capabilities.execute_command_provider.commands
    assert await counts(editor) == (0, 0)
    assert editor.messages == []


async def test_inline_completion(start: Connect) -> None:
    """An item has the text at the cursor and the command for the client to run on acceptance."""
    editor = await start(text=TEXT)
    params = {
        "textDocument": {"uri": URI, "version": 1},
        "position": AT,
        "context": {"triggerKind": 2},
        "formattingOptions": {"tabSize": 4, "insertSpaces": True},
        "_": True,
    }

    (item,) = (await editor.request_raw("textDocument/inlineCompletion", params)).items

    assert set(item._fields) == {"insertText", "range", "command"}
    assert item.insertText == "urn a + b"
    assert item.range.start._asdict() == item.range.end._asdict() == AT
    assert (item.command.command, len(item.command.arguments)) == (ACCEPTED, 1)
    assert await editor.command(ACCEPTED, id_of(item)) is None
    assert await counts(editor) == (1, 1)


async def test_command_as_a_notification(start: Connect) -> None:
    """A command sent as a notification runs without an answer."""
    editor = await start(text=TEXT)
    (item,) = await editor.inline(URI, 1, 7)

    editor.notify_raw("workspace/executeCommand", {"command": ACCEPTED, "arguments": [id_of(item)], "_": True})
    editor.notify_raw("workspace/executeCommand", {"command": "copilot.unknown", "arguments": []})

    async with asyncio.timeout(lsp_client.LIMIT_SECONDS):
        while await counts(editor) != (1, 1):
            await asyncio.sleep(0.01)
    assert editor.messages == []


async def test_get_completions(start: Connect) -> None:
    """The text replaces a range from column 0; the display text starts at the cursor."""
    editor = await start(text="x = 'é\U0001f60b'\n    f(ret)\r\n\r\n")

    (one,) = (await editor.request("getCompletions", doc(position={"line": 1, "character": 9}))).completions

    assert (one.text, one.displayText, one.docVersion) == ("    f(return a + b)", "urn a + b", 1)
    assert (one.range.start.line, one.range.start.character, one.range.end.line, one.range.end.character) == (
        1,
        0,
        1,
        10,
    )
    assert (one.position.line, one.position.character) == (1, 9)
    assert await editor.request("notifyShown", {"uuid": one.uuid, "_": True}) == "OK"
    assert (
        await editor.request("notifyAccepted", {"uuid": one.uuid, "acceptedLength": len("    f(return a"), "_": True})
        == "OK"
    )
    assert await counts(editor) == (1, 1)
    accepted = await editor.request("pellucid/tokens", {"id": one.uuid})
    assert accepted.accepted is True


@pytest.mark.parametrize("at", [{"line": 1, "character": 99}, {"line": 99, "character": 5}])
async def test_positions_past_the_end(start: Connect, at: dict[str, int]) -> None:
    """A position past the end of a line or of the document means the end."""
    editor = await start(text="def add(a, b):\n    ret")

    (one,) = (await editor.request("getCompletions", doc(position=at))).completions

    assert (one.text, one.position._asdict(), one.range.end._asdict()) == ("    return a + b", AT, AT)


async def test_cycling(start: Connect) -> None:
    """Cycling gives several suggestions, the best first."""
    editor = await start(text=TEXT)
    (first,) = (await editor.request("getCompletions", doc())).completions

    found = (await editor.request("getCompletionsCycling", doc())).completions

    assert found[0].text == first.text == "    return a + b"
    assert len({one.text for one in found}) == len(found) > 1


async def test_a_version_that_comes_late(start: Connect) -> None:
    """A request waits a moment for the named version; without the version the answer is empty."""
    editor = await start(text="def add(a, b):\n    re\n")
    ahead = editor.client.protocol.send_request("getCompletions", doc(version=2))
    editor.insert(URI, 1, 6, "t")

    (one,) = (await lsp_client.within(asyncio.wrap_future(ahead))).completions
    never = await editor.request("getCompletions", doc(version=9))

    assert one.text == "    return a + b"
    assert never.completions == []


async def test_the_text_decides(start: Connect) -> None:
    """A request with a text is answered if the text is current, whatever the version."""
    editor = await start(client="Sublime Text LSP", text=TEXT)

    assert len((await editor.request("getCompletions", doc(version=77, source=TEXT))).completions) == 1
    assert (await editor.request("getCompletions", doc(version=1, source="x" + TEXT))).completions == []


async def test_neovims_versions(start: Connect) -> None:
    """Neovim's version numbers are ignored: requests count changes, but documents start at 0."""
    editor = await start(client="Neovim", text=TEXT)

    assert len((await editor.request("getCompletions", doc(version=1234))).completions) == 1


async def test_line_feeds_for_neovim(start: Connect, assistant: ScriptedAssistant) -> None:
    """Neovim's items have no carriage returns, and accepted lengths count none."""
    texts = ["if", " a:", "\n", "        ", "return", " b", "\n", "\n", "\n", "x"]
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(texts)]
    editor = await start(client="Neovim", text="def add(a, b):\r\n    \r\n\r\n\r\nx = 1\r\n")

    (item,) = await editor.inline(URI, 1, 4)
    (one,) = (await editor.request("getCompletions", doc(position={"line": 1, "character": 4}))).completions
    await editor.request("notifyAccepted", {"uuid": one.uuid, "acceptedLength": len("    if a:\n        ret")})

    assert item.insert_text == "if a:\n        return b"
    assert one.text == "    if a:\n        return b"
    assert (await editor.request("pellucid/tokens", {"id": one.uuid})).text == "if a:\n        ret"


async def test_rejected(start: Connect) -> None:
    """A rejected suggestion is not offered again at the same position."""
    editor = await start(text=TEXT)
    (one,) = (await editor.request("getCompletions", doc())).completions

    assert await editor.request("notifyRejected", {"uuids": [one.uuid], "_": True}) == "OK"

    assert (await editor.request("getCompletions", doc())).completions == []


async def test_partial_acceptance(start: Connect) -> None:
    """A client may return an item with the command alone."""
    editor = await start(text=TEXT)
    (item,) = await editor.inline(URI, 1, 7)
    returned = {"command": {"command": ACCEPTED, "arguments": [id_of(item)]}}

    editor.notify("textDocument/didShowCompletion", {"item": returned})
    editor.notify("textDocument/didPartiallyAcceptCompletion", {"item": returned, "acceptedLength": 3})

    assert await counts(editor) == (1, 1)


async def test_status(start: Connect) -> None:
    """The client is notified of a generation's start and end, in the new and the old form."""
    editor = await start()
    states: list[tuple[bool, str]] = []
    former: list[str] = []
    editor.client.feature("didChangeStatus")(lambda state: states.append((state.busy, state.kind)))
    editor.client.feature("statusNotification")(lambda state: former.append(state.status))
    editor.open(URI, TEXT)
    await editor.request("getCompletions", doc())

    await until(lambda: former[-1:] == ["Normal"])
    assert states[-2:] == [(True, "Normal"), (False, "Normal")]
    assert former[-2:] == ["InProgress", "Normal"]

    await editor.command("pellucid.toggle")
    await until(lambda: states[-1] == (False, "Inactive"))
    assert former[-1] == "Inactive"


async def test_failure_is_shown_once(start: Connect) -> None:
    """Requests without a model server do not repeat the error, shown each time by sidekick.nvim."""
    editor = await start()
    states: list[tuple[bool, str]] = []
    editor.client.feature("didChangeStatus")(lambda state: states.append((state.busy, state.kind)))
    nowhere = {"server": {"url": "http://127.0.0.1:9", "start": False}, "completion": {"ahead": False}}
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams({"pellucid": nowhere}))
    editor.open(URI, TEXT)
    await until(lambda: states[-1:] == [(False, "Error")])
    shown = list(states)

    for character in (6, 7):
        assert await editor.texts(URI, 1, character) == []

    assert states == shown


async def test_pulled_settings(start: Connect, model_server: LiveServer) -> None:
    """Pellucid's section is requested from the client, and the client's settings still apply."""
    workspace = types.WorkspaceClientCapabilities(configuration=True)
    asked = {"pellucid": {"server": {"url": model_server.url, "start": False}, "completion": {"ahead": False}}}
    editor = await start(capabilities=types.ClientCapabilities(workspace=workspace), configuration=asked, text=TEXT)
    assert (await editor.request("getCompletions", doc())).completions != []

    changed = types.DidChangeConfigurationParams({"disabledLanguages": [{"languageId": "python"}]})
    editor.client.workspace_did_change_configuration(changed)

    async with asyncio.timeout(lsp_client.LIMIT_SECONDS):
        # Wait for the client's answer.
        while (await editor.request("getCompletions", doc())).completions:
            await asyncio.sleep(0.05)
    assert editor.messages == []


@pytest.mark.parametrize(
    ("method", "params", "missing"),
    [
        ("getCompletions", {"_": True}, "getCompletions needs doc"),
        ("getCompletions", {"doc": {"uri": URI}}, "getCompletions: doc needs position"),
        ("getCompletionsCycling", {"doc": {"position": AT}}, "getCompletionsCycling: doc needs uri"),
        ("notifyRejected", None, "notifyRejected needs uuids"),
        ("notifyRejected", {"uuids": "a"}, "notifyRejected: uuids should be a list of strings"),
        ("notifyAccepted", {"uuid": 7}, "notifyAccepted: uuid should be a string"),
    ],
)
async def test_wrong_parameters(start: Connect, method: str, params: Any, missing: str) -> None:
    """The error about an invalid request names the field."""
    editor = await start()

    with pytest.raises(Exception, match=missing):
        await editor.request(method, params)


async def counts(editor: Editor) -> tuple[int, int]:
    """Return the numbers of shown and of accepted suggestions."""
    status = await editor.request("pellucid/status")
    return status.counts.shown, status.counts.accepted


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
async def test_answers(start: Connect, method: str, params: Any, result: dict[str, Any]) -> None:
    """No sign-in is needed: answers are objects, whatever the parameters, and no browser opens."""
    editor = await start()

    answer = await editor.request(method, params)

    assert answer._asdict() == result
    assert editor.client.shown_documents == []


async def test_nothing_to_download_for_sublime(start: Connect) -> None:
    """LSP-copilot gets an empty user name, so that no picture is downloaded from GitHub."""
    editor = await start(client="Sublime Text LSP")

    assert (await editor.request("checkStatus", {}))._asdict() == {"status": "OK", "user": ""}


async def test_editor_and_version(start: Connect) -> None:
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


async def test_models(start: Connect) -> None:
    """The model server's models are listed; a selected model is used, an unknown model ignored."""
    editor = await start()
    (model,) = await editor.request("copilot/models", None)
    assert model == {"id": TINY, "modelName": TINY, "scopes": ["completion"], "default": True}

    editor.open(URI, TEXT)
    for name in ("gpt-41-copilot", TINY, ""):
        change(editor, github={"copilot": {"selectedCompletionModel": name}})
        assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    assert editor.messages == []


async def test_models_while_off(start: Connect) -> None:
    """While suggestions are off, even the names of the models are not requested."""
    editor = await start()
    await editor.command("pellucid.toggle")

    with pytest.raises(JsonRpcException, match="Suggestions are switched off everywhere"):
        await editor.request("copilot/models", None)
    assert (await editor.request("pellucid/status")).state == "off"


async def test_disabled_languages(start: Connect) -> None:
    """Languages switched off by the client get no suggestions, until the setting changes."""
    editor = await start(text=TEXT)

    change(
        editor,
        disabledLanguages=[{"languageId": "python"}, {"languageId": "."}, 7],
        telemetry={"telemetryLevel": "all"},
    )
    change(editor, http={"proxy": "127.0.0.1:3128"}, mcp="{}", nextEditSuggestions={"enabled": True})
    assert await editor.texts(URI, 1, 7) == []

    change(editor, disabledLanguages=[])
    assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    assert editor.messages == []


async def test_no_automatic_completions(start: Connect) -> None:
    """Without automatic completions, only completions requested by hand are given."""
    editor = await start(text=TEXT)
    doc = {"uri": URI, "version": 1, "position": {"line": 1, "character": 7}}

    change(editor, enableAutoCompletions=False)

    assert await editor.texts(URI, 1, 7) == []
    assert (await editor.request("getCompletions", {"doc": doc})).completions == []
    assert len(await editor.texts(URI, 1, 7, invoked=True)) > 0
    assert len((await editor.request("getCompletionsCycling", {"doc": doc})).completions) > 0


async def test_own_settings_are_checked(start: Connect) -> None:
    """A misspelt setting under ``pellucid`` is reported."""
    editor = await start()

    change(editor, pellucid={"completion": {"levle": "quiet"}})

    await until(lambda: len(editor.messages) == 1)
    assert "pellucid.completion.levle is not a setting" in editor.messages[0]


async def test_panels_end(start: Connect) -> None:
    """The end of the panel's empty list is reported."""
    editor = await start()
    done: list[Any] = []
    editor.client.feature("PanelSolutionsDone")(lambda given: done.append(given))

    await editor.request("getPanelCompletions", {"panelId": "panel:1"})

    await until(lambda: len(done) == 1)
    assert done[0]._asdict() == {"panelId": "panel:1", "status": "OK"}


async def test_null_parameters_and_unknown_notifications(start: Connect) -> None:
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
    assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    assert editor.messages == []
