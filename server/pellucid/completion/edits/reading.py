"""Reads a proposed change: how much more probable the model finds the new lines than the old ones, in their place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from math import inf
from typing import Protocol

from pellucid.completion.edits.repeated_edits import Candidate
from pellucid.tokens import BACKGROUND, CompletionQuery, Extra, Finish, FinishReason, ScoreQuery, Terms, Token

PREFIX_LINES, SUFFIX_LINES = 8, 4
"""Lines around a change that the model reads. With 20 and 10 it decided no better, and took twice as long."""


class Reader(Protocol):
    """An assistant that reads."""

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Read a text."""
        ...


async def log_odds(
    assistant: Reader,
    candidate: Candidate,
    lines: Sequence[str],
    model: str | None = None,
    extra: Sequence[Extra] = (),
    terms: Terms = BACKGROUND,
) -> float:
    """Return log p(new lines) - log p(old lines), in nats; minus infinity if a reading was cut short.

    Both texts end with the next line that is not blank.
    """
    if lines and not lines[-1]:  # what follows the last line's end is no line
        lines = lines[:-1]
    end = candidate.first + len(candidate.old)
    follows = next((index + 1 for index in range(end, len(lines)) if lines[index].strip()), len(lines))
    prefix = _joined(lines[max(candidate.first - PREFIX_LINES, 0) : candidate.first])
    suffix = _joined(lines[follows : follows + SUFFIX_LINES])
    gap = CompletionQuery(prefix, suffix, extra)
    texts = [_joined([*part, *lines[end:follows]]) for part in (candidate.new, candidate.old)]
    new, old = [await text_logprob(assistant, ScoreQuery(text, model, terms=terms, gap=gap)) for text in texts]
    return -inf if new is None or old is None else new - old  # read one after the other: the second finds the prompt in the cache


async def text_logprob(assistant: Reader, query: ScoreQuery) -> float | None:
    """Return the log probability of a text; None if it was not read to its end."""
    if not query.text:
        return 0.0
    total = 0.0
    async with aclosing(assistant.score(query)) as items:
        async for item in items:
            if not isinstance(item, Finish):
                total += item.logprob or 0.0
            elif item.reason is not FinishReason.STOP:
                return None
    return total


def _joined(lines: Sequence[str]) -> str:
    return "".join(line + "\n" for line in lines)
