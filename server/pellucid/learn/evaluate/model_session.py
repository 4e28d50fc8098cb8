"""Puts questions to a model and counts the tokens and times that they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pellucid.errors import PellucidError
from pellucid.learn.evaluate.subjects import Subject
from pellucid.tokens import BACKGROUND, Finish, FinishReason, Message, SamplingParams, Token, Usage


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A text, and whether it came to an end before its most tokens."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How probable a text was: the sum of its tokens' logprobs in nats, and how many they are."""

    logprob: float
    tokens: int

    @property
    def per_token(self) -> float:
        """The mean logprob in nats."""
        return self.logprob / self.tokens


class ModelSession:
    """Puts one question to a model, and counts what that costs."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.usage: Counter[str] = Counter()

    async def complete(
        self, prefix: str, suffix: str | None = None, params: SamplingParams = SamplingParams(), *, stop: Sequence[str] = ()
    ) -> ModelAnswer:
        """Continue a text or, with ``suffix``, fill the gap before it."""
        interface, name = self.subject.interface, self.subject.name
        return _answer(*await self._collect(interface.complete(prefix, suffix, (), params, model=name, stop=stop, terms=BACKGROUND)))

    async def chat(self, messages: Sequence[Message], params: SamplingParams) -> ModelAnswer:
        """Answer a conversation."""
        return _answer(*await self._collect(self.subject.interface.chat(messages, params, model=self.subject.name, terms=BACKGROUND)))

    async def read_ids(self, ids: Sequence[int]) -> list[Token]:
        """The tokens of a window of text, each with the model's first choice beside it."""
        tokens, _ = await self._collect(self.subject.interface.score(ids, model=self.subject.name, top_logprobs=1))
        assert len(tokens) == len(ids), "every token is read"
        return tokens

    async def token_ids(self, text: str) -> list[int]:
        """The ids of a text, the BOS in front where the model wants one."""
        return await self.subject.interface.token_ids(text, model=self.subject.name)

    async def likelihood(self, context: str, text: str) -> Likelihood:
        """How probable ``text`` is behind a context that is not empty; a token that begins in the context and ends in the text counts."""
        assert context, "the first token of all has no probability"
        tokens, _ = await self._collect(self.subject.interface.score(context + text, model=self.subject.name))
        left, total, count = len(text.encode()), 0.0, 0
        for token in reversed(tokens):  # from the end: in front there may be a BOS, or a space of the tokenizer's own
            if left <= 0:
                break
            if token.logprob is None:
                raise PellucidError(f"{self.subject.name} reads {context + text!r} as one token, of which it has no probability.")
            total += token.logprob
            count += 1
            left -= len(token.bytes)
        return Likelihood(total, count)

    async def _collect(self, stream: AsyncGenerator[Token | Finish]) -> tuple[list[Token], FinishReason]:
        tokens: list[Token] = []
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Token):
                    tokens.append(item)
                    continue
                if item.reason not in (FinishReason.STOP, FinishReason.LENGTH):
                    raise PellucidError(item.error or f"{self.subject.name} broke off an answer ({item.reason}): start this again.")
                self._count(item.usage)
                return tokens, item.reason
        raise AssertionError("a stream ends with a Finish")

    def _count(self, usage: Usage) -> None:
        """Tokens, and seconds in whole microseconds."""
        self.usage.update(
            requests=1,
            cached=usage.cached,
            computed=usage.computed,
            generated=usage.generated,
            prefill_us=round(usage.prefill * 1e6),
            decode_us=round(usage.decode * 1e6),
        )


def _answer(tokens: Sequence[Token], reason: FinishReason) -> ModelAnswer:
    return ModelAnswer("".join(token.text for token in tokens), reason is FinishReason.STOP)
