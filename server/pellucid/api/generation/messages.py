"""A conversation's messages, from OpenAI's form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pellucid.api.schema.messages import ChatMessage, TextPart
from pellucid.vocabulary.message import Image, Message, ToolCall


def joined(parts: Iterable[str | Image]) -> tuple[str, tuple[Image, ...]]:
    """Return the texts in a single text, and the images with their places in the text."""
    texts, images, length = list[str](), list[Image](), 0
    for part in parts:
        if isinstance(part, Image):
            images.append(replace(part, at=length))
        else:
            texts.append(part)
            length += len(part)
    return "".join(texts), tuple(images)


def plain_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the messages with joined parts. The role developer is a newer name of system."""
    return [_plain(message) for message in messages]


def _plain(message: ChatMessage) -> Message:
    content, images = joined(
        [message.content]
        if isinstance(message.content, str)
        else (part.text if isinstance(part, TextPart) else part.image() for part in message.content or ())
    )
    return Message(
        "system" if message.role == "developer" else message.role,
        content,
        [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls],
        message.tool_call_id,
        message.name,
        message.reasoning_content or "",
        images,
    )
