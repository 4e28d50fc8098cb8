"""Fields of ollama's routes: sampling parameters, grammar, messages, calls, end of an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

from pellucid.api.dialects.ollama.generate_and_chat_schema import (
    OllamaCallReply,
    OllamaChatRequest,
    OllamaEnd,
    OllamaFields,
    OllamaFunctionReply,
    OllamaGenerateRequest,
    OllamaMessage,
)
from pellucid.api.dialects.ollama.model_aliases import find_by_alias
from pellucid.api.generation.reasoning import reasoning_of
from pellucid.api.generation.request_fields import finish_word, reads_names, usage_details
from pellucid.api.generation.requested_grammar import schema_grammar
from pellucid.api.generation.tool_calls import call_input
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.sampling import MAX_TOKENS
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Image, Message, ToolCall
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Grammar, Reasoning, SamplingParams

_NANOSECONDS = 1_000_000_000
_NEUTRAL = {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def check_fields(body: OllamaFields) -> None:
    """Raise InvalidRequestError for contradictory fields."""
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    penalties = [name for name, neutral in _NEUTRAL.items() if getattr(body.options, name) != neutral]
    if body.options.repeat_last_n > 0 and penalties:
        raise InvalidRequestError(
            f"options.repeat_last_n: {body.options.repeat_last_n} is not supported together with {penalties[0]}: "
            "send -1, as penalties count all tokens.",
            param="options.repeat_last_n",
        )


def ollama_params(body: OllamaFields) -> SamplingParams:
    options = body.options
    penalties = _NEUTRAL if options.repeat_last_n == 0 else {name: getattr(options, name) for name in _NEUTRAL}
    return SamplingParams(
        max_tokens=options.num_predict if options.num_predict > 0 else MAX_TOKENS,
        temperature=options.temperature,
        top_k=1 if options.top_p == 0 else max(options.top_k, 0),
        top_p=options.top_p or 1.0,
        min_p=options.min_p,
        repetition_penalty=penalties["repeat_penalty"],
        presence_penalty=penalties["presence_penalty"],
        frequency_penalty=penalties["frequency_penalty"],
        seed=None if options.seed < 0 else options.seed,
        top_logprobs=body.top_logprobs,
    )


def ignored_fields(body: OllamaFields, card: ModelCard) -> list[str]:
    """Return the names of the given fields without effect on this model's answer."""
    ignored = body.ignored()
    if body.options.repeat_last_n > 0:
        ignored.append("options.repeat_last_n")
    if (
        isinstance(body, OllamaChatRequest)
        and any(message.tool_name for message in body.messages)
        # A tool's name selects a call, without effect if the template reads neither names nor ids.
        and not (reads_names(card) or "tool_call_id" in (card.chat_template or ""))
    ):
        ignored.append("messages.tool_name")
    thoughts = isinstance(body, OllamaChatRequest) and any(message.thinking for message in body.messages)
    if thoughts and "reasoning_content" not in (card.chat_template or ""):
        ignored.append("messages.thinking")
    is_plain = isinstance(body, OllamaGenerateRequest) and (body.raw or body.suffix or not card.chat)
    continues = isinstance(body, OllamaChatRequest) and bool(body.messages) and body.messages[-1].role == "assistant"
    if body.think and (is_plain or continues):
        ignored.append("think")
    return [*ignored, "model"] if body.model and find_by_alias(body.model, [card.name]) is None else ignored


def ollama_reasoning(body: OllamaFields, card: ModelCard) -> Reasoning | None:
    if body.think and not card.reasoning:
        raise InvalidRequestError(f"{card.name} cannot think before it answers: omit think.", param="think")
    effort = "medium" if body.think is True else body.think or None
    return reasoning_of(effort)


def ollama_grammar(body: OllamaFields) -> Grammar | None:
    if isinstance(body.format, dict):
        return schema_grammar(body.format, "format")
    return Grammar("json_object", field="format") if body.format == "json" else None


def plain_messages(messages: Sequence[OllamaMessage]) -> list[Message]:
    """Return the messages, with an id for each call and each result.

    Clients of ollama send no ids. Ids are given by position, so that a longer conversation begins
    with the same prompt. A result without an id belongs to the last message with calls.
    """
    found: list[Message] = []
    pending: list[ToolCall] = []
    numbers = count()
    for message in messages:
        made = [
            ToolCall(
                call.id or f"call{next(numbers):05}",
                call.function.name,
                json.dumps(call.function.arguments, ensure_ascii=False),
            )
            for call in message.tool_calls
        ]
        pending = made or pending
        answered = _answered(message, pending)
        if answered is not None:
            pending = [call for call in pending if call.id != answered]
        name = message.tool_name or None
        images = tuple(Image(0, url) for url in message.images)
        found.append(Message(message.role, message.content, made, answered, name, message.thinking, images))
    return found


def call_reply(index: int, call: ToolCall) -> OllamaCallReply:
    return OllamaCallReply(
        id=call.id, function=OllamaFunctionReply(index=index, name=call.name, arguments=call_input(call.arguments))
    )


def end_fields(finish: Finish, details: EndDetails, ignored: list[str], seconds: float) -> dict[str, Any]:
    usage = finish.usage
    return {
        "done": True,
        "done_reason": finish_word(finish),
        "total_duration": _nanoseconds(seconds),
        "load_duration": 0,
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": _nanoseconds(usage.prefill),
        "eval_count": usage.generated,
        "eval_duration": _nanoseconds(usage.decode),
        "pellucid": OllamaEnd(ignored=ignored, usage=usage_details(usage, finish.first_difference), **dict(details)),
    }


def load_fields(ignored: list[str], reason: Literal["load", "unload"]) -> dict[str, Any]:
    """Return the fields of a reply without an answer: the model is loaded, or leaves the memory."""
    return {"done": True, "done_reason": reason, "pellucid": OllamaEnd(ignored=ignored)}


def timestamp(moment: datetime | None = None) -> str:
    """Return a time (default: now) in ollama's format."""
    return (moment or datetime.now(UTC)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _answered(message: OllamaMessage, pending: Sequence[ToolCall]) -> str | None:
    """Return the id of a result's call: the first pending call with the message's tool name."""
    if message.role != "tool" or message.tool_call_id:
        return message.tool_call_id or None
    return next((call.id for call in pending if message.tool_name in ("", call.name)), None)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
