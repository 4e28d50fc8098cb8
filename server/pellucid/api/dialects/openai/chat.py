"""/v1/chat/completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.dialects.llama_cpp.reply import pick_fields
from pellucid.api.dialects.llama_cpp.sampler_steps import check_order, keep_steps
from pellucid.api.dialects.openai.chat_schema import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprobs,
    ChatReply,
    ChatRequest,
    FunctionDelta,
    FunctionReply,
    ToolCallDelta,
    ToolCallReply,
)
from pellucid.api.dialects.openai.common import remaining, usage_so_far
from pellucid.api.dialects.openai.logprobs import prompt_logprobs
from pellucid.api.generation.generated_answer import GeneratedAnswer, Items, collect
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.messages import plain_messages
from pellucid.api.generation.reasoning import (
    SWITCHES,
    reasoning_count,
    reasoning_of,
    reasoning_text,
)
from pellucid.api.generation.request_fields import (
    finish_word,
    ignored_fields,
    reads_names,
    reply_id,
    stop_texts,
    supersede_key,
    terms_of,
    usage_reply,
)
from pellucid.api.generation.requested_grammar import requested_grammar
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.api.generation.tool_calls import answer_end, has_call, offered_tools
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.sampling import MAX_TOKENS
from pellucid.api.schema.usage import UsageReply
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import Event, attend, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.text_model import TextModel
from pellucid.text.tool_calls.calls_of_answer import calls_of
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.message import NamedTool
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, Priority, ScoreQuery, Terms
from pellucid.vocabulary.token import CallDelta, Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/chat/completions", responses={200: stream_or(ChatReply), **GENERATION_ERRORS})
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, with every token's probability.

    The default temperature is 1. Each entry of ``logprobs`` has the token's true bytes, and in
    ``pellucid`` the rank, the entropy of the choice and more. A superseded answer ends with the
    tokens so far: ``finish_reason`` is stop, ``pellucid.reason`` is superseded.
    """
    body.check_stream_options()
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    limits = {count for count in (body.max_tokens, body.max_completion_tokens, body.n_predict) if count is not None}
    if len(limits) > 1:
        raise InvalidRequestError(
            "max_tokens, max_completion_tokens and n_predict are names for the same limit: send only one of them.",
            param="max_tokens",
        )
    if body.stream and body.response_fields is not None:
        raise InvalidRequestError("response_fields is not supported in streams.", param="response_fields")
    if body.stream and body.prompt_logprobs is not None:
        raise InvalidRequestError(
            "prompt_logprobs is not supported in streams: omit it, or omit stream.", param="prompt_logprobs"
        )
    check_order(body.samplers)
    state = state_of(request)
    assistant, card = await state.find(body.model, strict=body.strict_model)
    state.check_answers(card.name, body.n, "n")
    _check_template(body, card)
    job = _ChatJob(request, assistant, card, body)
    if body.prompt_logprobs is not None:
        await attend(request, state.closing, job.read_prompt(body.prompt_logprobs))
    return await job.respond(stream=body.stream)


def _check_template(body: ChatRequest, card: ModelCard) -> None:
    """Raise InvalidRequestError for a variable in the template, which would change the prompt."""
    others = [name for name in body.chat_template_kwargs if name not in SWITCHES]
    read = next((name for name in others if name in (card.chat_template or "")), None)
    if read is not None:
        message = f"chat_template_kwargs.{read} is read by the template of {card.name}, but cannot be set: omit it."
        raise InvalidRequestError(message, param=f"chat_template_kwargs.{read}")


def _ignored(body: ChatRequest, served: TextModel, card: ModelCard) -> list[str]:
    names = ["messages.name"] if any(message.name for message in body.messages) and not reads_names(card) else []
    if body.prediction is not None and not served.engine.uses_predictions(served.name):
        names.append("prediction")
    if any(message.reasoning_content for message in body.messages) and "reasoning_content" not in (
        card.chat_template or ""
    ):
        names.append("messages.reasoning_content")
    reasons = card.reasoning and not body.continue_final_message
    if not reasons:
        names += [name for name in ("reasoning_effort", "thinking_budget_tokens") if getattr(body, name) is not None]
    names = ignored_fields(body, card, names)
    if reasons and all(name in SWITCHES for name in body.chat_template_kwargs):
        names = [name for name in names if name != "chat_template_kwargs"]
    return names


