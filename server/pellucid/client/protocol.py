"""What the page needs of an assistant: it cannot tell one in this process from one at the other end of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from pellucid.tokens import BACKGROUND, CHAT, COMPLETION, GREEDY, Extra, Finish, Message, ModelCard, OnUsage, SamplingParams, Terms, Token


class Assistant(Protocol):
    """The verbs. Each gives tokens, then one Finish; closing the generator cancels the request."""

    def complete(
        self,
        prefix: str,
        suffix: str | None = None,
        extra: Sequence[Extra] = (),
        params: SamplingParams = GREEDY,
        *,
        model: str | None = None,
        stop: Sequence[str] = (),
        terms: Terms = COMPLETION,
        heal: bool | None = None,
        special: bool = False,
        on_usage: OnUsage | None = None,
    ) -> AsyncGenerator[Token | Finish]:
        """Continue a text or, with ``suffix``, fill the gap before it."""
        ...

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams = GREEDY,
        *,
        model: str | None = None,
        stop: Sequence[str] = (),
        terms: Terms = CHAT,
        continue_last: bool = False,
        on_usage: OnUsage | None = None,
    ) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation or, with ``continue_last``, go on with its last message."""
        ...

    def score(
        self,
        text: str | Sequence[int] | Sequence[Message],
        *,
        model: str | None = None,
        top_logprobs: int = 0,
        terms: Terms = BACKGROUND,
        special: bool = False,
    ) -> AsyncGenerator[Token | Finish]:
        """Read a text, token ids or a conversation."""
        ...

    async def infill_prompt(self, prefix: str, suffix: str, extra: Sequence[Extra] = (), *, model: str | None = None) -> str:
        """The prompt of an infill as the model reads it, its markers included."""
        ...

    async def cards(self) -> list[ModelCard]:
        """The models that are served, the default one first."""
        ...
