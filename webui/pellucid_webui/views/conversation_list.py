"""The list of conversations on the page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
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
Pellucid.mountConversations({ element, props, watch, act: (data) => trigger('act', data) });
"""

MAX_LISTED = 500
"""Conversations in the list: older ones are found by searching."""

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Serves the lists of all tabs."""

    chat_view: ChatView

    @property
    def store(self) -> ConversationStore:
        """Where the conversations are."""
        return self.chat_view.store

    async def act(self, session: TabState, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the script asks for; the list after that."""
        try:
            more = await self._verbs(session, asked)
        except PellucidError as error:
            more = {"notice": {"n": next(_NUMBERS), "text": str(error)}}
        return await self.payload(session) | more

    async def payload(self, session: TabState) -> dict[str, Any]:
        """The list, as the script draws it."""
        found = await asyncio.to_thread(self.store.list, session.owner, session.search, MAX_LISTED + 1)
        items = [
            {"id": one.id, "title": one.title, "updated": one.updated, "messages": one.messages, "snippet": one.snippet} for one in found
        ]
        return {
            "items": items[:MAX_LISTED],
            "isCut": len(items) > MAX_LISTED,
            "open": session.conversation,
            "search": session.search,
            "notice": {"n": next(_NUMBERS), "text": ""},
            "importLimit": import_export.MAX_IMPORT_BYTES,
        }

    async def _verbs(self, session: TabState, asked: Mapping[str, Any]) -> dict[str, Any]:
        verb, id = asked.get("verb"), str(asked.get("id", ""))
        owner = session.owner
        if verb == "new":
            session.look_at(None)
        elif verb == "open":
            await asyncio.to_thread(self.store.conversation, owner, id)
            session.look_at(id)
        elif verb == "search":
            text = str(asked.get("text", ""))
            await asyncio.to_thread(self.store.list, owner, text, 1)  # which says what cannot be searched for
            session.search = text
        elif verb == "rename":
            await asyncio.to_thread(self.store.rename, owner, id, str(asked.get("title", "")))
        elif verb == "delete":
            await self.chat_view.chat(session).delete(id)
            if session.conversation == id:
                session.look_at(None)
        elif verb == "export":
            return {"file": await asyncio.to_thread(self._exported, owner, id, str(asked.get("form", "")))}
        elif verb == "import":
            name, data = content_of(asked)
            text = await asyncio.to_thread(import_export.unpacked, data, name)
            session.look_at(await asyncio.to_thread(import_export.read, self.store, owner, text, name))
        else:
            raise InvalidRequestError(f"The list of conversations cannot {verb!r}.")
        return {}

    def _exported(self, owner: str, id: str, form: str) -> dict[str, Any]:
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
        raise InvalidRequestError(f"A conversation is exported as json or markdown, not as {form!r}.")


def conversation_list_panel() -> gr.HTML:
    """The component; its script triggers ``act``."""
    return gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-shelf", apply_default_css=False)
