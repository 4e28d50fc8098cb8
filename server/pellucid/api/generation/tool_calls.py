"""Tools and calls of chat requests and replies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from pellucid.api.generation.generated_answer import GeneratedAnswer
from pellucid.api.generation.request_fields import end_details
from pellucid.api.schema.openai import EndDetails
from pellucid.api.schema.tool_calls import (
    CallRecord,
    FunctionDelta,
    FunctionReply,
    MessageToolCall,
    Tool,
    ToolCallDelta,
    ToolCallReply,
    ToolChoiceField,
)
from pellucid.text.tool_calls.calls_of_answer import call_details, calls_of
from pellucid.vocabulary.message import NamedTool, ToolCall, ToolChoice
from pellucid.vocabulary.token import CallDelta, Token


def offered_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    return [{"type": tool.type, "function": tool.function.model_dump(exclude_unset=True)} for tool in tools]


def tool_choice(choice: ToolChoiceField) -> ToolChoice:
    return choice if isinstance(choice, str) else NamedTool(choice.function.name)


def message_calls(calls: Sequence[MessageToolCall]) -> list[ToolCall]:
    return [ToolCall(call.id, call.function.name, call.function.arguments) for call in calls]


def call_replies(tokens: Sequence[Token]) -> list[ToolCallReply] | None:
    calls = calls_of(tokens)
    return [
        ToolCallReply(id=call.id, function=FunctionReply(name=call.name, arguments=call.arguments)) for call in calls
    ] or None


def call_input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments as an object, or {} for arguments that were cut off."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def call_records(answer: GeneratedAnswer) -> list[CallRecord]:
    return [
        CallRecord(id=one.call.id, complete=one.complete, enforced=one.enforced, fields=one.probabilities)
        for one in call_details(answer.tokens, answer.end.loose_functions)
    ]


async def answer_end(answer: GeneratedAnswer) -> EndDetails:
    """Return the end of an answer, with the details of its calls."""
    details = end_details(answer.end)
    if has_call(answer.tokens):
        details.calls = await asyncio.to_thread(call_records, answer)
    return details


def call_deltas(token: Token) -> list[ToolCallDelta]:
    """Return a token's additions to calls, in order.

    A call's id and name have a separate delta, as in OpenAI's streams.
    """
    return [one for delta in (token.part.deltas if token.part is not None else ()) for one in _deltas(delta)]


def has_call(tokens: Sequence[Token]) -> bool:
    return any(token.part is not None for token in tokens)


def _deltas(delta: CallDelta) -> list[ToolCallDelta]:
    out = []
    if delta.id is not None:
        begun = FunctionDelta(name=delta.name, arguments="")
        out.append(ToolCallDelta(index=delta.index, id=delta.id, type="function", function=begun))
    if delta.arguments:
        out.append(ToolCallDelta(index=delta.index, function=FunctionDelta(arguments=delta.arguments)))
    return out
