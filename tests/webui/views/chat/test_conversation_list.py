"""Tests the actions of the list of conversations, without a browser."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat import conversation_list
from pellucid_webui.views.chat.chat_view import ChatView
from pellucid_webui.views.chat.conversation_list import ConversationList
from support.page.scripted_assistant import ScriptedPageAssistant, tokens

ME = "me"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as found:
        yield found


@pytest.fixture
def listed(store: ConversationStore) -> ConversationList:
    return ConversationList(ChatView(store, shared(ScriptedPageAssistant([[*tokens("yes"), None]])), Turns()))


def create(store: ConversationStore, title: str, *texts: str) -> str:
    """Create a conversation with a path of messages."""
    id = store.create(ME, TurnSettings(), title)
    parent: int | None = None
    for index, text in enumerate(texts):
        parent = store.add(ME, id, parent, ASSISTANT if index % 2 else USER, text, end=FinishReason.STOP)
    return id


def file(name: str, content: object) -> dict[str, str]:
    """Return the event of importing JSON."""
    return {"verb": "import", "name": name, "data": b64encode(gzip.compress(json.dumps(content).encode())).decode()}


async def test_what_opens(listed: ConversationList, store: ConversationStore) -> None:
    """Only an action that opens a conversation reports an opening; a refresh never does.

    After an opening the page restores the settings of the conversation, over the user's typing.
    """
    tab = TabState(ME)
    refreshing = asyncio.create_task(listed.act(tab, {"verb": "refresh"}))
    await asyncio.sleep(0)
    tab.show_conversation(None)
    _, opened = await refreshing
    assert not opened
    id = create(store, "One", "Hello")
    found = [
        (await listed.act(tab, event))[1]
        for event in (
            {"verb": "open", "id": id},
            {"verb": "delete", "id": id},
            {"verb": "restore", "id": id, "open": True},
            {"verb": "new"},
            {"verb": "delete", "id": id},
            {"verb": "restore", "id": id},
            {"verb": "open", "id": "none"},
        )
    ]
    assert found == [True, True, True, True, False, False, False]


async def test_delete_and_undo(listed: ConversationList, store: ConversationStore) -> None:
    """Deleting the open conversation closes it and stops its answer, and undo opens it again."""
    tab = TabState(ME)
    answering = listed.chats.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    async for shown in answering:
        if shown["live"] is not None:
            break
    id = str(tab.conversation)
    shown, _ = await listed.act(tab, {"verb": "delete", "id": id})
    assert (shown["items"], shown["open"], [one["id"] for one in shown["deleted"]]) == ([], None, [id])
    assert {name: shown["removed"][name] for name in ("id", "title", "wasOpen")} == {
        "id": id,
        "title": "Hello",
        "wasOpen": True,
    }
    await asyncio.wait_for(listed.chats.turns.wait_until_idle(), 30)
    shown, _ = await listed.act(tab, {"verb": "restore", "id": id, "open": True})
    assert ([one["id"] for one in shown["items"]], shown["open"], shown["deleted"]) == ([id], id, [])
    assert store.conversation(ME, id).path()[-1].end is FinishReason.CANCELLED
    assert [shown["id"] async for shown in answering] == [id]


async def test_a_list_that_was_overtaken(
    listed: ConversationList, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list read before a change has a lower order, even if sent later."""
    id, tab, read = create(store, "Before"), TabState(ME), store.list
    newer: list[dict[str, Any]] = []

    def overtaken(*asked: Any) -> Any:
        monkeypatch.setattr(store, "list", read)
        found = read(*asked)
        store.rename(ME, id, "After")
        newer.append(listed._payload(tab))
        return found

    monkeypatch.setattr(store, "list", overtaken)
    older = listed._payload(tab)
    assert [shown["items"][0]["title"] for shown in (older, *newer)] == ["Before", "After"]
    assert older["order"] < newer[0]["order"]


