"""Commit messages of one line: the likeliest message, and messages after further beginnings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import exp
from typing import Protocol

from pellucid.client.assistant_protocol import Reader
from pellucid.completion.commit_message.commit_prompt import CommitPrompt, shortened
from pellucid.completion.shaping.branches import alternatives, force_alternative
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.query import CHAT, ChatQuery, SamplingParams, Terms
from pellucid.vocabulary.token import Token

MAX_MESSAGES = 9

EMPTY = "The model wrote no message: stage fewer files, or choose a larger model."
REPLACED = "A newer request replaced this request: ask again."


class Writer(Reader, Protocol):
    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]: ...


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """A message of at most 72 characters; the tokens end where the message ends."""

    tokens: tuple[Token, ...]
    finish: Finish

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def probability(self) -> float:
        """The geometric mean of the tokens' probabilities among the tokens that the form allows."""
        return exp(sum(token.constrained_logprob or 0.0 for token in self.tokens) / max(len(self.tokens), 1))


async def commit_messages(
    assistant: Writer, prompt: CommitPrompt, count: int = 1, *, model: str | None = None, terms: Terms = CHAT
) -> AsyncGenerator[CommitMessage]:
    """Yield up to ``count`` different messages, the greedy message first.

    Further messages are continued from the likeliest alternatives to the first message's tokens.
    Closing the generator cancels the request.
    """
    first = await _message(assistant, prompt, (), count, model, terms)
    if not first.text:
        raise InvalidRequestError(EMPTY)
    yield first
    texts = {first.text}
    for _, index, number in sorted(alternatives(first.tokens), reverse=True):
        if len(texts) == count:
            break
        begun = force_alternative(first.tokens, index, number)
        if begun is None or not prompt.allows("".join(token.text for token in begun)):
            continue
        other = await _message(assistant, prompt, begun, count, model, terms)
        if other.text not in texts:
            texts.add(other.text)
            yield other


async def _message(
    assistant: Writer, prompt: CommitPrompt, begun: Sequence[Token], count: int, model: str | None, terms: Terms
) -> CommitMessage:
    text = "".join(token.text for token in begun)
    params = SamplingParams(max_tokens=prompt.max_tokens, top_logprobs=5)
    query = ChatQuery(
        prompt.messages(text),
        params,
        model,
        stop=('"',),
        terms=terms,
        continue_last=True,
        grammar=prompt.rest_of(text),
    )
    tokens = [*begun]
    async with aclosing(assistant.chat(query)) as items:
        async for item in items:
            if isinstance(item, Token):
                tokens.append(item)
            else:
                finish = item
    if finish.reason is FinishReason.ERROR:
        raise PellucidError(finish.error or "The model failed at this answer; see the server log.")
    if finish.reason in (FinishReason.SUPERSEDED, FinishReason.CANCELLED):
        raise InvalidRequestError(REPLACED)
    return CommitMessage(tuple(_cut(tokens)), finish)


def _cut(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens of the shortened text."""
    room = len(shortened("".join(token.text for token in tokens)))
    for token in tokens:
        if room <= 0:
            return
        yield replace(token, text=token.text[:room])
        room -= len(token.text)
