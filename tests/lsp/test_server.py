"""Tests of the language server with a real client and a scripted model server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcMethodNotFound
from pytest_lsp import client_capabilities

from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.editors.lsp_client import INLINE, LIMIT_SECONDS, URI, Connect, Editor, arguments_of, id_of, until
from support.editors.token_factory import token
from support.servers.http_servers import TINY, ScriptedAssistant, spoken

TEXT = "def add(a, b):\n    ret\n\n\nx = 1\n"
AT = (1, 7)
SUM = ["urn", " a", " +", " b", "\n", "\n", "x"]
FIRST = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEpAIBAAKCAQEA' * 4}\n-----END RSA PRIVATE KEY-----\n"


def make_tokens(assistant: ScriptedAssistant, *texts: str) -> None:
    """Set the model server's next answers."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(texts)]


@pytest.fixture(autouse=True)
def sum_is_said(assistant: ScriptedAssistant) -> None:
    """Let the model server complete the function in TEXT by default."""
    make_tokens(assistant, *SUM)


def position(at: tuple[int, int]) -> types.Position:
    return types.Position(*at)


async def test_initialize(connect: Connect) -> None:
    """The server offers commands, inline completion, and the menu only as a replacement."""
    with_ghost = (await connect()).result.capabilities
    without = (await connect(capabilities=types.ClientCapabilities())).result.capabilities

    assert with_ghost.inline_completion_provider == types.InlineCompletionOptions()
    assert (with_ghost.completion_provider is None, without.completion_provider is None) == (True, False)
    assert with_ghost.execute_command_provider is not None
    assert set(with_ghost.execute_command_provider.commands) == {
        "pellucid.accepted",
        "pellucid.toggle",
        "pellucid.toggleWorkspace",
        "pellucid.restart",
        "pellucid.editAccepted",
        "pellucid.editDismissed",
        "pellucid.explainCode",
        "pellucid.instruct",
        "pellucid.openPage",
        "pellucid.showSurprise",
        "pellucid.showSurpriseInChanges",
        "pellucid.clearSurprise",
    }


@pytest.mark.process
def test_light_start() -> None:
    """Imports before ``initialize`` include no typer, HTTP client, tensor library or TOML."""
    modules = "pellucid.__main__, pellucid_lsp.methods.standard_methods, pellucid_lsp.copilot.copilot_methods"
    program = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )

    assert "pygls" in loaded
    assert not loaded & {"torch", "transformers", "gradio", "numpy", "typer", "pydantic", "httpx", "jinja2", "tomllib"}


