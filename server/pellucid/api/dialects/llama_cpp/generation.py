"""/infill and /completion for llama.cpp's clients (llama.vim, llama.vscode)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.dialects.llama_cpp.generation_schema import (
    Generation,
    InfillRequest,
    LlamaChunk,
    LlamaCompletionRequest,
    LlamaDetails,
    LlamaReply,
    PickedReply,
)
from pellucid.api.dialects.llama_cpp.reply import pick_fields, stop_type, timings, token_probs
from pellucid.api.dialects.llama_cpp.sampler_steps import check_order, keep_steps
from pellucid.api.generation.generated_answer import GeneratedAnswer, Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import choice_seed, ignored_fields, supersede_key
from pellucid.api.generation.requested_grammar import requested_grammar
from pellucid.api.generation.tool_calls import answer_end
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.sampling import MAX_TOKENS
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import SSE_WITHOUT_DONE, Event
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import prompt_text, token_biases
from pellucid.text.stopping import EndingRule, LeastIndent, TimeLimit
from pellucid.text.text_model import run_off_loop
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, Extra, Priority, SamplingParams, Terms
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["llama.cpp"], route_class=JsonRoute)

Replies = LlamaReply | list[LlamaReply] | PickedReply | list[PickedReply]

COMPLETION_TEMPERATURE = 0.8
INFILL_TEMPERATURE = 0.0


@router.post("/infill", responses={200: stream_or(Replies), **GENERATION_ERRORS})
async def infill(body: InfillRequest, request: Request) -> Response:
    """Fill the gap between ``input_prefix`` + ``prompt`` and ``input_suffix``.

    The prompt has the model's best measured infill format. For a model without infill tokens,
    the prompt is the text before the gap, and the answer ends where the answer begins to repeat the
    suffix. Texts are trimmed to the server's infill_window and, together with texts of other files,
    to the context. The default temperature is 0. ``n_predict: 0`` reads the prompt into the cache
    (a warm-up). With ``n_cmpl`` above 1, the response is an array. A superseded answer has
    ``stop_type`` none and ``superseded`` true.
    """
    return await _respond(body, request, INFILL_TEMPERATURE)


@router.post("/completion", responses={200: stream_or(Replies), **GENERATION_ERRORS})
@router.post("/completions", responses={200: stream_or(Replies), **GENERATION_ERRORS}, include_in_schema=False)
async def completion(body: LlamaCompletionRequest, request: Request) -> Response:
    """Continue a text or token ids.

    The default temperature is 0.8; the remaining fields are as in /infill.
    """
    return await _respond(body, request, COMPLETION_TEMPERATURE)


async def _respond(body: InfillRequest | LlamaCompletionRequest, request: Request, temperature: float) -> Response:
    state = state_of(request)
    _check(body)
    assistant, card = await state.find(body.model, strict=body.strict_model)
    state.check_answers(card.name, body.n_cmpl, "n_cmpl")
    make = partial(_LlamaJob, request, assistant, card, body, temperature)
    # A list of biases may have texts, which are tokenized off the event loop.
    served = assistant.models.find(card.name)
    job = await run_off_loop(served, 0, make) if isinstance(body.logit_bias, list) else make()
    return await job.respond(stream=body.stream, format=SSE_WITHOUT_DONE)


def _check(body: Generation) -> None:
    """Raise InvalidRequestError for contradictory fields."""
    if body.stream and body.response_fields is not None:
        raise InvalidRequestError("response_fields is not supported in streams.", param="response_fields")
    if body.stream and body.n_cmpl > 1:
        raise InvalidRequestError("n_cmpl above 1 is not supported in streams.", param="n_cmpl")
    if body.post_sampling_probs:
        neutral = (
            body.repeat_penalty == 1
            and body.presence_penalty == 0
            and body.frequency_penalty == 0
            and not body.logit_bias
        )
        if not body.n_probs:
            raise InvalidRequestError(
                "post_sampling_probs needs n_probs: set it to 1 or more.", param="post_sampling_probs"
            )
        if not neutral:
            raise InvalidRequestError(
                "post_sampling_probs is not supported together with penalties or logit_bias.",
                param="post_sampling_probs",
            )
    penalised = body.repeat_penalty != 1 or body.presence_penalty or body.frequency_penalty
    for name in ("penalty_last_n", "repeat_last_n"):
        if penalised and getattr(body, name) is not None:
            raise InvalidRequestError(f"{name} is not supported: penalties count all tokens. Omit it.", param=name)
    check_order(body.samplers)


class _LlamaJob(GenerationJob):
    """A gap to fill or a text to continue. The constructor may tokenize texts."""

    def __init__(
        self,
        request: Request,
        assistant: LocalAssistant,
        card: ModelCard,
        body: InfillRequest | LlamaCompletionRequest,
        temperature: float,
    ) -> None:
        super().__init__(request, assistant, card, body.n_cmpl, ignored=ignored_fields(body, card))
        self._served = assistant.models.find(card.name)
        self._body = body
        self._default_temperature = temperature
        self._biases = token_biases(self._served.tokenizer, _bias_pairs(body.logit_bias))
        self._grammar = requested_grammar(body)
        if body.post_sampling_probs and self._grammar is not None:
            raise InvalidRequestError(
                "post_sampling_probs is not supported together with a grammar.", param="post_sampling_probs"
            )
        self._query = replace(self._first_query(), grammar=self._grammar, with_fields=body.n_probs > 0)

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        key = supersede_key(self.request, f"slot {self._body.id_slot}", number) if self._body.id_slot >= 0 else None
        query = replace(self._query, params=self._params(number), terms=Terms(Priority.COMPLETION, key))
        return self.assistant.complete(query, endings=self._endings(), on_usage=on_usage)

    async def whole(self) -> Response:
        ends = [await self._end(answer) for answer in self.answers]
        return await run_off_loop(self._served, 0, partial(self._whole, ends), math.inf)

    def _whole(self, ends: Sequence[EndDetails | None]) -> Response:
        replies = [
            self._reply(index, answer, answer.tokens, answer.text, end).model_dump()
            for index, (answer, end) in enumerate(zip(self.answers, ends, strict=True))
        ]
        if self._body.response_fields is not None:
            replies = [pick_fields(reply, self._body.response_fields) for reply in replies]
        return JSONResponse(replies[0] if self._body.n_cmpl == 1 else replies)

    def part(self, number: int, token: Token) -> Event:
        body, answer = self._body, self.answers[number]
        return LlamaChunk(
            index=number,
            content=token.text,
            tokens=[token.id] if body.return_tokens else [],
            id_slot=body.id_slot,
            tokens_predicted=len(answer.tokens),
            tokens_evaluated=answer.tokens[0].position,
            pellucid=self.details(),
            completion_probabilities=[token_probs(token, body, self._params(number))] if body.n_probs else None,
        )

    async def last_part(self, number: int, finish: Finish) -> Event:
        answer = self.answers[number]
        reply = partial(self._reply, number, answer, [], "", await self._end(answer))
        return await run_off_loop(self._served, 0, reply, math.inf)

    async def _end(self, answer: GeneratedAnswer) -> EndDetails | None:
        if self._grammar is None:
            return None
        return await answer_end(answer)

    def _first_query(self) -> CompletionQuery:
        body, params = self._body, self._params(0)
        if not isinstance(body, InfillRequest):
            return CompletionQuery(
                body.prompt, params=params, model=self.model, stop=body.stop, special=isinstance(body.prompt, str)
            )
        return CompletionQuery(
            body.input_prefix + body.prompt,
            body.input_suffix,
            [Extra(file.filename, file.text) for file in body.input_extra] if self.card.files else [],
            params,
            model=self.model,
            stop=body.stop,
            heal=None if self._grammar is not None else not body.post_sampling_probs,
            window=self.state.infill_window,
        )

    def _endings(self) -> list[EndingRule]:
        endings: list[EndingRule] = []
        if self._body.t_max_predict_ms > 0:
            endings.append(TimeLimit(self._body.t_max_predict_ms / 1000, self.state.clock))
        if self._body.n_indent > 0:
            endings.append(LeastIndent(self._body.n_indent))
        return endings

    def _params(self, choice: int) -> SamplingParams:
        body = self._body
        nothing_but_the_first = body.top_p == 0 and (body.samplers is None or "top_p" in body.samplers)
        params = SamplingParams(
            max_tokens=MAX_TOKENS if body.n_predict < 0 else body.n_predict,
            temperature=self._default_temperature if body.temperature is None else body.temperature,
            top_k=max(body.top_k, 0),
            top_p=body.top_p or 1.0,
            min_p=body.min_p,
            repetition_penalty=body.repeat_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            logit_bias=self._biases,
            seed=choice_seed(None if body.seed < 0 else body.seed, choice),
            ignore_eos=body.ignore_eos,
            top_logprobs=20 if body.post_sampling_probs else body.n_probs,
        )
        kept = keep_steps(params, body.samplers, choice)
        return replace(kept, top_k=1) if nothing_but_the_first else kept

    def _reply(
        self, index: int, answer: GeneratedAnswer, tokens: Sequence[Token], content: str, end: EndDetails | None
    ) -> LlamaReply:
        body, finish, params = self._body, answer.end, self._params(index)
        usage = finish.usage
        shown = body.response_fields is None or "prompt" in body.response_fields
        context = self.card.context
        held = usage.prompt + usage.generated
        return LlamaReply(
            index=index,
            content=content,
            tokens=[token.id for token in tokens] if body.return_tokens else [],
            id_slot=body.id_slot,
            model=self.model,
            tokens_predicted=usage.generated,
            tokens_evaluated=usage.prompt,
            generation_settings=self._settings(params),
            prompt=self._prompt if shown else "",
            has_new_line="\n" in answer.text,
            truncated=finish.reason is FinishReason.LENGTH and held >= context,
            stop_type=stop_type(finish),
            stopping_word=finish.stop or "",
            superseded=finish.reason is FinishReason.SUPERSEDED,
            tokens_cached=held,
            timings=timings(usage),
            completion_probabilities=[token_probs(token, body, params) for token in tokens] if body.n_probs else None,
            pellucid=self._remarks(end),
        )

    def _remarks(self, end: EndDetails | None) -> LlamaDetails | None:
        """Return a reply's remarks on the request and, under a grammar, on the end."""
        remarks = self.details()
        if end is None and remarks is None:
            return None
        return LlamaDetails(
            ignored=None if remarks is None else remarks.ignored,
            complete=None if end is None else end.complete,
            fields=None if end is None else end.fields,
        )

    @cached_property
    def _prompt(self) -> str:
        return prompt_text(self._served, self._query)

    def _settings(self, params: SamplingParams) -> dict[str, Any]:
        """Return the effective parameters by llama.cpp's names."""
        body = self._body
        return {
            "n_ctx": self.card.context,
            "n_predict": body.n_predict,
            "temperature": params.temperature,
            "top_k": params.top_k,
            "top_p": params.top_p,
            "min_p": params.min_p,
            "repeat_penalty": params.repetition_penalty,
            "presence_penalty": params.presence_penalty,
            "frequency_penalty": params.frequency_penalty,
            "seed": -1 if params.seed is None else params.seed,
            "ignore_eos": params.ignore_eos,
            "stop": body.stop,
            "n_probs": body.n_probs,
            "post_sampling_probs": body.post_sampling_probs,
            "n_indent": body.n_indent,
            "t_max_predict_ms": body.t_max_predict_ms,
            "stream": body.stream,
        }


def _bias_pairs(bias: Mapping[str, float] | Sequence[Sequence[Any]]) -> list[tuple[int | str, float]]:
    if isinstance(bias, Mapping):
        return [(int(id), value) for id, value in bias.items()]
    return [_bias_pair(pair) for pair in bias]


def _bias_pair(pair: Sequence[Any]) -> tuple[int | str, float]:
    what, value = pair
    if isinstance(what, bool) or isinstance(value, str) or not isinstance(what, (int, str)) or value is True:
        raise InvalidRequestError(
            f"logit_bias: {pair!r} is not a pair of a token id (or text) and a bias (or false).", param="logit_bias"
        )
    amount = -100.0 if value is False else float(value)
    if abs(amount) > 100:
        raise InvalidRequestError(f"logit_bias: {amount} is not between -100 and 100.", param="logit_bias")
    return what, amount
