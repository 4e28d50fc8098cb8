"""Tests of the chat's requests: a streamed answer, and a selection as a message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from pellucid.completion.chat_requests import CUT_OFF
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.editors.lsp_client import URI, Connect, Editor, until
from support.servers.http_servers import ScriptedAssistant, spoken

QUESTION = {"role": "user", "content": "Add one and one."}


@pytest.fixture(autouse=True)
def answers(assistant: ScriptedAssistant) -> None:
    assistant.script = [spoken(text) for text in ("It is", " 😀\n2")]


async def ask(editor: Editor, **fields: Any) -> Any:
    return await editor.request("pellucid/chat", {"messages": [QUESTION]} | fields)


def progress(editor: Editor) -> list[str]:
    """Collect the texts of streamed tokens."""
    texts: list[str] = []

    def note(params: Any) -> None:
        texts.extend(token["token"] for token in params.value["tokens"])

    editor.client.protocol.fm._features["$/progress"] = note
    return texts


async def test_an_answer(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Tokens come as progress with alternatives, and the result has the whole text."""
    editor = await connect()
    streamed = progress(editor)
    earlier = [QUESTION, {"role": "assistant", "content": "3"}, QUESTION]
    made = await ask(editor, messages=earlier, partialResultToken="c")
    assert (made.text, made.model, made.note) == ("It is 😀\n2", "tiny", None)
    assert streamed == ["It is", " 😀\n2"]
    (call,) = assistant.calls
    assert [(one.role, one.content) for one in call["messages"]] == [tuple(one.values()) for one in earlier]
    assert (call["params"].temperature, call["params"].top_logprobs) == (0, 5)


async def test_an_answer_that_is_cut_off(connect: Connect, assistant: ScriptedAssistant) -> None:
    """An answer at the limit has a note with the remedy, and a failed answer is an error."""
    editor = await connect()
    assistant.script = [spoken("It"), Finish(FinishReason.LENGTH, Usage(generated=1024))]
    assert (await ask(editor)).note == CUT_OFF
    assistant.script = [spoken("It"), Finish(FinishReason.ERROR, Usage(), error="No memory.")]
    with pytest.raises(JsonRpcException, match=r"No memory\."):
        await ask(editor)


async def test_a_cancelled_answer(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A cancelled request ends the model's answer."""
    editor = await connect()

    async def before(index: int) -> None:
        if index == 1:
            await asyncio.Event().wait()

    assistant.before = before
    streamed = progress(editor)
    params = {"messages": [QUESTION], "partialResultToken": "c"}
    editor.client.protocol.send_request("pellucid/chat", params, msg_id="chat")
    await until(lambda: streamed == ["It is"])
    editor.client.cancel_request(types.CancelParams("chat"))
    await until(assistant.closed.is_set)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "The last message should be the user's"),
        ([QUESTION | {"content": " "}], "The last message should be the user's"),
        ([QUESTION | {"role": "tool"}], "role should be system or user or assistant, not 'tool'"),
        ([{"role": "user"}], "needs content"),
        ("hello", "messages should be a list of objects"),
    ],
)
async def test_refused_messages(connect: Connect, messages: Any, sentence: str) -> None:
    """Messages that no model can answer are refused with a sentence."""
    editor = await connect()
    with pytest.raises(JsonRpcException, match=sentence):
        await ask(editor, messages=messages)


async def test_nothing_is_sent_while_off(connect: Connect, assistant: ScriptedAssistant) -> None:
    """With suggestions switched off, no message is sent."""
    editor = await connect(options={"enabled": False})
    with pytest.raises(JsonRpcException, match=r"pellucid\.enabled is false"):
        await ask(editor)
    assert assistant.calls == []


async def test_a_selection(connect: Connect, tmp_path: Path) -> None:
    """A selection becomes a named block of code; an empty or private selection is refused."""
    editor = await connect(text="def f():\n    '''```'''\n    return 1\n")
    lines = {"start": {"line": 1, "character": 0}, "end": {"line": 3, "character": 0}}
    made = await editor.request("pellucid/chatSelection", {"textDocument": {"uri": URI}, "range": lines})
    assert made.text == "a.py, lines 2 to 3:\n\n````python\n    '''```'''\n    return 1\n````\n"
    empty = {"start": lines["end"], "end": lines["end"]}
    with pytest.raises(JsonRpcException, match="The selection is empty"):
        await editor.request("pellucid/chatSelection", {"textDocument": {"uri": URI}, "range": empty})
    secret = (tmp_path / ".env").as_uri()
    editor.open(secret, "PASSWORD = 1\n")
    first = {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}}
    with pytest.raises(JsonRpcException, match=r"\.env is never sent to the model"):
        await editor.request("pellucid/chatSelection", {"textDocument": {"uri": secret}, "range": first})