async def test_inline_completion(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An item has the line's text, the cursor's range, a filter text and the acceptance command."""
    editor = await connect(text=TEXT)

    (item,) = await editor.inline(URI, *AT)

    assert item.insert_text == item.filter_text == "urn a + b"
    assert item.range == types.Range(position(AT), position(AT))
    assert item.command is not None
    assert item.command.command == "pellucid.accepted"
    call = assistant.calls[0]
    assert (call["prefix"], call["suffix"]) == ("def add(a, b):\n    ret", "\n\n\nx = 1\n")


async def test_lone_surrogates(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A lone surrogate in a URI or text becomes a replacement character and shifts no position."""
    editor = await connect()
    for uri in (URI, "file:///project/\ud800.py", "untitled:\udfff"):
        editor.open(uri, "s = '\ud800'\n" + TEXT)
        editor.insert(uri, 0, 6, "\udc00\U0001f60b")
        assert await editor.texts(uri, AT[0] + 1, AT[1]) == ["urn a + b"], ascii(uri)
        assert assistant.calls[-1]["prefix"] == "s = '\ufffd\ufffd\U0001f60b'\ndef add(a, b):\n    ret"
        assert await editor.request("pellucid/explain", {"textDocument": {"uri": uri}}) is not None
    assert await editor.request("pellucid/tokens", {"id": "\ud800"}) is None
    assert editor.messages == []


async def test_typing_into_a_suggestion(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Typing a suggestion asks the model nothing."""
    editor = await connect(text=TEXT)
    await editor.inline(URI, *AT)

    editor.insert(URI, *AT, "urn")
    assert await editor.texts(URI, 1, 10) == [" a + b"]
    editor.insert(URI, 1, 10, " ")
    assert await editor.texts(URI, 1, 11) == ["a + b"]
    assert len(assistant.calls) == 1


async def test_invoked(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A suggestion requested by hand has alternatives, the best first."""
    editor = await connect(text=TEXT)

    found = await editor.texts(URI, *AT, invoked=True)

    assert found[0] == "urn a + b"
    assert 1 < len(found) <= 3
    assert len(set(found)) == len(found)
    assert {call["prefix"].rpartition("ret")[2] for call in assistant.calls} >= {"", "other"}


async def test_selected_completion(connect: Connect, assistant: ScriptedAssistant) -> None:
    """With a selected menu item, the suggestion replaces the item's range and extends the item."""
    make_tokens(assistant, " a", "\n", "x")
    editor = await connect(text=TEXT)
    range = types.Range(types.Position(1, 4), types.Position(1, 7))

    (item,) = await editor.inline(URI, *AT, selected=types.SelectedCompletionInfo(range, "return"))

    assert (item.range, item.insert_text) == (range, "return a")
    assert assistant.calls[0]["prefix"] == "def add(a, b):\n    return"


async def test_cancel(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A cancelled request gets an error, and the generation in the model server ends."""
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def before(index: int) -> None:
        if index == 2:
            loop.call_soon_threadsafe(reached.set)
            await asyncio.Event().wait()

    assistant.before = before
    editor = await connect(text=TEXT)
    answer = editor.ask(URI, *AT, id="one")
    await reached.wait()
    assert not assistant.closed.is_set()
    editor.client.cancel_request(types.CancelParams("one"))

    with pytest.raises(JsonRpcException) as refused:
        await answer
    assert refused.value.code == types.LSPErrorCodes.RequestCancelled
    await until(assistant.closed.is_set)
    assistant.before = None
    explained = await editor.request("pellucid/explain", {"textDocument": {"uri": URI}})
    assert explained.outcome == "cancelled"


async def test_newer_request_ends_the_older(connect: Connect, assistant: ScriptedAssistant) -> None:
    """The older of two requests for a document gets no items, and the generation ends."""
    calls = assistant.calls

    async def before(index: int) -> None:
        if index == 1 and len(calls) == 1:
            await asyncio.Event().wait()

    assistant.before = before
    editor = await connect(text=TEXT)
    older = editor.ask(URI, *AT)
    await until(lambda: len(calls) == 1)
    newer = await editor.inline(URI, 4, 5)

    assert (await older).items == ()
    assert len(newer) == 1
    assert len(calls) == 2


async def test_the_same_request_twice(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Identical requests share a single generation, even if a request is cancelled."""
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    assistant.before = lambda index: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(gate.wait(), loop))
    editor = await connect(text=TEXT)
    answers = [editor.ask(URI, *AT, id=id) for id in ("one", "two", "three")]
    await until(lambda: len(assistant.calls) == 1)
    editor.client.cancel_request(types.CancelParams("one"))
    with pytest.raises(JsonRpcException):
        await answers[0]
    gate.set()

    assert [[item.insert_text for item in (await answer).items] for answer in answers[1:]] == [["urn a + b"]] * 2
    assert len(assistant.calls) == 1


async def test_document_changed_meanwhile(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A suggestion is not returned if the document has changed."""
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    assistant.before = lambda index: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(gate.wait(), loop))
    editor = await connect(text=TEXT)
    answer = editor.ask(URI, *AT)
    await until(lambda: len(assistant.calls) == 1)
    editor.insert(URI, 0, 0, "# new\n")
    await editor.request("pellucid/status")
    gate.set()

    assert (await answer).items == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_positions(connect: Connect, assistant: ScriptedAssistant, encoding: str) -> None:
    """Positions are in the client's units, also after characters outside of the BMP."""
    make_tokens(assistant, "'😀'", " +", " é", "\n", "y")
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(encoding)])
    editor = await connect(capabilities=types.ClientCapabilities(general=general, text_document=INLINE))
    assert editor.result.capabilities.position_encoding == encoding
    line = "s = '😀é' + "
    units = {"utf-8": len(line.encode()), "utf-16": len(line.encode("utf-16-le")) // 2, "utf-32": len(line)}[encoding]
    editor.open(URI, f"# \f not a line end \u2028\n{line}\n")

    (item,) = await editor.inline(URI, 1, units)

    assert assistant.calls[0]["prefix"].endswith(line)
    assert item.range == types.Range(types.Position(1, units), types.Position(1, units))
    found = await editor.request("pellucid/tokens", {"id": id_of(item)})
    width = {"utf-8": 6, "utf-16": 4, "utf-32": 3}[encoding]
    assert found.tokens[0].range.end.character == units + width
    editor.insert(URI, 1, units, "'😀'")
    assert await editor.texts(URI, 1, units + width) == [" + é"]


@pytest.mark.parametrize(("client", "line_end"), [(None, "\r\n"), ("Neovim", "\n")])
async def test_crlf(connect: Connect, assistant: ScriptedAssistant, client: str | None, line_end: str) -> None:
    """The model reads line feeds; insertions have the document's line ends, except in Neovim."""
    make_tokens(assistant, "if", " a:", "\n", "        ", "return", " b", "\n", "\n", "\n", "x")
    editor = await connect(shape="block", client=client, text="def add(a, b):\r\n    \r\n\r\n\r\nx = 1\r\n")

    assert await editor.texts(URI, 1, 4) == [f"if a:{line_end}        return b"]
    assert assistant.calls[0]["prefix"] == "def add(a, b):\n    "
    editor.insert(URI, 1, 4, "if a:\r\n        ")
    assert await editor.texts(URI, 2, 8) == ["return b"]
    assert len(assistant.calls) == 1


async def test_completion_menu(connect: Connect) -> None:
    """Without ghost text, a menu item with the suggestion replaces the word at the cursor."""
    editor = await connect(capabilities=types.ClientCapabilities(), text=TEXT)

    params = types.CompletionParams(types.TextDocumentIdentifier(URI), position(AT))
    found = await editor.client.text_document_completion_async(params)

    assert isinstance(found, types.CompletionList)
    (item,) = found.items
    assert (found.is_incomplete, item.label, item.filter_text) == (True, "return a + b", "return a + b")
    assert item.text_edit == types.TextEdit(types.Range(types.Position(1, 4), position(AT)), "return a + b")
    assert item.command is not None


@pytest.mark.parametrize(
    ("popup", "inline", "advertised"), [("on", True, True), ("off", False, False), ("auto", False, True)]
)
async def test_completion_menu_is_a_setting(connect: Connect, popup: str, inline: bool, advertised: bool) -> None:
    """The setting decides whether the menu has suggestions."""
    editor = await connect(capabilities=types.ClientCapabilities(text_document=INLINE if inline else None), popup=popup)

    assert (editor.result.capabilities.completion_provider is not None) == advertised


async def accepted(editor: Editor) -> str:
    """Accept the suggestion at AT as an editor does, and return the id."""
    (item,) = await editor.inline(URI, *AT)
    editor.insert(URI, *AT, str(item.insert_text))
    await editor.command("pellucid.accepted", id_of(item))
    return id_of(item)


async def test_tokens(connect: Connect) -> None:
    """The tokens have probabilities, alternatives and ranges, before and after acceptance."""
    editor = await connect(text=TEXT)
    (item,) = await editor.inline(URI, *AT)
    id = id_of(item)

    shown = await editor.request("pellucid/tokens", {"id": id})

    assert (shown.text, shown.accepted, shown.model) == ("urn a + b", False, TINY)
    assert [one.token for one in shown.tokens] == ["urn", " a", " +", " b"]
    first = shown.tokens[0]
    assert (first.logprob, first.rank, first.entropy, first.rest, first.top[1].token) == (-0.25, 1, 0.5, 0.05, "other")
    assert [(one.range.start.character, one.range.end.character) for one in shown.tokens] == [
        (7, 10),
        (10, 12),
        (12, 14),
        (14, 16),
    ]
    editor.insert(URI, *AT, "urn a + b")
    await editor.command("pellucid.accepted", id)
    editor.insert(URI, 0, 0, "# two\n# lines\n")
    later = await editor.request(
        "pellucid/tokens", {"textDocument": {"uri": URI}, "position": {"line": 3, "character": 11}}
    )
    assert (later.id, later.accepted, later.tokens[0].range.start.line) == (id, True, 3)
    assert await editor.request("pellucid/tokens", {"id": "unknown"}) is None
    editor.replace(URI, types.Range(types.Position(3, 0), types.Position(3, 99)), "")
    gone = await editor.request("pellucid/tokens", {"id": id})
    assert [one.range for one in gone.tokens] == [None] * 4


async def test_hover(connect: Connect) -> None:
    """A hover shows a token's probability and alternatives only over an accepted suggestion."""
    editor = await connect(text=TEXT)
    await accepted(editor)

    async def hover(line: int, character: int) -> types.Hover | None:
        params = types.HoverParams(types.TextDocumentIdentifier(URI), types.Position(line, character))
        return await editor.client.text_document_hover_async(params)

    found = await hover(1, 11)
    assert found is not None
    assert isinstance(found.contents, types.MarkupContent)
    assert "`·a`" in found.contents.value
    assert "78 %" in found.contents.value
    assert "| `other` | 17 % |\n| all others | 5 % |" in found.contents.value
    # A token is no alternative to itself.
    assert "| `·a` |" not in found.contents.value.partition("entropy, bits")[0]
    assert await hover(0, 3) is None
    assert await hover(1, 5) is None


async def test_partial_acceptance(connect: Connect) -> None:
    """A partially accepted suggestion, counted in UTF-16 units, has the accepted part's tokens."""
    editor = await connect(text=TEXT)
    (item,) = await editor.inline(URI, *AT)
    editor.insert(URI, *AT, "urn a")
    editor.notify(
        "textDocument/didPartiallyAcceptCompletion",
        {"item": {"command": {"arguments": [id_of(item)]}}, "acceptedLength": 5},
    )

    found = await editor.request(
        "pellucid/tokens", {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 8}}
    )

    assert (found.text, [one.token for one in found.tokens]) == ("urn a", ["urn", " a"])
    assert await editor.texts(URI, 1, 12) == [" + b"]


async def test_dismiss(connect: Connect) -> None:
    """A dismissed suggestion is not offered again at the cursor."""
    editor = await connect(text=TEXT)
    (item,) = await editor.inline(URI, *AT)

    editor.notify("pellucid/didDismiss", {"id": id_of(item)})

    assert await editor.texts(URI, *AT) == []
    explained = await editor.request("pellucid/explain", {})
    assert (explained.outcome, explained.reason) == ("hidden", "It was dismissed here before.")


async def test_branch(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A branch gives a suggestion with a new id, and is refused after an edit."""
    editor = await connect(text=TEXT)
    (item,) = await editor.inline(URI, *AT)
    id = id_of(item)
    make_tokens(assistant, " thing", "\n", "\n", "\n", "x")

    branched = await editor.request("pellucid/branch", {"id": id, "token": 1, "alternative": 1})

    assert branched.insertText == "urnother thing"
    assert (branched.range.start.character, branched.range.end.character) == (7, 7)
    assert branched.command.arguments[0] != id
    assert await editor.request("pellucid/branch", {"id": id, "token": 99, "alternative": 0}) is None
    editor.insert(URI, 1, 0, "  ")
    with pytest.raises(JsonRpcException, match="the document has changed"):
        await editor.request("pellucid/branch", {"id": id, "token": 1, "alternative": 1})


async def test_branch_with_the_menu_open(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A branch of a suggestion for a menu item replaces the item's range and extends the item."""
    editor = await connect(text=TEXT)
    range = types.Range(types.Position(1, 4), types.Position(1, 7))
    (item,) = await editor.inline(URI, *AT, selected=types.SelectedCompletionInfo(range, "retain"))
    make_tokens(assistant, " thing", "\n", "\n", "\n", "x")

    branched = await editor.request("pellucid/branch", {"id": id_of(item), "token": 1, "alternative": 1})

    assert branched.insertText.startswith("retain")
    assert branched.insertText.endswith("other thing")
    assert (branched.range.start.character, branched.range.end.character) == (4, 7)
    assert "    retain" in assistant.calls[-1]["prefix"]
    editor.insert(URI, 1, 6, "x")
    with pytest.raises(JsonRpcException, match="the document has changed"):
        await editor.request("pellucid/branch", {"id": id_of(item), "token": 1, "alternative": 1})


async def test_branch_of_an_accepted_suggestion(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A branch of an accepted suggestion replaces the accepted text in the document and prompt."""
    editor = await connect(text=TEXT)
    id = await accepted(editor)
    make_tokens(assistant, " thing", "\n", "\n", "\n", "x")

    branched = await editor.request("pellucid/branch", {"id": id, "token": 1, "alternative": 1})

    assert branched.insertText == "urnother thing"
    assert (branched.range.start.character, branched.range.end.character) == (7, 16)
    assert assistant.calls[-1]["prefix"].endswith("    returnother")
    assert assistant.calls[-1]["suffix"] == "\n\n\nx = 1\n"


async def test_explain(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An explanation has the prompt as sent and as read, the times and the gate's values."""
    editor = await connect(text=TEXT)
    (item,) = await editor.inline(URI, *AT)

    explained = await editor.request("pellucid/explain", {"id": id_of(item)})

    assert (explained.outcome, explained.source, explained.shape, explained.ending) == (
        "shown",
        "model",
        "line",
        "line",
    )
    assert (explained.shown, explained.answer) == ("urn a + b", "urn a + b\n")
    assert (explained.position.line, explained.position.character) == AT
    assert (explained.prompt.prefix, explained.prompt.suffix) == ("def add(a, b):\n    ret", "\n\n\nx = 1\n")
    assert explained.prompt.text == ("<|fim_prefix|><|fim_suffix|>\n\n\nx = 1\n<|fim_middle|>def add(a, b):\n    ret")
    assert explained.gate.level == "normal"
    assert set(explained.gate.values._fields) == set(explained.gate.thresholds._fields) == {"first", "mean", "least"}
    assert {"context", "wait", "decode", "total"} <= set(explained.milliseconds._fields)
    assert await editor.request("pellucid/explain", {"id": "unknown"}) is None


async def test_score(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A range's tokens are scored after the preceding text, and have ranges in the document."""
    texts = ["def", " add", "(a", ", b", "):"]
    assistant.script = [
        *(spoken(text, index) for index, text in enumerate(texts)),
        Finish(FinishReason.STOP, Usage(computed=5)),
    ]
    editor = await connect(text=TEXT)
    range = {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 12}}

    found = await editor.request("pellucid/score", {"textDocument": {"uri": URI}, "range": range, "topLogprobs": 3})

    assert assistant.calls[-1]["text"] == "def add(a, b"
    assert assistant.calls[-1]["top_logprobs"] == 3
    assert [one.token for one in found.tokens][:3] == ["add", "(a", ", b"]
    assert [one.range.start.character for one in found.tokens][:3] == [4, 7, 9]


WRONG: tuple[tuple[str, Any, str], ...] = (
    ("pellucid/tokens", None, "needs an id"),
    ("pellucid/tokens", {"id": 7}, "id should be a string, not 7"),
    ("pellucid/branch", {"id": "x"}, "needs token"),
    (
        "pellucid/branch",
        {"id": "x", "token": -1, "alternative": 0},
        "token should be a whole number of 0 or more, not -1",
    ),
    ("pellucid/branch", {"id": "x", "token": 0, "alternative": 0}, "the suggestion x is no longer known"),
    ("pellucid/score", {"textDocument": {"uri": URI}}, "needs a textDocument and a range"),
    ("pellucid/score", {"textDocument": {"uri": URI}, "range": FIRST, "topLogprobs": 21}, "topLogprobs"),
    ("pellucid/score", {"textDocument": {"uri": "file:///none"}, "range": FIRST}, "is not open and cannot be read"),
)


async def test_wrong_requests(connect: Connect) -> None:
    """A failing request gets an error with the reason, and the server keeps running."""
    editor = await connect(text=TEXT)
    for method, params, sentence in WRONG:
        with pytest.raises(JsonRpcException, match=sentence):
            await editor.request(method, params)
    assert await editor.texts(URI, *AT) == ["urn a + b"]
    assert editor.messages == []


def hold(assistant: ScriptedAssistant, token: int) -> tuple[threading.Event, threading.Event]:
    """Pause answers before the token; return the event of the pause and the event to continue."""
    reached, more = threading.Event(), threading.Event()

    async def before(index: int) -> None:
        if index == token:
            reached.set()
            await asyncio.to_thread(more.wait, LIMIT_SECONDS)

    assistant.before = before
    return reached, more


async def test_partial_suggestions(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A client with the setting gets a marked sure beginning, and next the whole suggestion."""
    make_tokens(assistant, "urn", " add(a)", ".total", " + b", "\n", "x")
    _, more = hold(assistant, 3)
    editor = await connect(options={"partialSuggestions": True}, text=TEXT)

    (part,) = await editor.inline(URI, *AT)
    again = asyncio.ensure_future(editor.inline(URI, *AT))
    more.set()
    (whole,) = await again

    id, mark = arguments_of(part)
    assert (part.insert_text, mark) == ("urn add(a)", "partial")
    assert (whole.insert_text, len(arguments_of(whole))) == ("urn add(a).total + b", 1)
    await editor.command("pellucid.accepted", id, mark)
    assert (await editor.request("pellucid/tokens", {"id": id})).accepted
    assert editor.messages == []


async def test_a_doubtful_rest(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A client with the setting gets the doubtful rest, again after accepting the beginning."""
    assistant.script = [*map(token, ["urn", " add(a, 'ä𝄞')", ".total"]), token(" + b", 0.45), token("\n"), token("x")]
    editor = await connect(options={"doubtfulRests": True}, text=TEXT)

    (item,) = await editor.inline(URI, *AT)

    id, kind, sure = arguments_of(item)
    beginning = "urn add(a, 'ä𝄞')"
    assert (item.insert_text, kind, sure) == (f"{beginning}.total + b", "doubtful", len(beginning) + 1)
    editor.notify("pellucid/didPartiallyAccept", {"id": id, "acceptedLength": sure})
    editor.insert(URI, *AT, beginning)
    (left,) = await editor.inline(URI, AT[0], AT[1] + sure)
    assert (left.insert_text, arguments_of(left)[1:]) == (".total + b", ("doubtful", 0))


@pytest.mark.parametrize("options", [{}, {"doubtfulRests": True, "completion": {"doubtfulRest": False}}])
async def test_no_doubtful_rest(connect: Connect, assistant: ScriptedAssistant, options: dict[str, Any]) -> None:
    """Without the setting, or with doubtful rests off, only the sure beginning is sent."""
    assistant.script = [*map(token, ["urn", " add(a)", ".total"]), token(" + b", 0.45), token("\n"), token("x")]
    editor = await connect(options=options, text=TEXT)

    (item,) = await editor.inline(URI, *AT)

    assert (item.insert_text, len(arguments_of(item))) == ("urn add(a)", 1)


@pytest.mark.parametrize("menu", [False, True])
async def test_clients_that_would_keep_a_part(connect: Connect, assistant: ScriptedAssistant, menu: bool) -> None:
    """Clients without the setting, and the completion menu, get only whole suggestions."""
    reached, more = hold(assistant, 3)
    editor = await connect(
        options={"partialSuggestions": menu}, capabilities=types.ClientCapabilities() if menu else None
    )
    editor.open(URI, TEXT)
    params = types.CompletionParams(types.TextDocumentIdentifier(URI), position(AT))

    asked: asyncio.Task[Any] = asyncio.ensure_future(
        editor.client.text_document_completion_async(params) if menu else editor.inline(URI, *AT)
    )
    await until(reached.is_set)
    await editor.request("pellucid/status")
    assert not asked.done()
    more.set()

    (item,) = (await asked).items if menu else await asked
    assert (item.text_edit.new_text if menu else item.insert_text) == ("return a + b" if menu else "urn a + b")


async def test_status(connect: Connect) -> None:
    """The status has state, model, address, latency and counts, and is notified only on request."""
    editor = await connect(options={"statusNotifications": True}, text=TEXT)
    await accepted(editor)

    status = await editor.request("pellucid/status")

    assert (status.state, status.model, status.enabled, status.enabledHere) == ("ready", TINY, True, True)
    assert status.url.startswith("http://127.0.0.1:")
    assert status.latency > 0
    assert (status.counts.shown, status.counts.accepted, status.counts.hidden) == (1, 1, 0)
    await until(lambda: any(one.state == "ready" and one.counts.accepted == 1 for one in editor.statuses))
    restarted = await editor.command("pellucid.restart")
    assert (restarted["state"], "so it was not restarted; reconnected." in restarted["message"]) == ("ready", True)

    quiet = await connect(text=TEXT)
    await accepted(quiet)
    assert quiet.statuses == []


async def test_toggle(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Switching suggestions off or on applies to all editors."""
    one, other = await connect(), await connect()
    for editor in (one, other):
        editor.open(URI, TEXT)

    status = await one.command("pellucid.toggle")

    assert (status["state"], status["enabled"]) == ("off", False)
    assert [await editor.texts(URI, *AT) for editor in (one, other)] == [[], []]
    explained = await other.request("pellucid/explain", {})
    assert (explained.outcome, explained.reason) == ("off", "Suggestions are switched off everywhere.")
    assert assistant.calls == []
    await other.command("pellucid.toggle")
    assert await one.texts(URI, *AT) == ["urn a + b"]


async def test_toggle_workspace(connect: Connect, tmp_path: Path) -> None:
    """Switching off in a workspace applies only there; without a workspace the command fails."""
    here, elsewhere, nowhere = [await connect(folder=folder) for folder in (tmp_path / "a", tmp_path / "b", None)]
    for editor in (here, elsewhere):
        editor.open(URI, TEXT)

    status = await here.command("pellucid.toggleWorkspace")

    assert (status["state"], status["enabled"], status["enabledHere"]) == ("off", True, False)
    assert (await here.texts(URI, *AT), await elsewhere.texts(URI, *AT)) == ([], ["urn a + b"])
    with pytest.raises(JsonRpcException, match="No folder is open in this editor"):
        await nowhere.command("pellucid.toggleWorkspace")


async def test_settings_of_the_client(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Settings are requested at the start and after changes; an invalid setting is ignored."""
    editor = await connect(capabilities=client_capabilities("visual-studio-code"), text=TEXT)
    assert await editor.texts(URI, *AT) == ["urn a + b"]
    url = {"server": {"url": str((await editor.request("pellucid/status")).url), "start": False}}

    async def change(settings: dict[str, Any]) -> None:
        editor.client.set_configuration({"pellucid": url | settings})
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))

    await change({"enabled": False})
    await until_status(editor, "off")
    assert await editor.texts(URI, *AT) == []
    await change({"enabled": "yes"})
    await until(lambda: bool(editor.messages))
    assert editor.messages == ["Pellucid: pellucid.enabled should be true or false, not 'yes'."]
    await until_status(editor, "ready", "idle")
    assert await editor.texts(URI, *AT) == ["urn a + b"]
    await change({"completion": {"languagesOff": ["python"]}})
    await until_status(editor, "ready", "idle")
    assert await editor.texts(URI, *AT) == []
    assert "languagesOff" in (await editor.request("pellucid/explain", {})).reason


async def until_status(editor: Editor, *states: str) -> None:
    while (await editor.request("pellucid/status")).state not in states:
        await asyncio.sleep(0.01)


async def test_other_files(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Chunks of open files are prefilled in a pause and sent next, except from secret files."""
    editor = await connect()
    helper = "".join(f"def helper_{number}(value):\n    return value * {number}\n\n\n" for number in range(6))
    editor.open("file:///project/helper.py", helper)
    editor.open("file:///project/.env", helper, "plaintext")
    editor.open(URI, TEXT)
    await editor.inline(URI, *AT)
    await until(lambda: len(assistant.calls) == 2)

    assert assistant.calls[1]["params"].max_tokens == 0
    assert [one.filename for one in assistant.calls[1]["extra"]] == ["helper.py"]
    editor.insert(URI, 1, 7, "x")
    await editor.inline(URI, 1, 8)
    assert assistant.calls[2]["extra"] == assistant.calls[1]["extra"]


async def test_a_file_that_has_become_secret(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Chunks of a file are no longer sent after a private key is added to the file."""
    editor = await connect()
    helper = "".join(f"def helper_{number}(value):\n    return value * {number}\n\n\n" for number in range(6))
    editor.open("file:///project/helper.py", helper)
    editor.open(URI, TEXT)
    await editor.inline(URI, *AT)
    await until(lambda: len(assistant.calls) == 2)
    editor.insert("file:///project/helper.py", 0, 0, PRIVATE_KEY)
    editor.insert(URI, 1, 7, "x")
    await editor.inline(URI, 1, 8)

    assert [bool(call["extra"]) for call in assistant.calls] == [False, True, False]


async def test_no_server(connect: Connect) -> None:
    """Without a server, a single message is shown, and typing is not disturbed."""
    editor = await connect(server={"url": "http://127.0.0.1:9"}, text=TEXT)

    assert await editor.texts(URI, *AT) == []
    assert await editor.texts(URI, *AT) == []
    (message,) = editor.messages
    assert message.startswith("Pellucid: No server answers at http://127.0.0.1:9")
    assert (await editor.request("pellucid/status")).state == "failed"


async def test_unknown_messages(connect: Connect) -> None:
    """Unknown notifications are ignored, unknown requests are refused, and the server runs on."""
    editor = await connect(text=TEXT)
    for method in ("$/unknown", "textDocument/didSomething", "pellucid/didSomething", "textDocument/didFocus"):
        editor.notify(method, {"textDocument": {"uri": URI}})
        editor.client.protocol._send_data({"jsonrpc": "2.0", "method": method})
    for method in (
        "pellucid/didShow",
        "pellucid/didDismiss",
        "textDocument/didShowCompletion",
        "textDocument/didPartiallyAcceptCompletion",
    ):
        editor.notify(method, {"id": "unknown", "item": {}})

    with pytest.raises(JsonRpcMethodNotFound):
        await editor.request("pellucid/unknown", {})
    assert await editor.texts(URI, *AT) == ["urn a + b"]
    assert editor.messages == []


async def test_open_page(connect: Connect) -> None:
    """The editor opens the server's page in a browser, if possible."""
    window = types.WindowClientCapabilities(show_document=types.ShowDocumentClientCapabilities(support=True))
    editor = await connect(capabilities=types.ClientCapabilities(text_document=INLINE, window=window), text=TEXT)
    await editor.inline(URI, *AT)

    url = await editor.command("pellucid.openPage")

    (shown,) = editor.client.shown_documents
    assert (shown.uri, shown.external) == (url, True)
    # An editor without a browser gets the address.
    assert await (await connect()).command("pellucid.openPage") == url
