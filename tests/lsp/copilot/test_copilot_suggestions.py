"""Suggestions over the Copilot protocol: the clients' messages and a scripted model server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled

from support.editors import lsp_client
from support.editors.lsp_client import Editor, id_of, until
from support.servers.http_servers import LiveServer, ScriptedAssistant, spoken

URI = "file:///project/a.py"
TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"
AT = {"line": 1, "character": 7}
SUM = ["urn", " a", " +", " b", "\n", "\n", "x"]
ACCEPTED = "github.copilot.didAcceptCompletionItem"
EDITOR = {
    "editorInfo": {"name": "Emacs", "version": "30.1"},
    "editorPluginInfo": {"name": "copilot.el", "version": "0.5"},
}

Start = Callable[..., Awaitable[Editor]]


@pytest.fixture
async def start(model_server: LiveServer, assistant: ScriptedAssistant, editor_homes: None) -> AsyncIterator[Start]:
    """Start an editor with a Copilot plugin; ``client`` is the name in ``clientInfo``."""
    started: list[Editor] = []
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(SUM)]

    async def start(client: str | None = None, **given: Any) -> Editor:
        own = {"server": {"url": model_server.url, "start": False}, "completion": {"ahead": False}}
        options = {**EDITOR, "networkProxy": {"host": "127.0.0.1"}, "pellucid": own}
        editor = await lsp_client.start_here(options, copilot=True, client=client, **given)
        started.append(editor)
        return editor

    yield start
    for editor in started:
        await editor.leave()


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


async def test_initialize(start: Start) -> None:
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


async def test_inline_completion(start: Start) -> None:
    """An item has the text at the cursor and the command for the client to run on acceptance."""
    editor = await start()
    editor.open(URI, TEXT)
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


async def test_command_as_a_notification(start: Start) -> None:
    """A command sent as a notification runs without an answer."""
    editor = await start()
    editor.open(URI, TEXT)
    (item,) = await editor.inline(URI, 1, 7)

    editor.notify_raw("workspace/executeCommand", {"command": ACCEPTED, "arguments": [id_of(item)], "_": True})
    editor.notify_raw("workspace/executeCommand", {"command": "copilot.unknown", "arguments": []})

    async with asyncio.timeout(lsp_client.LIMIT_SECONDS):
        while await counts(editor) != (1, 1):
            await asyncio.sleep(0.01)
    assert editor.messages == []


async def test_get_completions(start: Start) -> None:
    """The text replaces a range from column 0; the display text starts at the cursor."""
    editor = await start()
    editor.open(URI, "x = 'é\U0001f60b'\n    f(ret)\r\n\r\n")

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
async def test_positions_past_the_end(start: Start, at: dict[str, int]) -> None:
    """A position past the end of a line or of the document means the end."""
    editor = await start()
    editor.open(URI, "def add(a, b):\n    ret")

    (one,) = (await editor.request("getCompletions", doc(position=at))).completions

    assert (one.text, one.position._asdict(), one.range.end._asdict()) == ("    return a + b", AT, AT)


async def test_cancel(start: Start, assistant: ScriptedAssistant) -> None:
    """A cancelled request gets the error -32800, ignored by clients."""
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def before(index: int) -> None:
        if index == 2:
            loop.call_soon_threadsafe(reached.set)
            await asyncio.Event().wait()

    assistant.before = before
    editor = await start()
    editor.open(URI, TEXT)
    answer = editor.client.protocol.send_request("getCompletions", doc(), msg_id="mine")
    await lsp_client.within(reached.wait())
    editor.notify_raw("$/cancelRequest", {"id": "mine"})

    with pytest.raises(JsonRpcRequestCancelled):
        await lsp_client.within(asyncio.wrap_future(answer))


async def test_cycling(start: Start) -> None:
    """Cycling gives several suggestions, the best first."""
    editor = await start()
    editor.open(URI, TEXT)
    (first,) = (await editor.request("getCompletions", doc())).completions

    found = (await editor.request("getCompletionsCycling", doc())).completions

    assert found[0].text == first.text == "    return a + b"
    assert len({one.text for one in found}) == len(found) > 1


async def test_both_requests_at_once(start: Start, assistant: ScriptedAssistant) -> None:
    """Two simultaneous requests of LSP-copilot share an answer, and the model is asked once."""
    editor = await start("Sublime Text LSP")
    editor.open(URI, TEXT)
    params = {"doc": doc(source=TEXT)["doc"]}
    sent = [
        editor.client.protocol.send_request(method, params) for method in ("getCompletions", "getCompletionsCycling")
    ]

    first, second = [await lsp_client.within(asyncio.wrap_future(one)) for one in sent]

    assert [one.text for one in second.completions] == [one.text for one in first.completions] == ["    return a + b"]
    assert len(assistant.calls) == 1


async def test_a_version_that_comes_late(start: Start) -> None:
    """A request waits a moment for the named version; without the version the answer is empty."""
    editor = await start()
    editor.open(URI, "def add(a, b):\n    re\n")
    ahead = editor.client.protocol.send_request("getCompletions", doc(version=2))
    editor.insert(URI, 1, 6, "t")

    (one,) = (await lsp_client.within(asyncio.wrap_future(ahead))).completions
    never = await editor.request("getCompletions", doc(version=9))

    assert one.text == "    return a + b"
    assert never.completions == []


async def test_the_text_decides(start: Start) -> None:
    """A request with a text is answered if the text is current, whatever the version."""
    editor = await start("Sublime Text LSP")
    editor.open(URI, TEXT)

    assert len((await editor.request("getCompletions", doc(version=77, source=TEXT))).completions) == 1
    assert (await editor.request("getCompletions", doc(version=1, source="x" + TEXT))).completions == []


async def test_neovims_versions(start: Start) -> None:
    """Neovim's version numbers are ignored: requests count changes, but documents start at 0."""
    editor = await start("Neovim")
    editor.open(URI, TEXT)

    assert len((await editor.request("getCompletions", doc(version=1234))).completions) == 1