class _ChatJob(GenerationJob):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: ChatRequest) -> None:
        on_the_way, ignored = body.wants_usage_on_the_way, _ignored(body, assistant.models.find(card.name), card)
        super().__init__(request, assistant, card, body.n, usage_on_the_way=on_the_way, ignored=ignored)
        self._body = body
        self._grammar = requested_grammar(body)
        reasoning = reasoning_of(body.reasoning_effort, body.thinking_budget_tokens, body.chat_template_kwargs)
        self._reasoning = reasoning if card.reasoning else None
        self._id = reply_id("chatcmpl")
        self._created = int(time.time())
        self._begun = self.state.clock()
        self._read = GeneratedAnswer()

    async def read_prompt(self, top: int) -> None:
        terms = replace(self._terms(0), key=None)  # A request does not supersede itself.
        asked = self._query(0)
        query = ScoreQuery(
            asked.messages,
            self.model,
            top,
            terms,
            continue_last=asked.continue_last,
            tools=asked.shown_tools,
            reasoning=asked.reasoning,
        )
        self._read = await collect(self.assistant.score(query))

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        return self.assistant.chat(self._query(number), on_usage=on_usage)

    def _query(self, number: int) -> ChatQuery:
        body, choice = self._body, self._body.tool_choice
        limits = (body.max_completion_tokens, body.max_tokens, body.n_predict)
        limit = next((count for count in limits if count is not None and count >= 0), MAX_TOKENS)
        return ChatQuery(
            plain_messages(body.messages),
            keep_steps(body.sampling_params(limit, body.top_logprobs or 0, number), body.samplers, number),
            model=self.model,
            stop=stop_texts(body.stop),
            terms=self._terms(number),
            continue_last=body.continue_final_message,
            tools=offered_tools(body.tools),
            tool_choice=choice if isinstance(choice, str) else NamedTool(choice.function.name),
            parallel_tool_calls=body.parallel_tool_calls,
            grammar=self._grammar,
            with_fields=body.logprobs,
            prediction="" if body.prediction is None else body.prediction.text(),
            reasoning=self._reasoning,
        )

    def _terms(self, number: int) -> Terms:
        body = self._body
        terms = terms_of(body, self.request, Priority.CHAT, number)
        if body.id_slot >= 0 and terms.key is None:
            terms = replace(terms, key=supersede_key(self.request, f"chat slot {body.id_slot}", number))
        return remaining(terms, self.state.clock() - self._begun)

    async def whole(self) -> Response:
        ends = [await answer_end(answer) for answer in self.answers]
        return await asyncio.to_thread(self._whole_response, ends)

    def _whole_response(self, ends: Sequence[EndDetails]) -> Response:
        fields = self._body.response_fields
        reply = self._whole(ends)
        return json_response(reply) if fields is None else JSONResponse(pick_fields(reply.model_dump(), fields))

    def _whole(self, ends: Sequence[EndDetails]) -> ChatReply:
        choices = [
            self._whole_choice(index, answer, end)
            for index, (answer, end) in enumerate(zip(self.answers, ends, strict=True))
        ]
        top = self._body.prompt_logprobs
        return ChatReply(
            id=self._id,
            created=self._created,
            model=self.model,
            choices=choices,
            prompt_logprobs=None if top is None else prompt_logprobs(self._read.tokens, top),
            usage=self._usage(),
            pellucid=self.details(),
        )

    async def first_part(self, number: int) -> Event:
        return self._chunk([_part(number, ChatDelta(role="assistant", content=""))])

    def parts(self, number: int, token: Token) -> Iterator[Event]:
        for call in _call_deltas(token)[:-1]:
            yield self._chunk([_part(number, ChatDelta(tool_calls=[call]))])
        yield self.part(number, token)

    def part(self, number: int, token: Token) -> Event:
        content = token.text if token.part is None else token.text or None
        delta = ChatDelta(content=content, tool_calls=_call_deltas(token)[-1:] or None)
        if token.reasoning is not None:
            delta = ChatDelta(reasoning_content=token.reasoning)
        part = _part(number, delta)
        if self._body.logprobs:
            part.logprobs = _logprobs([token])
        if self._body.return_token_ids:
            part.token_ids = [token.id]
        return self._chunk([part], usage_so_far(self.answers[number]))

    async def last_part(self, number: int, finish: Finish) -> Event:
        answer = self.answers[number]
        reason, details = _chat_finish_word(finish, answer.tokens), await answer_end(answer)
        part = ChatChunkChoice(index=number, delta=ChatDelta(), logprobs=None, finish_reason=reason, pellucid=details)
        return self._chunk([part])

    def closing(self) -> Event | None:
        return self._chunk([], self._usage()) if self._body.wants_usage else None

    def _usage(self) -> UsageReply:
        prompt = (self._read if self._read.finish else self.answers[0]).end
        reasoning = sum(reasoning_count(answer.tokens) for answer in self.answers)
        return usage_reply([prompt.usage], [answer.end.usage for answer in self.answers], [prompt], reasoning)

    def _whole_choice(self, index: int, answer: GeneratedAnswer, end: EndDetails) -> ChatChoice:
        body, calls = self._body, _call_replies(answer.tokens)
        return ChatChoice(
            index=index,
            message=ChatAnswer(
                content=answer.text or (None if calls else ""),
                reasoning_content=reasoning_text(answer.tokens) or None,
                tool_calls=calls,
            ),
            logprobs=_logprobs(answer.tokens) if body.logprobs else None,
            finish_reason=_chat_finish_word(answer.end, answer.tokens),
            token_ids=[token.id for token in answer.tokens] if body.return_token_ids else None,
            pellucid=end,
        )

    def _chunk(self, choices: list[ChatChunkChoice], usage: UsageReply | None = None) -> ChatChunk:
        return ChatChunk(
            id=self._id, created=self._created, model=self.model, choices=choices, usage=usage, pellucid=self.details()
        )


