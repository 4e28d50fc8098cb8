"""A conversation's messages, from OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.api.schema.messages import ChatMessage
from pellucid.vocabulary.message import Message, ToolCall


def plain_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the messages with joined parts. The role developer is a newer name of system."""
    return [
        Message(
            "system" if message.role == "developer" else message.role,
            message.content
            if isinstance(message.content, str)
            else "".join(part.text for part in message.content or ()),
            [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls],
            message.tool_call_id,
            message.name,
            message.reasoning_content or "",
        )
        for message in messages
    ]
