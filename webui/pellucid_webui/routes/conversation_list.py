"""The list of conversations next to the chat."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.attachments import content_of
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.conversation import ConversationSummary
from pellucid_webui.conversations.exchange import import_export
from pellucid_webui.conversations.storage.deleted_conversations import KEPT_DAYS
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings, settings_of_controls
from pellucid_webui.page_threads import in_page_thread

MAX_TITLE_CHARACTERS = 300

MAX_LISTED = 500
"""Older conversations are found by searching."""

Asked = Mapping[str, Any]
"""``verb`` names the action, ``id`` the conversation or folder, ``search`` the tab's search."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConversationListRoute:
    store: ConversationStore
    assistant_for: AssistantFor
    turns: Turns

    async def act(self, owner: str, asked: Asked) -> AsyncGenerator[Payload]:
        """Run an action; yield the list for the search of the tab, with the action's result."""
        verb = str(asked.get("verb"))
        if verb not in ACTIONS:
            raise InvalidRequestError(f"The list of conversations has no action {verb!r}: reload the page.")
        more = await ACTIONS[verb](self, owner, asked)
        yield await in_page_thread(self._listed, owner, _search(asked)) | more

    def _listed(self, owner: str, search: str) -> Payload:
        self.store.deleted.erase_expired()
        found = self.store.list(owner, search, MAX_LISTED + 1)
        is_cut = len(found) > MAX_LISTED
        if is_cut:  # Keep pinned conversations and conversations in folders.
            found.remove(next((one for one in reversed(found) if not one.pinned and one.folder is None), found[-1]))
        return {
            "items": [_item(one) for one in found],
            "isCut": is_cut,
            "folders": [asdict(one) for one in self.store.folders.list(owner)],
            "deleted": [asdict(one) for one in self.store.deleted.list(owner, MAX_LISTED)],
            "keptDays": KEPT_DAYS,
            "search": search,
            "importLimit": import_export.MAX_IMPORT_BYTES,
        }

    async def _refresh(self, _: str, __: Asked) -> Payload:
        """Do nothing: every action is followed by the current list."""
        return {}

    async def _match(self, owner: str, asked: Asked) -> Payload:
        """Select the path to the match ``node`` of the search."""
        id, node, search = _id(asked), asked.get("node"), _search(asked)
        nodes = await in_page_thread(self.store.matches, owner, id, search)
        if node not in nodes:
            return {}
        await in_page_thread(self.store.select_version, owner, id, node)
        return {"match": {"conversation": id, "node": node, "nodes": nodes, "search": search}}

    async def _rename(self, owner: str, asked: Asked) -> Payload:
        title = str(asked.get("title", ""))
        if len(title) > MAX_TITLE_CHARACTERS:
            raise InvalidRequestError(f"A title has at most {MAX_TITLE_CHARACTERS} characters: shorten it.")
        await in_page_thread(self.store.rename, owner, _id(asked), title)
        return {}

    async def _pin(self, owner: str, asked: Asked) -> Payload:
        await in_page_thread(self.store.folders.pin, owner, _id(asked), asked.get("pinned") is True)
        return {}

    async def _delete(self, owner: str, asked: Asked) -> Payload:
        id = _id(asked)
        title = (await in_page_thread(self.store.conversation, owner, id)).title
        await ChatActions(owner, self.store, self.assistant_for(owner), self.turns).delete(id)
        return {"removed": {"kind": "conversation", "id": id, "title": title}}

    async def _restore(self, owner: str, asked: Asked) -> Payload:
        id = _id(asked)
        await in_page_thread(self.store.deleted.restore, owner, id)
        return {"opens": id} if asked.get("open") is True else {}

    async def _erase(self, owner: str, asked: Asked) -> Payload:
        deleted = await in_page_thread(self.store.deleted.list, owner, MAX_LISTED)
        if _id(asked) not in [one.id for one in deleted]:
            raise InvalidRequestError("Only a deleted conversation can be erased: delete it first.")
        await in_page_thread(self.store.deleted.erase, owner, _id(asked))
        return {}

    async def _erase_all(self, owner: str, _: Asked) -> Payload:
        await in_page_thread(self.store.deleted.erase_all, owner)
        return {}

    async def _move(self, owner: str, asked: Asked) -> Payload:
        folder = asked.get("folder")
        await in_page_thread(self.store.folders.move, owner, _id(asked), None if folder is None else str(folder))
        return {}

    async def _create_folder(self, owner: str, asked: Asked) -> Payload:
        folder = await in_page_thread(self.store.folders.create, owner, str(asked.get("name", "")))
        ids = asked.get("ids")
        for id in ids if isinstance(ids, list) else []:
            await in_page_thread(self.store.folders.move, owner, str(id), folder)
        return {}

    async def _rename_folder(self, owner: str, asked: Asked) -> Payload:
        await in_page_thread(self.store.folders.rename, owner, _id(asked), str(asked.get("name", "")))
        return {}

    async def _collapse_folder(self, owner: str, asked: Asked) -> Payload:
        await in_page_thread(self.store.folders.collapse, owner, _id(asked), asked.get("collapsed") is True)
        return {}

    async def _delete_folder(self, owner: str, asked: Asked) -> Payload:
        """Delete a folder; return enough data for the script's undo."""
        id = _id(asked)
        name = next((one.name for one in await in_page_thread(self.store.folders.list, owner) if one.id == id), "")
        ids = await in_page_thread(self.store.folders.delete, owner, id)
        return {"removed": {"kind": "folder", "id": id, "title": name, "ids": ids}}

    async def _export(self, owner: str, asked: Asked) -> Payload:
        return {"file": await in_page_thread(self._exported, owner, _id(asked), str(asked.get("form", "")))}

    async def _import(self, owner: str, asked: Asked) -> Payload:
        name, data = content_of(asked)
        imported = await in_page_thread(import_export.read_file, self.store, owner, data, name, _settings(asked))
        count = len(imported.ids)
        number = f"{count} conversations were imported from {name}." if count > 1 else ""
        return {"notice": " ".join(filter(None, [number, imported.left_out.sentence()])), "opens": imported.ids[0]}

    def _exported(self, owner: str, id: str, form: str) -> Payload:
        title = self.store.conversation(owner, id).title
        name = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "conversation"
        if form == "json":
            return {
                "name": f"{name}.json",
                "type": "application/json",
                "text": import_export.as_json(self.store, owner, id),
            }
        if form == "markdown":
            return {
                "name": f"{name}.md",
                "type": "text/markdown",
                "text": import_export.as_markdown(self.store, owner, id),
            }
        raise InvalidRequestError(f"Conversations are exported as json or markdown, not as {form!r}.")


