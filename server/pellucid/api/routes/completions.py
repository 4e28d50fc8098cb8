"""/v1/completions: a text to continue, or a gap to fill."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.routes.generation import (
    GeneratedAnswer,
    Items,
    check_stream_options,
    collect,
    collect_all,
    end_details,
    finish_word,
    merge,
    reply_id,
    sampling_params,
    stop_texts,
    tells_usage,
    terms_of,
    usage_reply,
    usage_so_far,
)
from pellucid.api.routes.legacy_logprobs import legacy_logprobs, prompt_logprobs
from pellucid.api.schema.common import MOST_CHOICES
from pellucid.api.schema.openai import CompletionChoice, CompletionReply, CompletionRequest, UsageReply
from pellucid.api.sse import Event, attend, event_stream, json_response
from pellucid.api.state import ServerState, state_of
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import CompletionQuery, Extra, Finish, Priority, ScoreQuery, Terms, Token, Usage

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)

Prompt = str | list[int]


@router.post("/v1/completions", responses={200: stream_or(CompletionReply), **GENERATION_ERRORS})
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue a text or, with ``suffix``, fill the gap before it, with every token's probability.

    The default temperature is 1. With ``echo`` and ``logprobs`` the prompt's tokens have their logprobs too, the first
    one null. A seed counts up from one of ``n`` answers to the next. A superseded answer ends with what there is:
    ``finish_reason`` says stop, ``pellucid.reason`` superseded.
    """
    _check(body)
    state = state_of(request)
    assistant, card = state.find(body.model)
    state.check_answers(card.name, len(_prompts(body)) * body.n, "n")
    work = _Completion(state, assistant, card.name, body, request)
    if body.stream:
        return await event_stream(request, state, work.events())
    return await attend(request, state, work.reply())


def _check(body: CompletionRequest) -> None:
    """Raise InvalidRequestError for fields that contradict each other."""
    check_stream_options(body)
    if body.best_of not in (None, body.n):
        raise InvalidRequestError("best_of must be equal to n: answers are not picked from a larger number.", param="best_of")
    if body.suffix is None and body.input_extra:
        raise InvalidRequestError("input_extra needs a suffix, if only an empty one: it belongs to an infill.", param="input_extra")
    if not all(isinstance(prompt, str) for prompt in _prompts(body)):
        for name in ("suffix", "heal", "parse_special"):
            if getattr(body, name) not in (None, False):
                raise InvalidRequestError(f"{name} needs a prompt that is text, not token ids.", param=name)
    if body.suffix is not None:
        for name in ("echo", "parse_special"):
            if getattr(body, name):
                raise InvalidRequestError(f"{name} is not supported together with suffix.", param=name)
        if body.prompt_logprobs is not None or body.return_token_ids:
            raise InvalidRequestError("prompt_logprobs and return_token_ids are not supported together with suffix.", param="suffix")
    if body.heal and body.return_token_ids:
        raise InvalidRequestError("return_token_ids is not supported together with heal.", param="return_token_ids")
    if body.stream and body.prompt_logprobs is not None:
        raise InvalidRequestError("prompt_logprobs is not supported in a stream: use echo with logprobs.", param="prompt_logprobs")
    if len(_prompts(body)) * body.n > MOST_CHOICES:
        raise InvalidRequestError(f"One request may have at most {MOST_CHOICES} answers: prompts times n.", param="n")


def _prompts(body: CompletionRequest) -> list[Prompt]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [prompt]
    prompts: list[Prompt] = []
    for item in prompt:
        if isinstance(item, int):
            return [[id for id in prompt if isinstance(id, int)]]
        prompts.append(item)
    return prompts


