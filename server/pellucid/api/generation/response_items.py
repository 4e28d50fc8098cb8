"""Converts the conversation of a request to /v1/responses."""

from __future__ import annotations

from pellucid.api.generation.request_fields import ignored_fields
from pellucid.api.schema.responses import LOGPROBS, InputMessage, InputPart, ReasoningItem, ResponsesRequest
from pellucid.tokens import Message, ModelCard


def conversation(body: ResponsesRequest) -> list[Message]:
    """Return the messages, the instructions first. The role developer is a newer name of system."""
    messages = [Message("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, Message("user", body.input)]
    return messages + [_message(item) for item in body.input if isinstance(item, InputMessage)]


def ignored_parts(body: ResponsesRequest, card: ModelCard) -> list[str]:
    """Return the names of the fields and items that have no effect on the answer."""
    ignored = ignored_fields(body, card)
    if any(value != LOGPROBS for value in body.include):
        ignored.append("include")
    items = [] if isinstance(body.input, str) else body.input
    return ignored + [f"input.{number}" for number, item in enumerate(items) if isinstance(item, ReasoningItem)]


def _message(item: InputMessage) -> Message:
    return Message("system" if item.role == "developer" else item.role, joined(item.content))


def joined(content: str | list[InputPart]) -> str:
    """Return the text of a content."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
