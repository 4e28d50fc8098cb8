"""The list of conversations next to the chat."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import gradio as gr

from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.attachments import content_of
from pellucid_webui.conversations.conversation import ConversationSummary
from pellucid_webui.conversations.exchange import import_export
from pellucid_webui.conversations.storage.deleted_conversations import KEPT_DAYS
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.views.chat.chat_view import ChatView
from pellucid_webui.views.script_panel import script_panel

MAX_LISTED = 500
"""Older conversations are found by searching."""

_NUMBERS = count(1)

_OPENED = "opened"
"""Set by an action that opens a conversation or a new chat."""

Event = Mapping[str, Any]
"""``verb`` names the action, ``id`` the conversation or folder."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConversationList:
    chats: ChatView

    @property
    def store(self) -> ConversationStore:
        return self.chats.store

    async def act(self, tab: TabState, event: Event) -> tuple[Payload, bool]:
        """Run an action; return the list, and whether a conversation was opened."""
        try:
            more = await _action(str(event.get("verb")))(self, tab, event)
        except PellucidError as error:
            more = {"notice": _notice(str(error))}
        opened = bool(more.pop(_OPENED, False))
        tab.shown_once |= {name: more[name] for name in ("removed", "match") if name in more}
        # Always sent: later updates lack the file or notice.
        once = {"order": 0} if "file" in more or "notice" in more else {}
        return await self.payload(tab) | more | once, opened

    async def payload(self, tab: TabState) -> Payload:
        return await in_page_thread(self._payload, tab)

    def _payload(self, tab: TabState) -> Payload:
        order = next(_NUMBERS)  # Before reading the list: a concurrent change makes a newer list.
        self.store.deleted.erase_expired()
        found = self.store.list(tab.owner, tab.search, MAX_LISTED + 1)
        is_cut = len(found) > MAX_LISTED
        if is_cut:  # Keep pinned conversations and conversations in folders.
            found.remove(next((one for one in reversed(found) if not one.pinned and one.folder is None), found[-1]))
        return {
            "items": [_item(one) for one in found],
            "isCut": is_cut,
            "folders": [asdict(one) for one in self.store.folders.list(tab.owner)],
            "deleted": [asdict(one) for one in self.store.deleted.list(tab.owner, MAX_LISTED)],
            "keptDays": KEPT_DAYS,
            "open": tab.conversation,
            "search": tab.search,
            "order": order,
            "notice": _notice(""),
            "importLimit": import_export.MAX_IMPORT_BYTES,
            **tab.shown_once,
        }

    async def _refresh(self, _: TabState, __: Event) -> Payload:
        """Do nothing: every action is followed by the current list."""
        return {}

    async def _new(self, tab: TabState, _: Event) -> Payload:
        tab.show_conversation(None)
        return {_OPENED: True}

    async def _open(self, tab: TabState, event: Event) -> Payload:
        """Open a conversation, on the path to the match ``node`` if given."""
        id, node = _id(event), event.get("node")
        await in_page_thread(self.store.conversation, tab.owner, id)
        more: Payload = {}
        nodes = await in_page_thread(self.store.matches, tab.owner, id, tab.search)
        if node in nodes:
            await in_page_thread(self.store.select_version, tab.owner, id, node)
            more = {
                "match": {"n": next(_NUMBERS), "conversation": id, "node": node, "nodes": nodes, "search": tab.search}
            }
        tab.show_conversation(id)
        return more | {_OPENED: True}

    async def _search(self, tab: TabState, event: Event) -> Payload:
        text = str(event.get("text", ""))
        await in_page_thread(self.store.list, tab.owner, text, 1)  # Raises for an invalid search.
        tab.search = text
        return {}

    async def _rename(self, tab: TabState, event: Event) -> Payload:
        await in_page_thread(self.store.rename, tab.owner, _id(event), str(event.get("title", "")))
        return {}

    async def _pin(self, tab: TabState, event: Event) -> Payload:
        await in_page_thread(self.store.folders.pin, tab.owner, _id(event), event.get("pinned") is True)
        return {}

    async def _delete(self, tab: TabState, event: Event) -> Payload:
        id = _id(event)
        title = (await in_page_thread(self.store.conversation, tab.owner, id)).title
        await self.chats.actions(tab).delete(id)
        was_open = tab.conversation == id
        if was_open:
            tab.show_conversation(None)
        return {
            "removed": {"n": next(_NUMBERS), "kind": "conversation", "id": id, "title": title, "wasOpen": was_open},
            _OPENED: was_open,
        }

    async def _restore(self, tab: TabState, event: Event) -> Payload:
        id = _id(event)
        await in_page_thread(self.store.deleted.restore, tab.owner, id)
        opens = event.get("open") is True
        if opens:
            tab.show_conversation(id)
        return {_OPENED: opens}

    async def _erase(self, tab: TabState, event: Event) -> Payload:
        await in_page_thread(self.store.deleted.erase, tab.owner, _id(event))
        return {}

    async def _erase_all(self, tab: TabState, _: Event) -> Payload:
        await in_page_thread(self.store.deleted.erase_all, tab.owner)
        return {}

    async def _move(self, tab: TabState, event: Event) -> Payload:
        folder = event.get("folder")
        await in_page_thread(self.store.folders.move, tab.owner, _id(event), None if folder is None else str(folder))
        return {}

    async def _create_folder(self, tab: TabState, event: Event) -> Payload:
        folder = await in_page_thread(self.store.folders.create, tab.owner, str(event.get("name", "")))
        ids = event.get("ids")
        for id in ids if isinstance(ids, list) else []:
            await in_page_thread(self.store.folders.move, tab.owner, str(id), folder)
        return {}

    async def _rename_folder(self, tab: TabState, event: Event) -> Payload:
        await in_page_thread(self.store.folders.rename, tab.owner, _id(event), str(event.get("name", "")))
        return {}

    async def _collapse_folder(self, tab: TabState, event: Event) -> Payload:
        await in_page_thread(self.store.folders.collapse, tab.owner, _id(event), event.get("collapsed") is True)
        return {}

    async def _delete_folder(self, tab: TabState, event: Event) -> Payload:
        """Delete a folder; return enough data for the script's undo."""
        id = _id(event)
        name = next((one.name for one in await in_page_thread(self.store.folders.list, tab.owner) if one.id == id), "")
        ids = await in_page_thread(self.store.folders.delete, tab.owner, id)
        return {"removed": {"n": next(_NUMBERS), "kind": "folder", "id": id, "title": name, "ids": ids}}

    async def _export(self, tab: TabState, event: Event) -> Payload:
        return {"file": await in_page_thread(self._exported, tab.owner, _id(event), str(event.get("form", "")))}

    async def _import(self, tab: TabState, event: Event) -> Payload:
        name, data = content_of(event)
        imported = await in_page_thread(import_export.read_file, self.store, tab.owner, data, name, tab.settings)
        tab.show_conversation(imported.ids[0])
        count = len(imported.ids)
        number = f"{count} conversations were imported from {name}." if count > 1 else ""
        return {
            "notice": _notice(" ".join(filter(None, [number, imported.left_out.sentence()])), wrong=False),
            _OPENED: True,
        }

    def _exported(self, owner: str, id: str, form: str) -> Payload:
        title = self.store.conversation(owner, id).title
        name = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "conversation"
        if form == "json":
            return {
                "n": next(_NUMBERS),
                "name": f"{name}.json",
                "type": "application/json",
                "text": import_export.as_json(self.store, owner, id),
            }
        if form == "markdown":
            return {
                "n": next(_NUMBERS),
                "name": f"{name}.md",
                "type": "text/markdown",
                "text": import_export.as_markdown(self.store, owner, id),
            }
        raise InvalidRequestError(f"Conversations are exported as json or markdown, not as {form!r}.")


