"""Reader of ChatGPT's conversations.json, a list of conversations.

A conversation has ``title``, ``create_time``, ``update_time``, ``current_node`` and ``mapping``, an
object of nodes by id with ``parent`` and ``message`` (null for the root). A message has
``author.role``, ``create_time``, ``recipient``, ``metadata`` and ``content``. The value of
``content_type`` determines the members of a content: ``parts`` for text and multimodal_text,
``text`` for code. Contents of other types are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER
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

THOUGHTS = ("thoughts", "reasoning_recap")

CITATION = re.compile("\ue200[^\ue201]*\ue201")
"""A reference to a source, which only ChatGPT's page can show."""


def is_conversation(item: object) -> bool:
    return isinstance(item, Mapping) and "mapping" in item


def read_conversation(item: Mapping[str, Any]) -> ForeignConversation:
    mapping, left_out = item["mapping"], LeftOut()
    if not isinstance(mapping, Mapping):
        raise InvalidRequestError("Its mapping is not an object.")
    leaf = item.get("current_node")
    return ForeignConversation(
        messages=[_message(id, node, left_out) for id, node in mapping.items()],
        title=title(item.get("title")),
        leaf=leaf if isinstance(leaf, str) else None,
        created=seconds(item.get("create_time")),
        updated=seconds(item.get("update_time")),
        left_out=left_out,
    )


def _message(id: str, node: object, left_out: LeftOut) -> ForeignMessage:
    if not isinstance(node, Mapping):
        raise InvalidRequestError("One of the nodes of its mapping is not an object.")
    parent, message = node.get("parent"), node.get("message")
    found = ForeignMessage(id, parent if isinstance(parent, str) else None, None)
    if message is None:
        return found
    if not isinstance(message, Mapping) or not isinstance(message.get("author"), Mapping):
        raise InvalidRequestError("One of its messages is not an object with an author.")
    text = _shown_text(message, left_out)
    if text:
        role = message["author"].get("role")
        found.role, found.text, found.created = str(role), text, seconds(message.get("create_time"))
        found.model = name(member(message.get("metadata"), "model_slug")) if role == ASSISTANT else ""
    return found


def _shown_text(message: Mapping[str, Any], left_out: LeftOut) -> str:
    """Return the text of a message; empty if the message is left out."""
    content, role = message.get("content"), message["author"].get("role")
    kind, addressee = member(content, "content_type"), message.get("recipient")
    if member(message.get("metadata"), "is_visually_hidden_from_conversation") is True or role == SYSTEM:
        parts = member(content, "parts")
        if member(content, "text") or (isinstance(parts, list) and any(parts)):
            left_out.hidden()
    elif kind in THOUGHTS:
        left_out.thoughts()
    elif role == "tool" or (role == ASSISTANT and addressee not in (None, "all")):
        left_out.tools()
    elif role not in (USER, ASSISTANT):
        left_out.role(role)
    elif kind == "code":
        language = member(content, "language")
        text = member(content, "text")
        return (
            f"```{language if isinstance(language, str) and language.isalnum() else ''}\n{text}\n```"
            if isinstance(text, str) and text
            else ""
        )
    elif kind in ("text", "multimodal_text"):
        return CITATION.sub("", text_of(member(content, "parts"), left_out))
    else:
        left_out.hidden()
    return ""
