"""An answer: the ids of the engine become the tokens of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from pellucid.door.users import CurrentRequest
from pellucid.engine.request import Constraint, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import InvalidRequestError
from pellucid.text.detokenizer import Detokenizer
from pellucid.text.reasoning import ReasoningReader
from pellucid.text.score_windows import RequestKeys
from pellucid.text.stopping import StopGate
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.structured.json_fields import json_fields
from pellucid.text.text_model import TextModel
from pellucid.text.tool_calls.call_constraint import CallConstraint
from pellucid.text.tool_calls.call_reader import CallReader
from pellucid.text.usage_meter import UsageMeter, first_difference
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.query import ChatQuery, CompletionQuery
from pellucid.vocabulary.token import Token

Stream = AsyncGenerator[Token | Finish]
"""Tokens, then one Finish. Closing the generator cancels the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request to the engine, and the objects that turn its token ids into text.

    ``form`` is the request's constraint of the text after the reasoning.
    """

    served: TextModel
    query: CompletionQuery | ChatQuery
    request: Request
    detokenizer: Detokenizer
    gate: StopGate
    form: Constraint | None = None
    reasoning: ReasoningReader | None = None
    calls: CallReader | None = None
    loose_functions: tuple[str, ...] = ()

    def check_form(self, finish: Finish) -> None:
        """Raise InvalidRequestError if the answer failed because of the asked form."""
        constraint, grammar = self.form, self.query.grammar
        if (
            finish.reason is FinishReason.ERROR
            and isinstance(constraint, GrammarConstraint | CallConstraint)
            and constraint.failure
        ):
            field = "tools" if grammar is None else grammar.field
            raise InvalidRequestError(
                f"{field} asks for a form that the answer cannot keep to: {constraint.failure}.", param=field
            )

    async def finish(self, finish: Finish, tokens: list[Token]) -> Finish:
        gate, grammar, request = self.gate, self.query.grammar, self.request
        is_whole = gate.reason is None and finish.reason is FinishReason.STOP
        fields = None
        if self.shows_fields:
            assert grammar is not None
            matcher = await self.served.grammars.matcher(grammar, request.cache_salt)
            fields = tuple(await asyncio.to_thread(json_fields, tokens, matcher))
        return replace(
            finish,
            reason=gate.reason or finish.reason,
            stop=gate.stop,
            complete=is_whole if isinstance(self.form, GrammarConstraint) else None,
            first_difference=first_difference(finish.usage, request.prompt, self.served.tokenizer),
            loose_functions=self.loose_functions,
            fields=fields,
        )

    def split(self, tokens: list[Token]) -> tuple[list[Token], list[Token]]:
        """Return the tokens of the reasoning, and the tokens of the answer."""
        if self.reasoning is None:
            return [], tokens
        read = [one for token in tokens for one in self.reasoning.read(token)]
        return [one for one in read if one.reasoning is not None], [one for one in read if one.reasoning is None]

    @property
    def is_over(self) -> bool:
        """True if the answer has ended before the engine's end."""
        has_ended = self.reasoning is not None and self.reasoning.ended
        return has_ended or self.gate.reason is not None or (self.calls is not None and self.calls.closed)

    @property
    def shows_fields(self) -> bool:
        grammar = self.query.grammar
        return self.query.with_fields and grammar is not None and grammar.is_json


async def generate(
    prepare: Callable[[], Awaitable[Answer]],
    key: str | None,
    keys: RequestKeys,
    user: CurrentRequest,
    on_usage: OnUsage | None,
) -> Stream:
    user.begin(key)
    answer = await prepare()
    request, detokenizer, gate, calls = answer.request, answer.detokenizer, answer.gate, answer.calls
    meter = UsageMeter(user, len(request.prediction), on_usage)
    finish: Finish | None = None
    kept: list[Token] | None = [] if answer.shows_fields else None
    with keys.hold(key):
        async with aclosing(answer.served.engine.generate(answer.served.name, request)) as items:
            async for item in items:
                if isinstance(item, TokenScore):
                    meter.count(item)
                    reasoned, tokens = answer.split(detokenizer.feed(item))
                    for token in reasoned:
                        yield token
                    for token in gate.feed(tokens if calls is None else calls.feed(tokens)):
                        if kept is not None:
                            kept.append(token)
                        yield token
                    if answer.is_over:
                        break
                elif isinstance(item, Finish):
                    finish = item
                else:
                    meter.admit(item, len(request.prompt))
    rest: list[Token] = []
    if finish is None:  # Something else ended the answer before the engine.
        finish = Finish(FinishReason.STOP, meter.usage())
    else:
        meter.end(finish.usage)
        if finish.reason is FinishReason.SUPERSEDED:
            user.end_superseded(key)
        answer.check_form(finish)
        reasoned, tokens = answer.split(detokenizer.flush())
        for token in reasoned:
            yield token
        if answer.reasoning is not None:
            tokens = [*tokens, *answer.reasoning.finish()]
        rest = [*gate.feed(tokens if calls is None else [*calls.feed(tokens), *calls.finish()])]
    for token in [*rest, *gate.finish()]:
        if kept is not None:
            kept.append(token)
        yield token
    yield await answer.finish(finish, kept or [])
