"""Serves the list of conversations next to the chat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import gradio as gr

from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations import import_export
from pellucid_webui.conversations.attachments import content_of
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.views.chat import ChatView

SCRIPT = """
Pellucid.mountConversations(Pellucid.shared("conversations", { element, props, watch, act: (data) => trigger('act', data) }));
"""

MAX_LISTED = 500
"""Conversations in the list: older ones are found by searching."""

_NUMBERS = count(1)

Event = Mapping[str, Any]
"""The data of an event: ``verb`` names the action, ``id`` the conversation."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Serves the lists of all tabs."""

    chats: ChatView

    @property
    def store(self) -> ConversationStore:
        """The store of the conversations."""
        return self.chats.store

    async def act(self, tab: TabState, event: Event) -> Payload:
        """Run the action of an event, and return the list after it, with a notice if the action failed."""
        try:
            more = await _action(str(event.get("verb")))(self, tab, event)
        except PellucidError as error:
            more = {"notice": {"n": next(_NUMBERS), "text": str(error)}}
        return await self.payload(tab) | more

    async def payload(self, tab: TabState) -> Payload:
        """Return the list as the script draws it."""
        found = await asyncio.to_thread(self.store.list, tab.owner, tab.search, MAX_LISTED + 1)
        items = [
            {"id": one.id, "title": one.title, "updated": one.updated, "messages": one.messages, "snippet": one.snippet} for one in found
        ]
        return {
            "items": items[:MAX_LISTED],
            "isCut": len(items) > MAX_LISTED,
            "open": tab.conversation,
            "search": tab.search,
            "notice": {"n": next(_NUMBERS), "text": ""},
            "importLimit": import_export.MAX_IMPORT_BYTES,
        }

    async def _new(self, tab: TabState, _: Event) -> Payload:
        tab.look_at(None)
        return {}

    async def _open(self, tab: TabState, event: Event) -> Payload:
        id = _id(event)
        await asyncio.to_thread(self.store.conversation, tab.owner, id)
        tab.look_at(id)
        return {}

    async def _search(self, tab: TabState, event: Event) -> Payload:
        text = str(event.get("text", ""))
        await asyncio.to_thread(self.store.list, tab.owner, text, 1)  # raises for a search that is not allowed
        tab.search = text
        return {}

    async def _rename(self, tab: TabState, event: Event) -> Payload:
        await asyncio.to_thread(self.store.rename, tab.owner, _id(event), str(event.get("title", "")))
        return {}

    async def _delete(self, tab: TabState, event: Event) -> Payload:
        id = _id(event)
        await self.chats.actions(tab).delete(id)
        if tab.conversation == id:
            tab.look_at(None)
        return {}

    async def _export(self, tab: TabState, event: Event) -> Payload:
        return {"file": await asyncio.to_thread(self._exported, tab.owner, _id(event), str(event.get("form", "")))}

    async def _import(self, tab: TabState, event: Event) -> Payload:
        name, data = content_of(event)
        text = await asyncio.to_thread(import_export.unpacked, data, name)
        tab.look_at(await asyncio.to_thread(import_export.read, self.store, tab.owner, text, name))
        return {}

    def _exported(self, owner: str, id: str, form: str) -> Payload:
        """Return a conversation as a file for the browser to save."""
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
"""Runs an action, and returns what to add to the payload of the list. Raises a PellucidError for the tab to show."""

ACTIONS: Mapping[str, Action] = {
    "new": ConversationList._new,
    "open": ConversationList._open,
    "search": ConversationList._search,
    "rename": ConversationList._rename,
    "delete": ConversationList._delete,
    "export": ConversationList._export,
    "import": ConversationList._import,
}
"""Every action of the list's script, by its verb."""


def conversation_list_panel() -> gr.HTML:
    """Return the component whose script triggers ``act``."""
    return gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-shelf", apply_default_css=False)


def _action(verb: str) -> Action:
    if verb not in ACTIONS:
        raise InvalidRequestError(f"The list of conversations has no action {verb!r}: reload the page.")
    return ACTIONS[verb]


def _id(event: Event) -> str:
    return str(event.get("id", ""))
