"""/infill and /completion as llama.cpp's clients (llama.vim, llama.vscode) use them."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.routes.generation import GeneratedAnswer, Items, choice_seed, collect_all, merge, supersede_key
from pellucid.api.routes.llama_endings import rules
from pellucid.api.routes.llama_reply import has_new_line, pick_fields, stop_type, timings, token_probs
from pellucid.api.schema.common import MOST_TOKENS
from pellucid.api.schema.llama import Generation, InfillRequest, LlamaChunk, LlamaCompletionRequest, LlamaReply, PickedReply
from pellucid.api.sse import Event, attend, event_stream
from pellucid.api.state import ServerState, state_of
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import CompletionQuery, Extra, FinishReason, ModelCard, Priority, SamplingParams, Terms, Token

router = APIRouter(tags=["llama.cpp"], route_class=JsonRoute)

Replies = LlamaReply | list[LlamaReply] | PickedReply | list[PickedReply]

COMPLETION_TEMPERATURE = 0.8
INFILL_TEMPERATURE = 0.0


@router.post("/infill", responses={200: stream_or(Replies), **GENERATION_ERRORS})
async def infill(body: InfillRequest, request: Request) -> Response:
    """Fill the gap between ``input_prefix`` + ``prompt`` and ``input_suffix``.

    The prompt is written in the infill format that was measured best for the model; for a model without infill tokens it
    is the text before the gap, and the answer ends where it begins to repeat the suffix. Texts that are too long for the
    server's infill_window, or with those of other files for the context, are trimmed. The default temperature is 0.
    ``n_predict: 0`` reads the prompt into the cache (a warm-up).
    With ``n_cmpl`` above 1 the response is an array. A superseded answer has ``stop_type`` none and ``superseded`` true.
    """
    return await _respond(body, request, INFILL_TEMPERATURE)


@router.post("/completion", responses={200: stream_or(Replies), **GENERATION_ERRORS})
@router.post("/completions", responses={200: stream_or(Replies), **GENERATION_ERRORS}, include_in_schema=False)
async def completion(body: LlamaCompletionRequest, request: Request) -> Response:
    """Continue a text or token ids. The default temperature is 0.8; all else is as in /infill."""
    return await _respond(body, request, COMPLETION_TEMPERATURE)


async def _respond(body: InfillRequest | LlamaCompletionRequest, request: Request, temperature: float) -> Response:
    state = state_of(request)
    _check(body)
    assistant, card = state.find(body.model)
    state.check_answers(card.name, body.n_cmpl, "n_cmpl")
    make = partial(_Work, state, assistant, card, body, request, temperature)
    work = await assistant.off_loop(make, card.name) if isinstance(body.logit_bias, list) else make()  # it may hold texts
    if body.stream:
        return await event_stream(request, state, work.events(), done=False)
    return await attend(request, state, work.response())


def _check(body: Generation) -> None:
    """Raise InvalidRequestError for fields that contradict each other."""
    if body.stream and body.response_fields is not None:
        raise InvalidRequestError("response_fields is not supported in a stream.", param="response_fields")
    if body.stream and body.n_cmpl > 1:
        raise InvalidRequestError("n_cmpl above 1 is not supported in a stream.", param="n_cmpl")
    if body.post_sampling_probs:
        neutral = body.repeat_penalty == 1 and body.presence_penalty == 0 and body.frequency_penalty == 0 and not body.logit_bias
        if not body.n_probs:
            raise InvalidRequestError("post_sampling_probs needs n_probs.", param="post_sampling_probs")
        if not neutral:
            raise InvalidRequestError(
                "post_sampling_probs is not supported together with penalties or logit_bias.", param="post_sampling_probs"
            )
    if body.samplers is not None and "temperature" in body.samplers:
        before = body.samplers[: body.samplers.index("temperature")]
        early = next((name for name in before if name in ("top_p", "min_p")), None)
        if early is not None:
            raise InvalidRequestError(
                f"samplers: temperature comes before {early} here; put it first, or leave samplers out.", param="samplers"
            )


@dataclass
class _Work:
    """One request on its way."""

    state: ServerState
    assistant: LocalAssistant
    card: ModelCard
    body: InfillRequest | LlamaCompletionRequest
    request: Request
    temperature: float
    biases: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        self.biases = self._biases()

    async def response(self) -> Response:
        """All answers, whole."""
        answers = await collect_all([self._generation(choice) for choice in range(self.body.n_cmpl)])
        return await self.assistant.off_loop(lambda: self._whole(answers), self.card.name, math.inf)

    def _whole(self, answers: Sequence[GeneratedAnswer]) -> Response:
        replies = [self._reply(index, answer, answer.tokens, answer.text).model_dump() for index, answer in enumerate(answers)]
        if self.body.response_fields is not None:
            replies = [pick_fields(reply, self.body.response_fields) for reply in replies]
        return JSONResponse(replies[0] if self.body.n_cmpl == 1 else replies)

    async def events(self) -> AsyncGenerator[Event]:
        """The parts of the one answer as they come; the last one is a whole reply without content."""
        answer = GeneratedAnswer()
        async with aclosing(merge([self._generation(0)])) as items:
            async for _, item in items:
                answer.take(item)
                if isinstance(item, Token):
                    yield LlamaChunk(
                        index=0,
                        content=item.text,
                        tokens=[item.id] if self.body.return_tokens else [],
                        id_slot=self.body.id_slot,
                        tokens_predicted=len(answer.tokens),
                        tokens_evaluated=answer.tokens[0].position,
                        completion_probabilities=[token_probs(item, self.body, self._params(0))] if self.body.n_probs else None,
                    )
        yield await self.assistant.off_loop(lambda: self._reply(0, answer, [], ""), self.card.name, math.inf)

    def _generation(self, choice: int) -> Items:
        body = self.body
        query = replace(self._query, params=self._params(choice), terms=self._terms(choice))
        endings = rules(body.n_indent, body.t_max_predict_ms / 1000, self.state.clock)
        return self.state.metrics.measured(self.assistant.complete(query, endings=endings), self.card.name, self.state.clock)

    @cached_property
    def _query(self) -> CompletionQuery:
        """The query of the first answer, without its terms."""
        body, params, model = self.body, self._params(0), self.card.name
        if not isinstance(body, InfillRequest):
            is_text = isinstance(body.prompt, str)
            return CompletionQuery(body.prompt, params=params, model=model, stop=body.stop, special=is_text)
        return CompletionQuery(
            body.input_prefix + body.prompt,
            body.input_suffix,
            self._extra(),
            params,
            model=model,
            stop=body.stop,
            heal=not body.post_sampling_probs,
            window=self.state.infill_window,
        )

    def _terms(self, choice: int) -> Terms:
        key = supersede_key(self.request, f"slot {self.body.id_slot}", choice) if self.body.id_slot >= 0 else None
        return Terms(Priority.COMPLETION, key)

    def _params(self, choice: int) -> SamplingParams:
        """How the answer number ``choice`` is sampled."""
        body, on = self.body, self._takes
        penalised = on("penalties")
        return SamplingParams(
            max_tokens=MOST_TOKENS if body.n_predict < 0 else body.n_predict,
            temperature=self._temperature(choice),
            top_k=1 if on("top_p") and body.top_p == 0 else max(body.top_k, 0) if on("top_k") else 0,
            top_p=body.top_p or 1.0 if on("top_p") else 1.0,
            min_p=body.min_p if on("min_p") else 0.0,
            repetition_penalty=body.repeat_penalty if penalised else 1.0,
            presence_penalty=body.presence_penalty if penalised else 0.0,
            frequency_penalty=body.frequency_penalty if penalised else 0.0,
            logit_bias=self.biases,
            seed=choice_seed(None if body.seed < 0 else body.seed, choice),
            ignore_eos=body.ignore_eos,
            top_logprobs=20 if body.post_sampling_probs else body.n_probs,
        )

    def _temperature(self, choice: int) -> float:
        samplers = self.body.samplers
        if samplers is None or "temperature" in samplers:
            return self.temperature if self.body.temperature is None else self.body.temperature
        return 0.0 if "infill" in samplers and choice == 0 else 1.0

    def _takes(self, step: str) -> bool:
        return self.body.samplers is None or step in self.body.samplers

    def _extra(self) -> list[Extra]:
        if not isinstance(self.body, InfillRequest) or not self.card.files:
            return []
        return [Extra(file.filename, file.text) for file in self.body.input_extra]

    def _biases(self) -> dict[int, float]:
        """logit_bias by token id."""
        bias = self.body.logit_bias
        if isinstance(bias, dict):
            return {int(id): value for id, value in bias.items()}
        return {id: value for pair in bias for id, value in self._bias_pair(pair).items()}

    def _bias_pair(self, pair: Sequence[Any]) -> dict[int, float]:
        what, value = pair
        if isinstance(what, bool) or isinstance(value, str) or not isinstance(what, (int, str)) or value is True:
            raise InvalidRequestError(
                f"logit_bias: {pair!r} is not a pair of a token id or a text, and a bias or false.", param="logit_bias"
            )
        amount = -100.0 if value is False else float(value)
        if abs(amount) > 100:
            raise InvalidRequestError(f"logit_bias: {amount} is not between -100 and 100.", param="logit_bias")
        ids = [what] if isinstance(what, int) else [piece.id for piece in self.assistant.tokenize(what, self.card.name, special=True)]
        return dict.fromkeys(ids, amount)

    def _reply(self, index: int, answer: GeneratedAnswer, tokens: Sequence[Token], content: str) -> LlamaReply:
        body, finish, params = self.body, answer.end, self._params(index)
        usage = finish.usage
        shown = body.response_fields is None or "prompt" in body.response_fields
        context = self.card.context
        held = usage.prompt + usage.generated
        return LlamaReply(
            index=index,
            content=content,
            tokens=[token.id for token in tokens] if body.return_tokens else [],
            id_slot=body.id_slot,
            model=self.card.name,
            tokens_predicted=usage.generated,
            tokens_evaluated=usage.prompt,
            generation_settings=self._settings(params),
            prompt=self._prompt if shown else "",
            has_new_line=has_new_line(answer),
            truncated=finish.reason is FinishReason.LENGTH and held >= context,
            stop_type=stop_type(finish),
            stopping_word=finish.stop or "",
            superseded=finish.reason is FinishReason.SUPERSEDED,
            tokens_cached=held,
            timings=timings(usage),
            completion_probabilities=[token_probs(token, body, params) for token in tokens] if body.n_probs else None,
        )

    @cached_property
    def _prompt(self) -> str:
        """The prompt as the model read it, as text."""
        body, assistant = self.body, self.assistant
        if isinstance(body, InfillRequest):
            return assistant.detokenize(assistant.infill_ids(self._query), self.card.name)
        return body.prompt if isinstance(body.prompt, str) else assistant.detokenize(body.prompt, self.card.name)

    def _settings(self, params: SamplingParams) -> dict[str, Any]:
        """What was really done, in llama.cpp's names."""
        body = self.body
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