Action = Callable[[ConversationList, TabState, Event], Awaitable[Payload]]
"""Runs an action, and returns additions to the payload, or raises a PellucidError."""

ACTIONS: Mapping[str, Action] = {
    "refresh": ConversationList._refresh,
    "new": ConversationList._new,
    "open": ConversationList._open,
    "search": ConversationList._search,
    "rename": ConversationList._rename,
    "pin": ConversationList._pin,
    "delete": ConversationList._delete,
    "restore": ConversationList._restore,
    "erase": ConversationList._erase,
    "eraseAll": ConversationList._erase_all,
    "move": ConversationList._move,
    "createFolder": ConversationList._create_folder,
    "renameFolder": ConversationList._rename_folder,
    "collapseFolder": ConversationList._collapse_folder,
    "deleteFolder": ConversationList._delete_folder,
    "export": ConversationList._export,
    "import": ConversationList._import,
}


def conversation_list_panel() -> gr.HTML:
    return script_panel("mountConversations", "pl-conversation-panel", shared_as="conversations")


def _item(one: ConversationSummary) -> Payload:
    found = (
        {} if one.match is None else {"snippet": one.match.snippet, "node": one.match.node, "matches": one.match.count}
    )
    return {
        "id": one.id,
        "title": one.title,
        "updated": one.updated,
        "messages": one.messages,
        "pinned": one.pinned,
        "folder": one.folder,
        **found,
    }


def _notice(sentence: str, *, wrong: bool = True) -> Payload:
    """Return a sentence to show once; ``wrong`` marks an error."""
    return {"n": next(_NUMBERS), "text": sentence, "wrong": wrong}


def _action(verb: str) -> Action:
    if verb not in ACTIONS:
        raise InvalidRequestError(f"The list of conversations has no action {verb!r}: reload the page.")
    return ACTIONS[verb]


def _id(event: Event) -> str:
    return str(event.get("id", ""))