@dataclass
class _Completion:
    """One request on its way. Answers are numbered prompt by prompt, ``n`` for each."""

    state: ServerState
    assistant: LocalAssistant
    model: str
    body: CompletionRequest
    request: Request
    id: str = field(default_factory=lambda: reply_id("cmpl"))
    created: int = field(default_factory=lambda: int(time.time()))
    prompts: list[Prompt] = field(init=False)
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = _prompts(self.body)
        self.begun = self.state.clock()

    async def reply(self) -> Response:
        """All answers, whole."""
        read = [await self._read(prompt) for prompt in self.prompts]
        answers = await collect_all(self._generations())
        return await self.assistant.off_loop(lambda: json_response(self._whole(read, answers)), self.model, math.inf)

    def _whole(self, read: Sequence[GeneratedAnswer], answers: Sequence[GeneratedAnswer]) -> CompletionReply:
        choices = [self._whole_choice(index, answer, read[index // self.body.n]) for index, answer in enumerate(answers)]
        return self._reply(choices, usage=usage_reply(self._prompt_usages(read, answers), [answer.end.usage for answer in answers]))

    async def events(self) -> AsyncGenerator[Event]:
        """The parts of all answers as they come."""
        read = [await self._read(prompt) for prompt in self.prompts]
        answers = [GeneratedAnswer() for _ in range(len(self.prompts) * self.body.n)]
        offsets = [0] * len(answers)
        begun = [not self.body.echo and not self.body.return_token_ids] * len(answers)
        generations = self._generations(answers if tells_usage(self.body) else None)
        async with aclosing(merge(generations)) as items:
            async for index, item in items:
                answers[index].take(item)
                if not begun[index]:
                    begun[index] = True
                    echoed = partial(self._echo_choice, index, read[index // self.body.n])
                    choice = await self.assistant.off_loop(echoed, self.model, math.inf)
                    offsets[index] += len(choice.text)
                    yield self._reply([choice])
                if isinstance(item, Token):
                    yield self._reply([self._part(index, item, offsets[index])], usage=usage_so_far(answers[index]))
                    offsets[index] += len(item.text)
                else:
                    yield self._reply([self._last(index, item)])
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            usages = [answer.end.usage for answer in answers]
            yield self._reply([], usage=usage_reply(self._prompt_usages(read, answers), usages))

    def _generations(self, told: Sequence[GeneratedAnswer] | None = None) -> list[Items]:
        """All answers; those in ``told`` are told what they cost as they come."""
        return [
            self._generation(prompt, choice, number * self.body.n + choice, told)
            for number, prompt in enumerate(self.prompts)
            for choice in range(self.body.n)
        ]

    def _generation(self, prompt: Prompt, choice: int, number: int, told: Sequence[GeneratedAnswer] | None) -> Items:
        body = self.body
        query = CompletionQuery(
            prompt,
            body.suffix,
            [Extra(file.filename, file.text) for file in body.input_extra],
            sampling_params(body, body.max_tokens, body.logprobs or 0, choice),
            model=self.model,
            stop=stop_texts(body.stop),
            terms=self._terms(number),
            heal=body.heal,
            special=body.parse_special,
        )
        items = self.assistant.complete(query, on_usage=None if told is None else told[number].note)
        return self.state.metrics.measured(items, self.model, self.state.clock)

    async def _read(self, prompt: Prompt) -> GeneratedAnswer:
        """The prompt's tokens with their probabilities, where the request asks for them."""
        body = self.body
        scored = body.prompt_logprobs if body.prompt_logprobs is not None else body.logprobs if body.echo else None
        if scored is None:
            return GeneratedAnswer()
        top = max(scored, body.logprobs or 0) if body.echo else scored
        terms = replace(self._terms(0), key=None)  # a request does not supersede itself
        query = ScoreQuery(prompt, model=self.model, top_logprobs=top, terms=terms, special=body.parse_special)
        return await collect(self.assistant.score(query))

    def _terms(self, number: int) -> Terms:
        """The terms of an answer; the deadline is the whole request's, however much of it reading the prompt took."""
        default = Priority.CHAT if self.body.suffix is None else Priority.COMPLETION
        terms = terms_of(self.body, self.request, default, number)
        return terms if terms.deadline is None else replace(terms, deadline=terms.deadline - (self.state.clock() - self.begun))

    def _prompt_usages(self, read: Sequence[GeneratedAnswer], answers: Sequence[GeneratedAnswer]) -> list[Usage]:
        first = answers[:: self.body.n]
        return [(scored if scored.finish else answer).end.usage for scored, answer in zip(read, first, strict=True)]

    def _whole_choice(self, index: int, answer: GeneratedAnswer, read: GeneratedAnswer) -> CompletionChoice:
        body = self.body
        choice = self._last(index, answer.end)
        choice.text = answer.text
        shown = answer.tokens
        if body.echo:
            choice.text = self._prompt_text(index) + answer.text
            shown = read.tokens + answer.tokens
        if body.logprobs is not None:
            choice.logprobs = legacy_logprobs(shown, 0, body.logprobs)
        if body.prompt_logprobs is not None:
            choice.prompt_logprobs = prompt_logprobs(read.tokens, body.prompt_logprobs)
        if body.return_token_ids:
            choice.token_ids = [token.id for token in answer.tokens]
            choice.prompt_token_ids = self._prompt_ids(index)
        return choice

    def _echo_choice(self, index: int, read: GeneratedAnswer) -> CompletionChoice:
        """The prompt as the first part of an answer."""
        body = self.body
        return CompletionChoice(
            index=index,
            text=self._prompt_text(index) if body.echo else "",
            logprobs=legacy_logprobs(read.tokens, 0, body.logprobs) if body.echo and body.logprobs is not None else None,
            finish_reason=None,
            prompt_token_ids=self._prompt_ids(index) if body.return_token_ids else None,
        )

    def _part(self, index: int, token: Token, offset: int) -> CompletionChoice:
        body = self.body
        return CompletionChoice(
            index=index,
            text=token.text,
            logprobs=None if body.logprobs is None else legacy_logprobs([token], offset, body.logprobs),
            finish_reason=None,
            token_ids=[token.id] if body.return_token_ids else None,
        )

    def _last(self, index: int, finish: Finish) -> CompletionChoice:
        return CompletionChoice(index=index, text="", logprobs=None, finish_reason=finish_word(finish), pellucid=end_details(finish))

    def _prompt_text(self, index: int) -> str:
        prompt = self.prompts[index // self.body.n]
        return prompt if isinstance(prompt, str) else self.assistant.detokenize(prompt, self.model)

    def _prompt_ids(self, index: int) -> list[int]:
        prompt = self.prompts[index // self.body.n]
        if not isinstance(prompt, str):
            return prompt
        pieces = self.assistant.tokenize(prompt, self.model, special=self.body.parse_special, add_special=True)
        return [piece.id for piece in pieces]

    def _reply(self, choices: list[CompletionChoice], usage: UsageReply | None = None) -> CompletionReply:
        return CompletionReply(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)
