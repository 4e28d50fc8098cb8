"""Ollama's /api/generate and /api/chat."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.dialects.ollama.common import OLLAMA_GENERATION_ERRORS, keep_seconds, obey_keep_alive
from pellucid.api.dialects.ollama.fields import (
    call_reply,
    check_fields,
    end_fields,
    ignored_fields,
    load_fields,
    ollama_grammar,
    ollama_params,
    ollama_reasoning,
    plain_messages,
    timestamp,
)
from pellucid.api.dialects.ollama.generate_and_chat_schema import (
    OllamaAnswer,
    OllamaCallReply,
    OllamaChatReply,
    OllamaChatRequest,
    OllamaFields,
    OllamaGenerateReply,
    OllamaGenerateRequest,
    OllamaProgress,
)
from pellucid.api.dialects.ollama.model_aliases import find_by_ollama_name
from pellucid.api.generation.answer_blocks import AnswerBlocks, BlockStep
from pellucid.api.generation.generated_answer import Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.reasoning import reasoning_text
from pellucid.api.generation.request_fields import stop_texts
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.api.generation.tool_calls import answer_end, offered_tools
from pellucid.api.openapi_extras import lines_or
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import NDJSON, Event, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError, NotSupportedError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.spelled_infill import read_spelled_infill
from pellucid.text.tool_calls.calls_of_answer import calls_of
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.message import Image, Message, ToolCall
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Priority, Terms
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["ollama"], route_class=JsonRoute)

B = TypeVar("B", bound=OllamaFields)


@router.post("/api/generate", responses={200: lines_or(OllamaGenerateReply), **OLLAMA_GENERATION_ERRORS})
async def generate(body: OllamaGenerateRequest, request: Request) -> Response:
    """Answer a prompt, fill a gap (with ``suffix``), or continue a text as it is (with ``raw``).

    Streams unless ``stream`` is false. With ``format``, the answer is JSON. A prompt without
    ``suffix`` or ``raw`` is put into the model's chat template, if there is a template. With
    ``raw``, a prompt that spells an infill with the model's own markers is read as an infill. Each
    entry of ``logprobs`` has the token's true bytes, and in ``pellucid`` the rank, the entropy of
    the choice and more. ``pellucid.ignored`` names the fields without effect.
    """
    check_fields(body)
    for_chat = next((name for name in ("system", "images") if getattr(body, name)), None)
    if for_chat and (body.suffix or body.raw):
        raise InvalidRequestError(
            f"{for_chat} is not supported together with {'raw' if body.raw else 'suffix'}: omit it.", param=for_chat
        )
    if body.raw and body.suffix:
        raise InvalidRequestError(
            "suffix is not supported together with raw: write the infill markers, or omit raw.", param="suffix"
        )
    assistant, card = await find_by_ollama_name(state_of(request), body.model)
    if body.suffix and not card.infill:
        raise NotSupportedError(
            f"{card.name} has no infill tokens, so it cannot fill the gap before a suffix: omit suffix."
        )
    if for_chat and not card.chat:
        raise NotSupportedError(f"{card.name} has no chat template, so it cannot read {for_chat}: omit {for_chat}.")
    job = _GenerateJob(request, assistant, card, body)
    if not (body.prompt or body.suffix or body.images):
        return job.loaded()
    return await job.respond(stream=body.stream, format=NDJSON)


@router.post("/api/chat", responses={200: lines_or(OllamaChatReply), **OLLAMA_GENERATION_ERRORS})
async def chat(body: OllamaChatRequest, request: Request) -> Response:
    """Answer a conversation. An answer continues a last message of the assistant.

    Streams unless ``stream`` is false; a line has a whole call. ``format``, ``logprobs`` and
    ``pellucid`` are as in /api/generate.
    """
    check_fields(body)
    assistant, card = await find_by_ollama_name(state_of(request), body.model)
    job = _ChatJob(request, assistant, card, body)
    if not body.messages:
        return job.loaded()
    return await job.respond(stream=body.stream, format=NDJSON)


class _OllamaJob(GenerationJob, Generic[B]):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: B) -> None:
        super().__init__(request, assistant, card, 1)
        self._body = body
        self._grammar = ollama_grammar(body)
        self._reasoning = ollama_reasoning(body, card)
        self._begun = self.state.clock()
        self._without_effect = obey_keep_alive(assistant, card.name, body.keep_alive)

    @abstractmethod
    def _reply(self, text: str, fields: dict[str, Any], thinking: str = "") -> OllamaProgress:
        """Return a reply or line with this text of the answer."""

    def loaded(self) -> Response:
        """Return the reply to a request without a prompt, by which clients load a model."""
        leaves = keep_seconds(self._body.keep_alive) == 0 and not self._without_effect
        reason: Literal["load", "unload"] = "unload" if leaves else "load"
        return json_response(self._reply("", load_fields(self._ignored, reason)))

    async def whole(self) -> Response:
        end = await self._end()
        return await asyncio.to_thread(lambda: json_response(self._whole(end)))

    def _whole(self, end: dict[str, Any]) -> OllamaProgress:
        answer = self.answers[0]
        return self._reply(answer.text, self._logprobs(answer.tokens) | end, reasoning_text(answer.tokens))

    def part(self, number: int, token: Token) -> Event:
        return self._reply(token.text, self._logprobs([token]) | {"done": False}, token.reasoning or "")

    async def last_part(self, number: int, finish: Finish) -> Event:
        return self._reply("", await self._end())

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        return {"logprobs": token_logprobs(tokens)} if self._body.logprobs else {}

    async def _end(self) -> dict[str, Any]:
        answer, seconds = self.answers[0], self.state.clock() - self._begun
        details = await answer_end(answer)
        return end_fields(answer.end, details, self._ignored, seconds)

    @cached_property
    def _ignored(self) -> list[str]:
        return self._without_effect + ignored_fields(self._body, self.card)


class _GenerateJob(_OllamaJob[OllamaGenerateRequest]):
    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body, params, stop = self._body, ollama_params(self._body), stop_texts(self._body.options.stop)
        form: dict[str, Any] = {"grammar": self._grammar, "with_fields": body.logprobs}
        served = self.assistant.models.find(self.model)
        spelled = read_spelled_infill(body.prompt, served.model.infill) if body.raw else None
        if spelled is not None:
            extra, terms = spelled.extra if self.card.files else (), Terms(Priority.COMPLETION)
            infill = CompletionQuery(spelled.prefix, spelled.suffix, extra, params, self.model, stop, terms, **form)
            return self.assistant.complete(infill, on_usage=on_usage)
        if body.suffix or body.raw or not self.card.chat:
            terms = Terms(Priority.COMPLETION if body.suffix or body.raw else Priority.CHAT)
            query = CompletionQuery(
                body.prompt, body.suffix or None, (), params, self.model, stop, terms, special=body.raw, **form
            )
            return self.assistant.complete(query, on_usage=on_usage)
        system = [Message("system", body.system)] if body.system else []
        images = tuple(Image(0, url) for url in body.images)
        messages = [*system, Message("user", body.prompt, images=images)]
        chat = ChatQuery(messages, params, self.model, stop, reasoning=self._reasoning, **form)
        return self.assistant.chat(chat, on_usage=on_usage)

    def _reply(self, text: str, fields: dict[str, Any], thinking: str = "") -> OllamaProgress:
        return OllamaGenerateReply(
            model=self.model, created_at=timestamp(), response=text, thinking=thinking or None, **fields
        )


class _ChatJob(_OllamaJob[OllamaChatRequest]):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: OllamaChatRequest) -> None:
        super().__init__(request, assistant, card, body)
        self._blocks = AnswerBlocks()

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        query = ChatQuery(
            plain_messages(body.messages),
            ollama_params(body),
            self.model,
            stop_texts(body.options.stop),
            continue_last=body.messages[-1].role == "assistant",
            grammar=self._grammar,
            with_fields=body.logprobs,
            tools=offered_tools(body.tools),
            reasoning=self._reasoning,
        )
        return self.assistant.chat(query, on_usage=on_usage)

    def parts(self, number: int, token: Token) -> Iterator[OllamaProgress]:
        for step in self._blocks.feed(token):
            yield from self._lines(step)

    async def last_part(self, number: int, finish: Finish) -> Event:
        lines = [line for step in self._blocks.finish() for line in self._lines(step)]
        return (*lines, self._reply("", await self._end()))

    def _lines(self, step: BlockStep) -> Iterator[OllamaProgress]:
        """Yield the lines of a step.

        A call is sent at its end, because ollama's clients read only whole calls.
        """
        block, begun = step.block, step.block.call
        if begun is not None:
            if step.kind == "close":
                call = call_reply(begun.index, ToolCall(begun.id or "", begun.name or "", block.text))
                yield self._reply("", self._logprobs(block.tokens) | {"done": False}, calls=[call])
        elif step.text or (step.tokens and self._body.logprobs):
            text, thinking = ("", step.text) if block.is_reasoning else (step.text, "")
            yield self._reply(text, self._logprobs(step.tokens) | {"done": False}, thinking)

    def _whole(self, end: dict[str, Any]) -> OllamaProgress:
        answer = self.answers[0]
        calls = [call_reply(index, call) for index, call in enumerate(calls_of(answer.tokens))]
        thinking = reasoning_text(answer.tokens)
        return self._reply(answer.text, self._logprobs(answer.tokens) | end, thinking, calls)

    def _reply(
        self, text: str, fields: dict[str, Any], thinking: str = "", calls: Sequence[OllamaCallReply] = ()
    ) -> OllamaProgress:
        answer = OllamaAnswer(content=text, thinking=thinking or None, tool_calls=list(calls) or None)
        return OllamaChatReply(model=self.model, created_at=timestamp(), message=answer, **fields)