def _part(index: int, delta: ChatDelta) -> ChatChunkChoice:
    return ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)


def _chat_finish_word(finish: Finish, tokens: Sequence[Token]) -> Literal["stop", "length", "tool_calls"]:
    """Return OpenAI's ``finish_reason``: length for an answer that was cut off within a call."""
    word = finish_word(finish)
    return "tool_calls" if word == "stop" and has_call(tokens) else word


def _logprobs(tokens: Sequence[Token]) -> ChatLogprobs:
    return ChatLogprobs(content=token_logprobs(tokens))


def _call_replies(tokens: Sequence[Token]) -> list[ToolCallReply] | None:
    calls = calls_of(tokens)
    return [
        ToolCallReply(id=call.id, function=FunctionReply(name=call.name, arguments=call.arguments)) for call in calls
    ] or None


def _call_deltas(token: Token) -> list[ToolCallDelta]:
    """Return a token's additions to calls, in order.

    A call's id and name have a separate delta, as in OpenAI's streams.
    """
    return [one for delta in (token.part.deltas if token.part is not None else ()) for one in _deltas(delta)]


def _deltas(delta: CallDelta) -> list[ToolCallDelta]:
    out = []
    if delta.id is not None:
        begun = FunctionDelta(name=delta.name, arguments="")
        out.append(ToolCallDelta(index=delta.index, id=delta.id, type="function", function=begun))
    if delta.arguments:
        out.append(ToolCallDelta(index=delta.index, function=FunctionDelta(arguments=delta.arguments)))
    return out
