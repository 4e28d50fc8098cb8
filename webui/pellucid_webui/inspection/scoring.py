"""Scoring of a complete text with a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token

COMPLETE = (FinishReason.STOP, FinishReason.LENGTH)

Explain = Callable[[FinishReason], str]
"""Returns a sentence about a stream that was cut short."""


async def score(assistant: Assistant, query: ScoreQuery, add: Callable[[Token], None], explain: Explain) -> None:
    """Score a text. Raises a PellucidError if scoring fails or is cut short."""
    async with aclosing(assistant.score(query)) as items:
        async for item in items:
            if isinstance(item, Finish):
                require_complete(item, explain)
            else:
                add(item)


def require_complete(finish: Finish, explain: Explain) -> None:
    """Raise a PellucidError for a stream that was cut short."""
    if finish.reason not in COMPLETE:
        raise PellucidError(finish.error or explain(finish.reason))
