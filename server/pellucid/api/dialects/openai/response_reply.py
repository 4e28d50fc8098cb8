"""Replies of /v1/responses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import JsonValue

from pellucid.api.dialects.openai.responses_schema import (
    CallTokens,
    FunctionTool,
    InputTokensDetails,
    OutputCall,
    OutputMessage,
    OutputReasoning,
    OutputText,
    OutputTokensDetails,
    ReasoningText,
    ResponseReply,
    ResponsesRequest,
    ResponseUsage,
)
from pellucid.api.generation.answer_blocks import AnswerBlock
from pellucid.api.generation.request_fields import usage_details
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.client.token_json import record_of
from pellucid.errors import ContextLengthError, InvalidRequestError, PellucidError, QueueFullError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.token import Token

ItemStatus = Literal["in_progress", "completed", "incomplete"]
OutputItem = OutputMessage | OutputReasoning | OutputCall


def response_reply(
    body: ResponsesRequest,
    id: str,
    created: int,
    model: str,
    status: Literal["in_progress", "completed", "incomplete", "failed"],
    finish: Finish | None = None,
    reasoning_tokens: int = 0,
    **fields: Any,
) -> ResponseReply:
    """Return a reply with the fields of its request; ``fields`` are the reply's own."""
    given = {"error": None, "output": [], **fields}
    return ResponseReply(
        id=id,
        created_at=created,
        completed_at=int(time.time()) if status == "completed" else None,
        status=status,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        model=model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=None,
        reasoning={"effort": None, "summary": None} if body.reasoning is None else body.reasoning.model_dump(),
        temperature=body.temperature,
        text={"format": _format(body)},
        tool_choice=body.tool_choice if isinstance(body.tool_choice, str) else body.tool_choice.model_dump(),
        tools=[_tool(tool) for tool in body.tools],
        top_logprobs=body.top_logprobs or 0,
        top_p=body.top_p,
        usage=None if finish is None else _usage(finish, reasoning_tokens),
        user=body.user,
        metadata=body.metadata or {},
        **given,
    )


def output_item(id: str, block: AnswerBlock, status: ItemStatus, *, logprobs: bool) -> OutputItem:
    """Return the item of a block. A new message has no content yet."""
    tokens = CallTokens(tokens=[record_of(token) for token in block.tokens]) if logprobs and block.tokens else None
    if block.is_reasoning:
        text = [] if status == "in_progress" else [ReasoningText(text=block.text)]
        return OutputReasoning(id=id, status=status, summary=[], content=text, pellucid=tokens)
    if block.call is not None:
        call_id, name = block.call.id or "", block.call.name or ""
        return OutputCall(id=id, status=status, call_id=call_id, name=name, arguments=block.text, pellucid=tokens)
    if status == "in_progress":
        return OutputMessage(id=id, status=status, content=[])
    return OutputMessage(id=id, status=status, content=[output_text(block.text, block.tokens if logprobs else ())])


def output_text(text: str, tokens: Sequence[Token]) -> OutputText:
    return OutputText(text=text, annotations=[], logprobs=token_logprobs(tokens))


def error_code(error: PellucidError) -> str:
    """Return OpenAI's code of an error in a stream.

    Codex compacts the conversation at context_length_exceeded.
    """
    match error:
        case ContextLengthError():
            return "context_length_exceeded"
        case InvalidRequestError():
            return "invalid_prompt"
        case QueueFullError():
            return "rate_limit_exceeded"
    return "server_error"


def _format(body: ResponsesRequest) -> dict[str, Any]:
    format = None if body.text is None else body.text.format
    fields = {"type", "name", "description", "schema_", "strict"}
    return {"type": "text"} if format is None else format.model_dump(by_alias=True, include=fields)


def _tool(tool: FunctionTool | dict[str, JsonValue]) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _usage(finish: Finish, reasoning_tokens: int) -> ResponseUsage:
    usage = finish.usage
    return ResponseUsage(
        input_tokens=usage.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached, cache_write_tokens=0),
        output_tokens=usage.generated,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning_tokens),
        total_tokens=usage.prompt + usage.generated,
        pellucid=usage_details(usage, finish.first_difference),
    )