async def test_line_feeds_for_neovim(start: Start, assistant: ScriptedAssistant) -> None:
    """Neovim's items have no carriage returns, and accepted lengths count none."""
    texts = ["if", " a:", "\n", "        ", "return", " b", "\n", "\n", "\n", "x"]
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(texts)]
    editor = await start("Neovim")
    editor.open(URI, "def add(a, b):\r\n    \r\n\r\n\r\nx = 1\r\n")

    (item,) = await editor.inline(URI, 1, 4)
    (one,) = (await editor.request("getCompletions", doc(position={"line": 1, "character": 4}))).completions
    await editor.request("notifyAccepted", {"uuid": one.uuid, "acceptedLength": len("    if a:\n        ret")})

    assert item.insert_text == "if a:\n        return b"
    assert one.text == "    if a:\n        return b"
    assert (await editor.request("pellucid/tokens", {"id": one.uuid})).text == "if a:\n        ret"


async def test_rejected(start: Start) -> None:
    """A rejected suggestion is not offered again at the same position."""
    editor = await start()
    editor.open(URI, TEXT)
    (one,) = (await editor.request("getCompletions", doc())).completions

    assert await editor.request("notifyRejected", {"uuids": [one.uuid], "_": True}) == "OK"

    assert (await editor.request("getCompletions", doc())).completions == []


async def test_partial_acceptance(start: Start) -> None:
    """A client may return an item with the command alone."""
    editor = await start()
    editor.open(URI, TEXT)
    (item,) = await editor.inline(URI, 1, 7)
    returned = {"command": {"command": ACCEPTED, "arguments": [id_of(item)]}}

    editor.notify("textDocument/didShowCompletion", {"item": returned})
    editor.notify("textDocument/didPartiallyAcceptCompletion", {"item": returned, "acceptedLength": 3})

    assert await counts(editor) == (1, 1)


async def test_status(start: Start) -> None:
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


async def test_failure_is_shown_once(start: Start) -> None:
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


async def test_pulled_settings(start: Start, model_server: LiveServer) -> None:
    """Pellucid's section is requested from the client, and the client's settings still apply."""
    workspace = types.WorkspaceClientCapabilities(configuration=True)
    asked = {"pellucid": {"server": {"url": model_server.url, "start": False}, "completion": {"ahead": False}}}
    editor = await start(capabilities=types.ClientCapabilities(workspace=workspace), configuration=asked)
    editor.open(URI, TEXT)
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
async def test_wrong_parameters(start: Start, method: str, params: Any, missing: str) -> None:
    """The error about an invalid request names the field."""
    editor = await start()

    with pytest.raises(Exception, match=missing):
        await editor.request(method, params)


async def counts(editor: Editor) -> tuple[int, int]:
    """Return the numbers of shown and of accepted suggestions."""
    status = await editor.request("pellucid/status")
    return status.counts.shown, status.counts.accepted
