"""Use of the context, and speed of the last answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pellucid.vocabulary.finish import Usage
from pellucid_webui.conversations.conversation import Node
from pellucid_webui.conversations.model_view import estimated_tokens
from pellucid_webui.conversations.turn import Turn
from pellucid_webui.conversations.turn_settings import TurnSettings


def of_path(path: Sequence[Node], settings: TurnSettings) -> dict[str, Any] | None:
    """Return a path's estimated tokens and the last answer's speed."""
    if not path:
        return None
    counted = ((node.model, node.usage) for node in reversed(path) if node.usage is not None and node.usage.prompt)
    model, usage = next(counted, ("", Usage()))
    return _use(model, usage, estimated_tokens(path, settings))


def of_turn(model: str, turn: Turn) -> dict[str, Any] | None:
    """Return the tokens of a running answer, if the model has read the prompt."""
    return (
        _use(model, turn.usage, turn.usage.prompt + max(turn.generated, turn.usage.generated))
        if turn.usage.prompt
        else None
    )


def _use(model: str, usage: Usage, tokens: int) -> dict[str, Any]:
    rate = (usage.generated - 1) / usage.decode if usage.generated > 1 and usage.decode else None
    return {"model": model, "tokens": tokens, "rate": rate}
