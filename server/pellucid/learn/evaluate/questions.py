"""A model under test, what it can do, and how one question is put to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pellucid.errors import PellucidError
from pellucid.learn.reading import Reader
from pellucid.tokens import (
    BACKGROUND,
    ChatQuery,
    CompletionQuery,
    Finish,
    FinishReason,
    Message,
    SamplingParams,
    ScoreQuery,
    Token,
    Usage,
)


class Ability(StrEnum):
    """What a suite may need of a model and of the way to it; the words go into sentences."""

    COMPLETE = "completions of a text"
    SCORE = "the probabilities of a given text"
    IDS = "the probabilities of given token ids"
    USAGE = "the times and token counts of each request"


class Voice(Reader, Protocol):
    """The verbs that questions are put with; an assistant has them all, here or at the other end of HTTP."""

    def complete(self, query: CompletionQuery) -> AsyncGenerator[Token | Finish]:
        """Continue a text or, with a suffix, fill the gap before it."""
        ...

    def chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under test.

    ``identity`` is all that may change its answers, ``parameters`` the weights that a token is multiplied by (None where that is not
    known), ``resident`` the memory of the process that computes in bytes, where that can be asked.
    """

    name: str
    description: str
    identity: Mapping[str, str | int]
    voice: Voice
    abilities: frozenset[Ability]
    context: int
    infill: bool
    chat: bool
    weight_bytes: int | None = None
    parameters: int | None = None
    resident: Callable[[], int | None] = lambda: None


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


class Asking:
    """Puts one question to a model, and counts what that costs."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.usage: Counter[str] = Counter()

    async def complete(
        self, prefix: str, suffix: str | None = None, params: SamplingParams = SamplingParams(), *, stop: Sequence[str] = ()
    ) -> ModelAnswer:
        """Continue a text or, with ``suffix``, fill the gap before it."""
        query = CompletionQuery(prefix, suffix, (), params, model=self.subject.name, stop=stop, terms=BACKGROUND)
        return _answer(*await self._collect(self.subject.voice.complete(query)))

    async def chat(self, messages: Sequence[Message], params: SamplingParams) -> ModelAnswer:
        """Answer a conversation."""
        query = ChatQuery(messages, params, model=self.subject.name, terms=BACKGROUND)
        return _answer(*await self._collect(self.subject.voice.chat(query)))

    async def read_ids(self, ids: Sequence[int]) -> list[Token]:
        """The tokens of a window of text, each with the model's first choice beside it."""
        tokens, _ = await self._collect(self.subject.voice.score(ScoreQuery(ids, model=self.subject.name, top_logprobs=1)))
        assert len(tokens) == len(ids), "every token is read"
        return tokens

    async def token_ids(self, text: str) -> list[int]:
        """The ids of a text, the BOS in front where the model wants one."""
        return await self.subject.voice.token_ids(text, model=self.subject.name)

    async def likelihood(self, context: str, text: str) -> Likelihood:
        """How probable ``text`` is behind a context that is not empty; a token that begins in the context and ends in the text counts."""
        assert context, "the first token of all has no probability"
        tokens, _ = await self._collect(self.subject.voice.score(ScoreQuery(context + text, model=self.subject.name)))
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
