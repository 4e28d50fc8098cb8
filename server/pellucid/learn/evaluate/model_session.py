"""Asks a model questions, and counts tokens and times."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pellucid.client.assistant_protocol import Reader
from pellucid.errors import PellucidError
from pellucid.learn.evaluate.subjects import Subject
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import BACKGROUND, ChatQuery, CompletionQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """``ended`` is False after a cut at the token limit."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The log-likelihood of a text in nats."""

    logprob: float
    tokens: int

    @property
    def per_token(self) -> float:
        return self.logprob / self.tokens


class ModelSession(Reader):
    """Counts the tokens and times (in whole microseconds) of a question in ``usage``."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.usage: Counter[str] = Counter()

    async def complete(
        self,
        prefix: str,
        suffix: str | None = None,
        params: SamplingParams = SamplingParams(),
        *,
        stop: Sequence[str] = (),
    ) -> ModelAnswer:
        query = CompletionQuery(prefix, suffix, (), params, model=self.subject.name, stop=stop, terms=BACKGROUND)
        return _answer(*await self._collect(self.subject.interface.complete(query)))

    async def chat(self, messages: Sequence[Message], params: SamplingParams) -> ModelAnswer:
        query = ChatQuery(messages, params, model=self.subject.name, terms=BACKGROUND)
        return _answer(*await self._collect(self.subject.interface.chat(query)))

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        async with aclosing(self.subject.interface.score(query)) as items:
            async for item in items:
                if isinstance(item, Finish):
                    self._check(item)
                    self._count(item.usage)
                yield item

    async def read_ids(self, ids: Sequence[int]) -> list[Token]:
        """Score a window, with the model's first choice at each position."""
        tokens, _ = await self._collect(
            self.subject.interface.score(ScoreQuery(ids, model=self.subject.name, top_logprobs=1))
        )
        assert len(tokens) == len(ids), "every token is read"
        return tokens

    async def token_ids(self, text: str) -> list[int]:
        return await self.subject.interface.token_ids(text, model=self.subject.name)

    async def likelihood(self, context: str, text: str) -> Likelihood:
        """Return the likelihood of ``text`` after a non-empty context.

        A token that spans the border belongs to the text.
        """
        assert context, "the first token of all has no probability"
        tokens, _ = await self._collect(
            self.subject.interface.score(ScoreQuery(context + text, model=self.subject.name))
        )
        left, total, count = len(text.encode()), 0.0, 0
        # Reversed, because BOS or a space added by the tokenizer may come first.
        for token in reversed(tokens):
            if left <= 0:
                break
            if token.logprob is None:
                raise PellucidError(
                    f"{self.subject.name} reads {context + text!r} as one token, which has no probability."
                )
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
                self._check(item)
                self._count(item.usage)
                return tokens, item.reason
        raise AssertionError("a stream ends with a Finish")

    def _check(self, finish: Finish) -> None:
        if finish.reason not in (FinishReason.STOP, FinishReason.LENGTH):
            raise PellucidError(
                finish.error
                or f"{self.subject.name} did not finish an answer ({finish.reason}): run the command again."
            )

    def _count(self, usage: Usage) -> None:
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
