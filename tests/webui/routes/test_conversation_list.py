"""Tests the actions of the list of conversations, without a browser."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes import conversation_list
from pellucid_webui.routes.chat import ChatRoute
from pellucid_webui.routes.conversation_list import ACTIONS, ConversationListRoute
from support.page.route_tab import FollowedAnswer, RouteTab, shown
from support.page.scripted_assistant import ScriptedPageAssistant, tokens

ME = "me"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as found:
        yield found


@dataclass
class ListTab:
    """The list in a tab of the browser, next to a chat."""

    route: ConversationListRoute
    owner: str = ME
    search: str = ""

    async def act(self, verb: str, **more: Any) -> dict[str, Any]:
        asked = {"verb": verb, "search": self.search} | more
        (found,) = [payload async for payload in self.route.act(self.owner, asked)]
        return found


@pytest.fixture
def listed(store: ConversationStore) -> ListTab:
    assistant = ScriptedPageAssistant([[*tokens("yes"), None]])
    return ListTab(ConversationListRoute(store, shared(assistant), Turns()))


def create(store: ConversationStore, title: str, *texts: str) -> str:
    """Create a conversation with a path of messages."""
    id = store.create(ME, TurnSettings(), title)
    parent: int | None = None
    for index, text in enumerate(texts):
        parent = store.add(ME, id, parent, ASSISTANT if index % 2 else USER, text, end=FinishReason.STOP)
    return id


def file(name: str, content: object) -> dict[str, str]:
    """Return the fields of importing JSON."""
    return {"name": name, "data": b64encode(gzip.compress(json.dumps(content).encode())).decode()}


async def test_delete_and_undo(listed: ListTab, store: ConversationStore) -> None:
    """Deleting a conversation stops the answer, and undo opens the conversation if wanted."""
    chat = RouteTab(ChatRoute(store, listed.route.assistant_for, listed.route.turns))
    await FollowedAnswer().grow(chat.follow(await chat.send()), until=1)
    id = str(chat.conversation)
    shown = await listed.act("delete", id=id)
    assert (shown["items"], [one["id"] for one in shown["deleted"]]) == ([], [id])
    removed = shown["removed"]
    assert (removed["kind"], removed["id"], removed["title"]) == ("conversation", id, "Hello")
    await asyncio.wait_for(listed.route.turns.wait_until_idle(), 30)
    shown = await listed.act("restore", id=id, open=True)
    assert ([one["id"] for one in shown["items"]], shown["opens"], shown["deleted"]) == ([id], id, [])
    assert store.conversation(ME, id).path()[-1].end is FinishReason.CANCELLED
    assert "opens" not in await listed.act("restore", id=id)
    await listed.act("delete", id=id)
    assert (await listed.act("erase", id=id))["deleted"] == []


async def test_a_match(listed: ListTab, store: ConversationStore) -> None:
    """A match selects its path and names all matches; a message without a match changes nothing."""
    id = create(store, "T", "zebra", "none")
    first, other = (node.id for node in store.conversation(ME, id).path())
    branch = store.add(ME, id, first, ASSISTANT, "zebras", end=FinishReason.STOP)
    store.select_version(ME, id, other)
    listed.search = "zebra"
    (item,) = (await listed.act("refresh"))["items"]
    assert item["matches"] == 2
    shown = await listed.act("match", id=id, node=branch)
    assert shown["match"] == {"conversation": id, "node": branch, "nodes": [first, branch], "search": "zebra"}
    assert store.conversation(ME, id).leaf == branch
    for node in (other, None, "1", [branch]):
        assert "match" not in await listed.act("match", id=id, node=node)
        assert store.conversation(ME, id).leaf == branch


async def test_pinned_are_never_cut(listed: ListTab, store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is too long loses the oldest conversations, never pinned or filed ones."""
    monkeypatch.setattr(conversation_list, "MAX_LISTED", 3)
    ids = [create(store, str(number)) for number in range(5)]
    await listed.act("pin", id=ids[0], pinned=True)
    shown = await listed.act("createFolder", name="F", ids=[ids[1]])
    assert ([one["title"] for one in shown["items"]], shown["isCut"]) == (["4", "1", "0"], True)
    assert [(one["pinned"], one["folder"] is not None) for one in shown["items"]] == [
        (False, False),
        (False, True),
        (True, False),
    ]


