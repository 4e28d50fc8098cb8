"""The tokens of a stream and the stream's Finish."""

from __future__ import annotations

from pellucid.text.answer import Stream
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.token import Token


async def collect(stream: Stream) -> tuple[list[Token], Finish]:
    """Return all tokens of a stream and the Finish, which must be the last item."""
    items = [item async for item in stream]
    finish = items.pop()
    assert isinstance(finish, Finish)
    tokens = [item for item in items if isinstance(item, Token)]
    assert len(tokens) == len(items)
    return tokens, finish
