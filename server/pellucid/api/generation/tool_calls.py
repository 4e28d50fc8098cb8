"""Offered tools, and the details of calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from pellucid.api.generation.generated_answer import GeneratedAnswer
from pellucid.api.generation.request_fields import end_details
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.tool_calls import CallRecord, Tool
from pellucid.text.tool_calls.calls_of_answer import call_details
from pellucid.vocabulary.token import Token


def offered_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    return [{"type": tool.type, "function": tool.function.model_dump(exclude_unset=True)} for tool in tools]


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
    """Return the end of an answer, with the details of the answer's calls."""
    details = end_details(answer.end)
    if has_call(answer.tokens):
        details.calls = await asyncio.to_thread(call_records, answer)
    return details


def has_call(tokens: Sequence[Token]) -> bool:
    return any(token.part is not None for token in tokens)