Action = Callable[[ConversationListRoute, str, Asked], Awaitable[Payload]]
"""Runs an action, and returns additions to the payload, or raises a PellucidError."""

ACTIONS: Mapping[str, Action] = {
    "refresh": ConversationListRoute._refresh,
    "match": ConversationListRoute._match,
    "rename": ConversationListRoute._rename,
    "pin": ConversationListRoute._pin,
    "delete": ConversationListRoute._delete,
    "restore": ConversationListRoute._restore,
    "erase": ConversationListRoute._erase,
    "eraseAll": ConversationListRoute._erase_all,
    "move": ConversationListRoute._move,
    "createFolder": ConversationListRoute._create_folder,
    "renameFolder": ConversationListRoute._rename_folder,
    "collapseFolder": ConversationListRoute._collapse_folder,
    "deleteFolder": ConversationListRoute._delete_folder,
    "export": ConversationListRoute._export,
    "import": ConversationListRoute._import,
}


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


def _id(asked: Asked) -> str:
    return str(asked.get("id", ""))


def _search(asked: Asked) -> str:
    return str(asked.get("search", ""))


def _settings(asked: Asked) -> TurnSettings:
    """Return the controls' settings for imported conversations, or the defaults if invalid."""
    with suppress(PellucidError):
        return settings_of_controls(asked.get("settings"))
    return TurnSettings()