async def test_a_match(listed: ConversationList, store: ConversationStore) -> None:
    """A match opens on its path with all matches; a message without a match changes nothing."""
    id = create(store, "T", "zebra", "none")
    first, other = (node.id for node in store.conversation(ME, id).path())
    branch = store.add(ME, id, first, ASSISTANT, "zebras", end=FinishReason.STOP)
    store.select_version(ME, id, other)
    tab = TabState(ME)
    (item,) = (await listed.act(tab, {"verb": "search", "text": "zebra"}))[0]["items"]
    assert item["matches"] == 2
    shown, _ = await listed.act(tab, {"verb": "open", "id": id, "node": branch})
    assert {name: shown["match"][name] for name in ("conversation", "node", "nodes", "search")} == {
        "conversation": id,
        "node": branch,
        "nodes": [first, branch],
        "search": "zebra",
    }
    assert store.conversation(ME, id).leaf == branch
    for node in (other, None, "1", [branch]):
        again, _ = await listed.act(tab, {"verb": "open", "id": id, "node": node})
        # The script has already shown this match.
        assert again["match"] == shown["match"]
        assert store.conversation(ME, id).leaf == branch


async def test_pinned_are_never_cut(
    listed: ConversationList, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is too long loses the oldest conversations, never pinned or filed ones."""
    monkeypatch.setattr(conversation_list, "MAX_LISTED", 3)
    ids = [create(store, str(number)) for number in range(5)]
    tab = TabState(ME)
    await listed.act(tab, {"verb": "pin", "id": ids[0], "pinned": True})
    shown, _ = await listed.act(tab, {"verb": "createFolder", "name": "F", "ids": [ids[1]]})
    assert ([one["title"] for one in shown["items"]], shown["isCut"]) == (["4", "1", "0"], True)
    assert [(one["pinned"], one["folder"] is not None) for one in shown["items"]] == [
        (False, False),
        (False, True),
        (True, False),
    ]


async def test_a_deleted_folder(listed: ConversationList, store: ConversationStore) -> None:
    """The undo of a deleted folder creates a folder of the same name and content."""
    id, tab = create(store, "T"), TabState(ME)
    (folder,) = (await listed.act(tab, {"verb": "createFolder", "name": "F", "ids": [id]}))[0]["folders"]
    shown, _ = await listed.act(tab, {"verb": "deleteFolder", "id": folder["id"]})
    assert (shown["folders"], shown["items"][0]["folder"], shown["removed"]["title"]) == ([], None, "F")
    shown, _ = await listed.act(
        tab, {"verb": "createFolder", "name": shown["removed"]["title"], "ids": shown["removed"]["ids"]}
    )
    assert shown["items"][0]["folder"] == shown["folders"][0]["id"]


async def test_imports(listed: ConversationList, store: ConversationStore) -> None:
    """An import opens the first conversation with the shown settings, and names omissions."""
    tab = TabState(ME)
    await listed.chats.save_settings(tab, lambda: TurnSettings(model="m", temperature=0.25, system="Mine."))
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "Hello"},
    ]
    shown, _ = await listed.act(tab, file("one.json", messages))
    assert (shown["notice"]["text"], shown["notice"]["wrong"]) == ("1 message of tools was left out.", False)
    assert store.conversation(ME, str(tab.conversation)).settings == TurnSettings(model="m", temperature=0.25)
    shown, _ = await listed.act(tab, file("two.json", [{"messages": messages[:1]}] * 2))
    assert shown["notice"]["text"] == "2 conversations were imported from two.json."
    assert (len(shown["items"]), shown["open"]) == (3, tab.conversation)
    shown, _ = await listed.act(tab, file("three.json", [1]))
    assert (shown["notice"]["wrong"], len(shown["items"])) == (True, 3)
    assert shown["notice"]["text"].startswith("three.json cannot be imported: ")


async def test_what_is_refused(listed: ConversationList, store: ConversationStore) -> None:
    """Unknown actions, conversations and folders are refused in a sentence, without changes."""
    id, tab = create(store, "T"), TabState(ME)
    events: list[dict[str, Any]] = [
        {"verb": "fly"},
        {"verb": "open", "id": "x"},
        {"verb": "delete", "id": "x"},
        {"verb": "move", "id": id, "folder": "x"},
        {"verb": "createFolder", "name": " "},
        {"verb": "eraseAll"},
        {"verb": "export", "id": id, "form": "pdf"},
    ]
    for event in events:
        shown, _ = await listed.act(tab, event)
        assert shown["notice"]["text"], event
        assert shown["notice"]["wrong"], event
        assert [one["id"] for one in shown["items"]] == [id]
    assert tab.conversation is None
