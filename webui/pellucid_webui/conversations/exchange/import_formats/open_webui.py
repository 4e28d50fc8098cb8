"""Exports of open-webui: a chat or a list of chats.

A chat has ``title``, ``created_at``, ``updated_at`` and ``chat``, which has ``history``.
``history.messages`` is an object of messages by id with ``parentId``, ``role``, ``content``,
``timestamp``, ``model``, ``files`` and ``error``; ``history.currentId`` ends the path on display.
Old exports have only ``chat.messages``, a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.exchange.import_formats.foreign_conversation import (
    ForeignConversation,
    ForeignMessage,
    LeftOut,
    member,
    name,
    seconds,
    title,
)
from pellucid_webui.conversations.exchange.import_formats.message_content import text_of

MAX_ERROR_CHARACTERS = 500


def is_chat(item: object) -> bool:
    return isinstance(member(item, "chat"), Mapping) or isinstance(member(member(item, "history"), "messages"), Mapping)


def read_chat(item: Mapping[str, Any]) -> ForeignConversation:
    chat = item["chat"] if isinstance(item.get("chat"), Mapping) else item
    history = member(chat, "history")
    left_out = LeftOut()
    found = member(history, "messages")
    if found is None:
        found = _listed(chat.get("messages"))
    if not isinstance(found, Mapping):
        raise InvalidRequestError("Its messages are not an object.")
    system = member(chat.get("params"), "system") or chat.get("system")
    leaf = member(history, "currentId")
    return ForeignConversation(
        messages=[_message(id, message, left_out) for id, message in found.items()],
        title=title(item.get("title")) or title(chat.get("title")),
        system=system if isinstance(system, str) else "",
        leaf=leaf if isinstance(leaf, str) else None,
        created=seconds(item.get("created_at")) or seconds(chat.get("timestamp")),
        updated=seconds(item.get("updated_at")),
        left_out=left_out,
    )


def _listed(messages: object) -> dict[str, Any]:
    """Return listed messages as an object; each message replies to the previous message."""
    if not isinstance(messages, list):
        raise InvalidRequestError("It has no messages.")
    return {
        str(index): {**message, "parentId": str(index - 1)}
        for index, message in enumerate(messages)
        if isinstance(message, Mapping)
    }


def _message(id: str, message: object, left_out: LeftOut) -> ForeignMessage:
    if not isinstance(message, Mapping):
        raise InvalidRequestError("One of its messages is not an object.")
    parent, role = message.get("parentId"), message.get("role")
    found = ForeignMessage(id, parent if isinstance(parent, str) else None, None)
    if role == "tool":
        left_out.tools()
        return found
    if role not in (USER, ASSISTANT):
        left_out.role(role)
        return found
    text = text_of(message.get("content"), left_out)
    attached = _count_files(message.get("files"), left_out)
    error = _error(message.get("error"))
    if not text and not attached and error is None:
        return found
    found.role, found.text = str(role), text or (f"[{attached} left out]" if attached else "")
    found.created, found.model, found.error = (
        seconds(message.get("timestamp")),
        name(message.get("model")) if role == ASSISTANT else "",
        error,
    )
    return found


def _count_files(files: object, left_out: LeftOut) -> str:
    kinds = (
        ["image" if member(file, "type") == "image" else "file" for file in files] if isinstance(files, list) else []
    )
    for kind in kinds:
        left_out.media(kind)
    return kinds[0] if kinds else ""


def _error(error: object) -> str | None:
    if not error:
        return None
    content = member(error, "content") if isinstance(error, Mapping) else error
    return content[:MAX_ERROR_CHARACTERS] if isinstance(content, str) and content else "Failed."
