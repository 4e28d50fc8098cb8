"""/v1/completions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from pellucid.api.dialects.openai.common import remaining, usage_so_far
from pellucid.api.dialects.openai.completions_schema import (
    CompletionBody,
    CompletionChoice,
    CompletionReply,
    CompletionRequest,
)
from pellucid.api.dialects.openai.logprobs import legacy_logprobs, prompt_logprobs
from pellucid.api.dialects.tabby.editor_plugins import TabbyCompletionReply, TabbyCompletionRequest, suggest
from pellucid.api.generation.generated_answer import GeneratedAnswer, Items, collect
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import (
    finish_word,
    ignored_fields,
    reply_id,
    stop_texts,
    terms_of,
    usage_reply,
)
from pellucid.api.generation.requested_grammar import requested_grammar
from pellucid.api.generation.tool_calls import answer_end
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.sampling import MAX_CHOICES
from pellucid.api.schema.usage import UsageReply
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import Event, attend, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import prompt_ids, prompt_text
from pellucid.text.spelled_infill import read_spelled_infill
from pellucid.text.text_model import run_off_loop
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, Extra, Priority, ScoreQuery, Terms
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)

T = TypeVar("T")

Prompt = str | list[int]


@router.post("/v1/completions", responses={200: stream_or(CompletionReply | TabbyCompletionReply), **GENERATION_ERRORS})
async def completions(body: Annotated[CompletionBody, Body()], request: Request) -> Response:
    """Continue a text, or with ``suffix`` fill a gap, with every token's probability.

    A prompt that spells an infill with the model's own markers is read as an infill. The default
    temperature is 1. With ``echo`` and ``logprobs``, the prompt's tokens have logprobs, too (null
    for the first token). With ``max_tokens`` 1, an additional entry follows, even if the model ends
    the text there. Each of ``n`` answers has the previous answer's seed plus one. A superseded
    answer ends with the tokens so far: ``finish_reason`` is stop, ``pellucid.reason`` is
    superseded.

    A body with ``segments`` is from Tabby's editor plugins; the reply has Tabby's shape. The
    suggestion ends before a blank line, and before a line with less indentation than the cursor's.
    If the text right of the cursor is more than closing punctuation, the suggestion is the rest of
    the line.
    """
    if isinstance(body, TabbyCompletionRequest):
        return await suggest(body, request)
    _check(body)
    state = state_of(request)
    assistant, card = await state.find(body.model, strict=body.strict_model)
    state.check_answers(card.name, len(_prompts(body)) * body.n, "n")
    job = _CompletionJob(request, assistant, card, body)
    if job.scores_prompts:
        await attend(request, state.closing, job.read_prompts())
    return await job.respond(stream=body.stream)


def _check(body: CompletionRequest) -> None:
    """Raise InvalidRequestError for contradictory fields."""
    body.check_stream_options()
    if body.best_of not in (None, body.n):
        raise InvalidRequestError(
            "best_of must be equal to n: the server returns every answer that it generates.", param="best_of"
        )
    if body.suffix is None and body.input_extra:
        raise InvalidRequestError(
            "input_extra is for infills: send a suffix too, which may be empty.", param="input_extra"
        )
    if not all(isinstance(prompt, str) for prompt in _prompts(body)):
        for name in ("suffix", "heal", "parse_special"):
            if getattr(body, name) not in (None, False):
                raise InvalidRequestError(f"{name} needs a prompt of text, not of token ids.", param=name)
    if body.suffix is not None:
        for name in ("echo", "parse_special"):
            if getattr(body, name):
                raise InvalidRequestError(f"{name} is not supported together with suffix.", param=name)
        if body.prompt_logprobs is not None or body.return_token_ids:
            raise InvalidRequestError(
                "prompt_logprobs and return_token_ids are not supported together with suffix.", param="suffix"
            )
    if body.heal and body.return_token_ids:
        raise InvalidRequestError("return_token_ids is not supported together with heal.", param="return_token_ids")
    if body.stream and body.prompt_logprobs is not None:
        raise InvalidRequestError(
            "prompt_logprobs is not supported in streams: use echo with logprobs.", param="prompt_logprobs"
        )
    if len(_prompts(body)) * body.n > MAX_CHOICES:
        raise InvalidRequestError(
            f"One request may have at most {MAX_CHOICES} answers (prompts times n): send fewer prompts or a smaller n.",
            param="n",
        )


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


class _CompletionJob(GenerationJob):
    """Prompts with ``n`` answers each, in the order of the prompts."""

    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: CompletionRequest) -> None:
        prompts = _prompts(body)
        on_the_way, ignored = body.wants_usage_on_the_way, ignored_fields(body, card)
        super().__init__(request, assistant, card, len(prompts) * body.n, usage_on_the_way=on_the_way, ignored=ignored)
        self._served = assistant.models.find(card.name)
        self._body = body
        self._grammar = requested_grammar(body)
        self._id = reply_id("cmpl")
        self._created = int(time.time())
        self._begun = self.state.clock()
        self._queries = [self._query(prompt) for prompt in prompts]
        self._scored = (
            body.prompt_logprobs if body.prompt_logprobs is not None else body.logprobs if body.echo else None
        )
        self._read = [GeneratedAnswer() for _ in prompts]
        self._offsets = [0] * len(self.answers)

    @property
    def scores_prompts(self) -> bool:
        return self._scored is not None

    async def read_prompts(self) -> None:
        body = self._body
        top = max(self._scored or 0, body.logprobs or 0 if body.echo else 0)
        for number, query in enumerate(self._queries):
            terms = replace(self._terms(0), key=None)  # A request does not supersede itself.
            asked = ScoreQuery(query.prefix, model=self.model, top_logprobs=top, terms=terms, special=query.special)
            self._read[number] = await collect(self.assistant.score(asked))

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        params = body.sampling_params(body.max_tokens, body.logprobs or 0, number % body.n)
        if body.echo and body.logprobs is not None and body.max_tokens == 1:
            # lm-eval reads a text with these fields, and drops the last entry of the logprobs: the
            # last entry must be the answer's, even if the model ends there.
            params = replace(params, ignore_eos=True)
        query = replace(self._queries[number // body.n], params=params, terms=self._terms(number))
        return self.assistant.complete(query, on_usage=on_usage)

    async def whole(self) -> Response:
        ends = [await answer_end(answer) for answer in self.answers]
        return await self._off_loop(lambda: json_response(self._whole(ends)))

    def _whole(self, ends: Sequence[EndDetails]) -> CompletionReply:
        choices = [
            self._whole_choice(index, answer, end)
            for index, (answer, end) in enumerate(zip(self.answers, ends, strict=True))
        ]
        return self._reply(choices, self._usage())

    async def first_part(self, number: int) -> Event | None:
        if not self._body.echo and not self._body.return_token_ids:
            return None
        choice = await self._off_loop(partial(self._echo_choice, number))
        self._offsets[number] = len(choice.text)
        return self._reply([choice])

    def part(self, number: int, token: Token) -> Event:
        body, offset = self._body, self._offsets[number]
        self._offsets[number] += len(token.text)
        choice = CompletionChoice(
            index=number,
            text=token.text,
            logprobs=None if body.logprobs is None else legacy_logprobs([token], offset, body.logprobs),
            finish_reason=None,
            token_ids=[token.id] if body.return_token_ids else None,
        )
        return self._reply([choice], usage_so_far(self.answers[number]))

    async def last_part(self, number: int, finish: Finish) -> Event:
        return self._reply([_last(number, finish, await answer_end(self.answers[number]))])

    def closing(self) -> Event | None:
        return self._reply([], self._usage()) if self._body.wants_usage else None

    def _query(self, prompt: Prompt) -> CompletionQuery:
        """Return the query of a prompt, without differences between answers."""
        body, stop = self._body, stop_texts(self._body.stop)
        query = CompletionQuery(prompt, model=self.model, stop=stop, heal=body.heal, special=bool(body.parse_special))
        query = replace(query, grammar=self._grammar, with_fields=body.logprobs is not None)
        if body.suffix is not None:
            return replace(
                query, suffix=body.suffix, extra=[Extra(file.filename, file.text) for file in body.input_extra]
            )
        spelled = (
            read_spelled_infill(prompt, self._served.model.infill)
            if isinstance(prompt, str) and body.parse_special is None
            else None
        )
        if spelled is None:
            return query
        if body.echo or body.prompt_logprobs is not None or body.return_token_ids:
            # The reply has the prompt's own tokens, so the prompt is read as written.
            return replace(query, special=True)
        extra = spelled.extra if self.card.files else ()
        return replace(query, prefix=spelled.prefix, suffix=spelled.suffix, extra=extra)

    def _terms(self, number: int) -> Terms:
        default = Priority.CHAT if self._queries[number // self._body.n].suffix is None else Priority.COMPLETION
        terms = terms_of(self._body, self.request, default, number)
        return remaining(terms, self.state.clock() - self._begun)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await run_off_loop(self._served, 0, work, math.inf)

    def _usage(self) -> UsageReply:
        first = self.answers[:: self._body.n]
        prompts = [(scored if scored.finish else answer).end for scored, answer in zip(self._read, first, strict=True)]
        return usage_reply([end.usage for end in prompts], [answer.end.usage for answer in self.answers], prompts)

    def _whole_choice(self, index: int, answer: GeneratedAnswer, end: EndDetails) -> CompletionChoice:
        body, prompt = self._body, index // self._body.n
        choice = _last(index, answer.end, end)
        choice.text = answer.text
        shown = answer.tokens
        if body.echo:
            choice.text = prompt_text(self._served, self._queries[prompt]) + answer.text
            shown = self._read[prompt].tokens + answer.tokens
        if body.logprobs is not None:
            choice.logprobs = legacy_logprobs(shown, 0, body.logprobs)
        if body.prompt_logprobs is not None:
            choice.prompt_logprobs = prompt_logprobs(self._read[prompt].tokens, body.prompt_logprobs)
        if body.return_token_ids:
            choice.token_ids = [token.id for token in answer.tokens]
            choice.prompt_token_ids = prompt_ids(self._served, self._queries[prompt])
        return choice

    def _echo_choice(self, index: int) -> CompletionChoice:
        body, prompt = self._body, index // self._body.n
        tokens = self._read[prompt].tokens
        return CompletionChoice(
            index=index,
            text=prompt_text(self._served, self._queries[prompt]) if body.echo else "",
            logprobs=legacy_logprobs(tokens, 0, body.logprobs) if body.echo and body.logprobs is not None else None,
            finish_reason=None,
            prompt_token_ids=prompt_ids(self._served, self._queries[prompt]) if body.return_token_ids else None,
        )

    def _reply(self, choices: list[CompletionChoice], usage: UsageReply | None = None) -> CompletionReply:
        return CompletionReply(
            id=self._id, created=self._created, model=self.model, choices=choices, usage=usage, pellucid=self.details()
        )


def _last(index: int, finish: Finish, end: EndDetails) -> CompletionChoice:
    return CompletionChoice(index=index, text="", logprobs=None, finish_reason=finish_word(finish), pellucid=end)
