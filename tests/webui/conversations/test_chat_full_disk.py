"""Tests a chat on a full disk: an error in the tab, no lost data, and recovery."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.chat_view import ChatView
from support.page.scripted_assistant import ScriptedPageAssistant, token
from support.servers.small_disks import SmallDisk, can_mount, small_disk

LONG = "word " * 20_000
"""Longer than the rest of a disk page, so that a full disk refuses the text."""


pytestmark = pytest.mark.skipif(
    not can_mount(), reason="it takes root, mount, umount and unshare to mount a small disk"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def store(disk: SmallDisk) -> Iterator[ConversationStore]:
    with closing(ConversationStore(disk.folder / "conversations.db")) as store:
        yield store


async def first(shown: AsyncIterator[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async for one in shown:
        if wanted(one):
            return one
    raise AssertionError("no picture is like this")


async def last(view: ChatView, tab: TabState, text: str) -> dict[str, Any]:
    event = {"verb": "send", "text": text, "messageId": text[:20]}
    return [shown async for shown in view.act(tab, event, TurnSettings)][-1]


@pytest.mark.process
async def test_in_the_middle_of_an_answer(store: ConversationStore, disk: SmallDisk) -> None:
    """A full disk ends an answer with the saved text and the reason; later answers need space."""
    go_on = asyncio.Event()
    view = ChatView(
        store,
        shared(ScriptedPageAssistant([[token("Kept. "), go_on, token(LONG)], [token("Yes.")], [token("Again.")]])),
        Turns(),
    )
    tab = TabState("me")
    act = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    await first(act, lambda shown: shown["live"] is not None and "Kept" in str(shown["live"]["blocks"]))
    disk.fill()
    go_on.set()
    ended = [shown async for shown in act][-1]
    answer = json.loads(ended["messages"][-1])
    assert answer["text"] == "Kept. "
    assert "full" in ended["notice"]["text"]
    assert view.turns.find(answer["node"]) is None

    refused = await last(view, tab, LONG)
    assert "full" in refused["notice"]["text"]
    assert len(refused["messages"]) == 2

    disk.repair()
    shown = await last(view, tab, LONG + "again")
    assert [json.loads(message)["text"] for message in shown["messages"]][-1] == "Yes."
    assert shown["notice"]["text"] == ""
    retried = [shown async for shown in view.act(tab, {"verb": "retry", "node": answer["node"]}, TurnSettings)][-1]
    assert [json.loads(message)["text"] for message in retried["messages"]] == ["Hello", "Again."]
