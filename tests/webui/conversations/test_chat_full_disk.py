"""Tests a chat on a full disk: an error in the tab, no lost data, and recovery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import PellucidError
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.routes.chat import ChatRoute
from support.page.route_tab import FollowedAnswer, RouteTab
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


@pytest.mark.process
async def test_in_the_middle_of_an_answer(store: ConversationStore, disk: SmallDisk) -> None:
    """A full disk ends an answer with the saved text and the reason; later answers need space."""
    go_on = asyncio.Event()
    assistant = ScriptedPageAssistant([[token("Kept. "), go_on, token(LONG)], [token("Yes.")], [token("Again.")]])
    tab = RouteTab(ChatRoute(store, shared(assistant), Turns()))
    node = await tab.send("Hello")
    known, stream = FollowedAnswer(), tab.follow(node)
    await known.grow(stream, until=1)
    disk.fill()
    go_on.set()
    await known.grow(stream)
    assert "full" in str(known.error)
    assert [message["text"] for message in (await tab.show())["messages"]] == ["Hello", "Kept. "]
    assert tab.route.turns.find(node) is None

    with pytest.raises(PellucidError, match="full"):
        await tab.send(LONG, messageId="long")
    assert len((await tab.show())["messages"]) == 2

    disk.repair()
    assert (await tab.send_and_wait(LONG, messageId="long"))["messages"][-1]["text"] == "Yes."
    retried = await tab.act_and_wait("retry", node=node)
    assert [message["text"] for message in retried["messages"]] == ["Hello", "Again."]
