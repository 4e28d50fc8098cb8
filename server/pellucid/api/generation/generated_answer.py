"""Collection of an answer's tokens, usage and Finish during generation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from pellucid.api.metrics import GenerationTimer
from pellucid.errors import PellucidError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.token import Token

Items = AsyncGenerator[Token | Finish]


@dataclass(slots=True)
class GeneratedAnswer:
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None
    usage: Usage | None = None

    def note(self, usage: Usage) -> None:
        self.usage = usage

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def end(self) -> Finish:
        assert self.finish is not None
        return self.finish

    def take(self, item: Token | Finish) -> None:
        """Add an item. Raises the error of a failed generation."""
        if isinstance(item, Token):
            self.tokens.append(item)
        else:
            self.finish = checked(item)


def checked(finish: Finish) -> Finish:
    """Return the Finish. Raises the error of a failed or cancelled generation."""
    if finish.reason is FinishReason.ERROR:
        raise PellucidError(finish.error or "The generation failed.")
    if finish.reason is FinishReason.CANCELLED:
        raise UnavailableError("The server is shutting down, so the answer was cancelled.")
    return finish


async def collect(items: Items, timer: GenerationTimer | None = None) -> GeneratedAnswer:
    """Return a whole generation, observed by ``timer``."""
    answer = GeneratedAnswer()
    async with aclosing(items) as source:
        async for item in source:
            if timer is not None:
                timer.note(item)
            answer.take(item)
    return answer
