"""Messages in OpenAI's style: a list, or an object with a list ``messages``.

Leading messages of the role system or developer form the system prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

INSTRUCTIONS = (SYSTEM, "developer")


def is_message(item: object) -> bool:
    return (
        isinstance(item, Mapping) and isinstance(item.get("role"), str) and ("content" in item or "tool_calls" in item)
    )


def is_conversation(item: object) -> bool:
    messages = item if isinstance(item, list) else member(item, "messages")
    return isinstance(messages, list) and bool(messages) and is_message(messages[0])


def read_conversation(item: Mapping[str, Any] | Sequence[Any]) -> ForeignConversation:
    about: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
    left_out = LeftOut()
    messages = about["messages"] if isinstance(item, Mapping) else item
    system: list[str] = []
    found: list[ForeignMessage] = []
    for number, message in enumerate(messages, 1):
        if not is_message(message):
            raise InvalidRequestError(f"Message {number} is not an object with a role and a content.")
        if message["role"] in INSTRUCTIONS and len(system) == number - 1:
            system.append(text_of(message.get("content"), left_out))
        else:
            found.append(_message(number, message, name(about.get("model")), left_out))
    created = seconds(about.get("created_at")) or seconds(about.get("created"))
    return ForeignConversation(
        messages=found,
        title=title(about.get("title")),
        system="\n\n".join(filter(None, system)),
        created=created,
        left_out=left_out,
    )


def _message(number: int, message: Mapping[str, Any], model: str, left_out: LeftOut) -> ForeignMessage:
    found = ForeignMessage(str(number), str(number - 1), None)
    role = message["role"]
    if role in ("tool", "function"):
        left_out.tools()
    elif role not in (USER, ASSISTANT):
        left_out.role(role)
    else:
        text = text_of(message.get("content"), left_out)
        if message.get("tool_calls") or message.get("function_call"):
            left_out.tools()
        if text:
            found.role, found.text, found.model = role, text, model if role == ASSISTANT else ""
    return found
