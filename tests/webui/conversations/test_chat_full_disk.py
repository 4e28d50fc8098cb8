"""A chat whose server's disk becomes full: one sentence in the tab, nothing lost that was kept, and it continues once there is room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pellucid_webui.conversations.conversation import TurnSettings
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.views.chat import ChatView
from support.page.scripted_assistant import ScriptedPageAssistant, token
from support.servers.small_disks import SmallDisk, can_mount, small_disk

LONG = "word " * 20_000
"""More than fits into the rest of a page, so that a full disk refuses it."""


pytestmark = pytest.mark.skipif(not can_mount(), reason="only root may mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def store(disk: SmallDisk) -> Iterator[ConversationStore]:
    with closing(ConversationStore(disk.folder / "conversations.db")) as store:
        yield store


async def first(shown: AsyncIterator[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first picture that is like this."""
    async for one in shown:
        if wanted(one):
            return one
    raise AssertionError("no picture is like this")


async def last(chat_view: ChatView, session: TabState, text: str) -> dict[str, Any]:
    """What the tab shows in the end of saying something."""
    asked = {"verb": "send", "text": text, "letter": text[:20]}
    return [shown async for shown in chat_view.act(session, asked, TurnSettings)][-1]


async def test_in_the_middle_of_an_answer(store: ConversationStore, disk: SmallDisk) -> None:
    """An answer that cannot be kept any more ends with what is kept of it and says why; the next one is generated once there is room."""
    go_on = asyncio.Event()
    chat_view = ChatView(store, ScriptedPageAssistant([[token("Kept. "), go_on, token(LONG)], [token("Yes.")], [token("Anew.")]]), Turns())
    session = TabState("me")
    act = chat_view.act(session, {"verb": "send", "text": "Hello", "letter": "a"}, TurnSettings)
    await first(act, lambda shown: shown["live"] is not None and "Kept" in str(shown["live"]["blocks"]))
    disk.fill()
    go_on.set()
    ended = [shown async for shown in act][-1]
    answer = json.loads(ended["messages"][-1])
    assert answer["text"] == "Kept. "
    assert "full" in ended["notice"]["text"]
    assert chat_view.turns.find(answer["node"]) is None

    refused = await last(chat_view, session, LONG)
    assert "full" in refused["notice"]["text"]
    assert len(refused["messages"]) == 2

    disk.repair()
    said = await last(chat_view, session, LONG + "again")
    assert [json.loads(message)["text"] for message in said["messages"]][-1] == "Yes."
    assert said["notice"]["text"] == ""
    anew = [shown async for shown in chat_view.act(session, {"verb": "retry", "node": answer["node"]}, TurnSettings)][-1]
    assert [json.loads(message)["text"] for message in anew["messages"]] == ["Hello", "Anew."]