async def test_a_deleted_folder(listed: ListTab, store: ConversationStore) -> None:
    """The undo of a deleted folder creates a folder of the same name and content."""
    id = create(store, "T")
    (folder,) = (await listed.act("createFolder", name="F", ids=[id]))["folders"]
    shown = await listed.act("deleteFolder", id=folder["id"])
    removed = shown["removed"]
    assert (shown["folders"], shown["items"][0]["folder"], removed["title"]) == ([], None, "F")
    shown = await listed.act("createFolder", name=removed["title"], ids=removed["ids"])
    assert shown["items"][0]["folder"] == shown["folders"][0]["id"]


async def test_imports(listed: ListTab, store: ConversationStore) -> None:
    """An import opens the first conversation with the shown settings, and names omissions."""
    settings = shown(TurnSettings(model="m", temperature=0.25, system="Mine."))
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "Hello"},
    ]
    one = await listed.act("import", **file("one.json", messages), settings=settings)
    assert one["notice"] == "1 message of tools was left out."
    assert store.conversation(ME, one["opens"]).settings == TurnSettings(model="m", temperature=0.25)
    two = await listed.act("import", **file("two.json", [{"messages": messages[:1]}] * 2), settings={"seed": "x"})
    assert two["notice"] == "2 conversations were imported from two.json."
    assert (len(two["items"]), two["opens"] in {item["id"] for item in two["items"]}) == (3, True)
    assert store.conversation(ME, two["opens"]).settings == TurnSettings()
    with pytest.raises(InvalidRequestError, match=r"^three\.json cannot be imported: "):
        await listed.act("import", **file("three.json", [1]))
    assert len(store.list(ME)) == 3


async def test_exports(listed: ListTab, store: ConversationStore) -> None:
    """A conversation is exported as a file named after the title."""
    id = create(store, "Foxes & hens / 1", "Hello", "yes")
    found = [(await listed.act("export", id=id, form=form))["file"] for form in ("json", "markdown")]
    assert [one["name"] for one in found] == ["Foxes-hens-1.json", "Foxes-hens-1.md"]
    imported = await listed.act("import", **file(found[0]["name"], json.loads(found[0]["text"])))
    assert [node.text for node in store.conversation(ME, imported["opens"]).path()] == ["Hello", "yes"]


async def test_what_is_refused(listed: ListTab, store: ConversationStore) -> None:
    """Unknown actions, conversations and folders are refused in a sentence, without changes."""
    id = create(store, "T")
    events: list[dict[str, Any]] = [
        {"verb": "fly"},
        {"verb": "delete", "id": "x"},
        {"verb": "move", "id": id, "folder": "x"},
        {"verb": "createFolder", "name": " "},
        {"verb": "eraseAll"},
        {"verb": "erase", "id": id},
        {"verb": "rename", "id": id, "title": "T" * 301},
        {"verb": "export", "id": id, "form": "pdf"},
    ]
    for event in events:
        with pytest.raises(PellucidError):
            await listed.act(**event)
        assert [one["id"] for one in (await listed.act("refresh"))["items"]] == [id]


async def test_other_users(listed: ListTab, store: ConversationStore) -> None:
    """Nobody can list or change the conversations of a different user."""
    id = create(store, "T", "zebra")
    (folder,) = (await listed.act("createFolder", name="F", ids=[id]))["folders"]
    before = await listed.act("refresh")
    intruder = ListTab(listed.route, "you", "zebra")
    for verb in set(ACTIONS) - {"refresh", "import", "createFolder", "renameFolder", "collapseFolder", "deleteFolder"}:
        with pytest.raises(PellucidError):
            await intruder.act(verb, id=id, node=1, title="x", pinned=True, folder=folder["id"], form="json")
    for verb in ("renameFolder", "collapseFolder", "deleteFolder"):
        with pytest.raises(NotFoundError):
            await intruder.act(verb, id=folder["id"], name="x", collapsed=True)
    assert ((await intruder.act("refresh"))["items"], await listed.act("refresh")) == ([], before)
