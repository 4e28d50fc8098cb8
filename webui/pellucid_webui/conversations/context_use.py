"""Tells how much of the model's context a conversation takes, and how fast its last answer was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pellucid.tokens import Usage
from pellucid_webui.conversations.conversation import Node
from pellucid_webui.conversations.model_view import estimated_tokens
from pellucid_webui.conversations.turn import Turn
from pellucid_webui.conversations.turn_settings import TurnSettings


def of_path(path: Sequence[Node], settings: TurnSettings) -> dict[str, Any] | None:
    """Return about how many tokens a path takes, and how fast its last answer was, if it has one; None for a path without messages."""
    if not path:
        return None
    counted = ((node.model, node.usage) for node in reversed(path) if node.usage is not None and node.usage.prompt)
    model, usage = next(counted, ("", Usage()))
    return _use(model, usage, estimated_tokens(path, settings))


def of_turn(model: str, turn: Turn) -> dict[str, Any] | None:
    """Return the tokens of an answer that is being generated; None until the model has read the prompt."""
    return (
        _use(model, turn.usage, turn.usage.prompt + max(turn.generated, turn.usage.generated))
        if turn.usage.prompt
        else None
    )


def _use(model: str, usage: Usage, tokens: int) -> dict[str, Any]:
    rate = (usage.generated - 1) / usage.decode if usage.generated > 1 and usage.decode else None
    return {"model": model, "tokens": tokens, "rate": rate}
