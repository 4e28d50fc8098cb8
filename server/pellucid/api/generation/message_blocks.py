"""Converts the conversation of a request to /v1/messages."""

from __future__ import annotations

from pellucid.api.generation.request_fields import ignored_fields
from pellucid.api.schema.messages import ConversationFields, InputTurn, TextBlock
from pellucid.tokens import Message, ModelCard

BILLING = "x-anthropic-billing-header:"
"""The beginning of Claude Code's first system block, which differs in each request, so that nothing after it could come from the cache."""


def conversation(body: ConversationFields) -> list[Message]:
    """Return the messages, the system message first."""
    system = _system(body)
    return ([Message("system", system)] if system else []) + [Message(turn.role, _text(turn)) for turn in body.messages]


def ignored_parts(body: ConversationFields, card: ModelCard) -> list[str]:
    """Return the names of the fields and blocks that have no effect on the answer."""
    blocks = [
        f"messages.{number}.content.{index}"
        for number, turn in enumerate(body.messages)
        if not isinstance(turn.content, str)
        for index, block in enumerate(turn.content)
        if not isinstance(block, TextBlock)
    ]
    return [*ignored_fields(body, card), *(["system.0"] if _has_billing(body) else []), *blocks]


def _system(body: ConversationFields) -> str:
    if isinstance(body.system, str):
        return body.system
    return "\n\n".join(block.text for block in body.system[1 if _has_billing(body) else 0 :])


def _has_billing(body: ConversationFields) -> bool:
    return bool(body.system) and not isinstance(body.system, str) and body.system[0].text.startswith(BILLING)


def _text(turn: InputTurn) -> str:
    return turn.content if isinstance(turn.content, str) else "".join(block.text for block in turn.content if isinstance(block, TextBlock))
