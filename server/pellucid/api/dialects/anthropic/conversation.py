"""Conversation, tools and grammar of a request to /v1/messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pellucid.api.dialects.anthropic.messages_schema import (
    ConversationFields,
    CustomTool,
    ImageBlock,
    InputTurn,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from pellucid.api.generation.messages import joined
from pellucid.api.generation.request_fields import ignored_fields
from pellucid.api.generation.requested_grammar import schema_grammar
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Image, Message, NamedTool, ToolCall, ToolChoice
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, Grammar, Reasoning

BILLING = "x-anthropic-billing-header:"
"""The beginning of Claude Code's first system block.

The block differs in each request, so nothing after the block could come from the cache.
"""


def chat_query(body: ConversationFields, card: ModelCard) -> ChatQuery:
    """Return the query of a conversation.

    An answer continues a last message of the assistant.
    """
    system = _system(body)
    messages = [Message("system", system)] if system else []
    for turn in body.messages:
        messages += _messages(turn)
    choice = body.tool_choice
    return ChatQuery(
        messages,
        model=card.name,
        continue_last=body.messages[-1].role == "assistant",
        tools=[_tool(tool) for tool in body.tools if isinstance(tool, CustomTool)],
        tool_choice=_tool_choice(body),
        parallel_tool_calls=None
        if choice is None or choice.disable_parallel_tool_use is None
        else not choice.disable_parallel_tool_use,
        reasoning=_reasoning(body, card),
    )


def ignored_parts(body: ConversationFields, card: ModelCard) -> list[str]:
    """Return the names of the fields, blocks and tools without effect on the answer."""
    blocks = [
        f"messages.{number}.content.{index}"
        for number, turn in enumerate(body.messages)
        if not isinstance(turn.content, str)
        for index, block in enumerate(turn.content)
        if isinstance(block, ThinkingBlock | RedactedThinkingBlock)
    ]
    thinking: list[str] = []
    if body.thinking is not None and body.thinking.type == "adaptive":
        thinking = ["thinking"]
    elif body.thinking is not None and body.thinking.type == "disabled" and body.thinking.budget_tokens is not None:
        thinking = ["thinking.budget_tokens"]
    tools = [f"tools.{number}" for number, tool in enumerate(body.tools) if not isinstance(tool, CustomTool)]
    return [*ignored_fields(body, card, thinking), *(["system.0"] if _has_billing(body) else []), *blocks, *tools]


def messages_grammar(body: ConversationFields) -> Grammar | None:
    """Return the grammar of a request to /v1/messages.

    Raises InvalidRequestError for two formats.
    """
    format = None if body.output_config is None else body.output_config.format
    if format is not None and body.output_format is not None:
        sentence = "output_format is the older name of output_config.format: send only one of them."
        raise InvalidRequestError(sentence, param="output_format")
    if body.output_format is not None:
        return schema_grammar(body.output_format.schema_, "output_format")
    return None if format is None else schema_grammar(format.schema_, "output_config.format")


def _reasoning(body: ConversationFields, card: ModelCard) -> Reasoning | None:
    if body.thinking is None or body.thinking.type != "enabled":
        return None
    if not card.reasoning:
        raise InvalidRequestError(f"{card.name} cannot reason before it answers: omit thinking.", param="thinking")
    return Reasoning(most_tokens=body.thinking.budget_tokens)


def _system(body: ConversationFields) -> str:
    if isinstance(body.system, str):
        return body.system
    return "\n\n".join(block.text for block in body.system[1 if _has_billing(body) else 0 :])


def _has_billing(body: ConversationFields) -> bool:
    return bool(body.system) and not isinstance(body.system, str) and body.system[0].text.startswith(BILLING)


def _messages(turn: InputTurn) -> Iterator[Message]:
    """Yield the results of calls as separate messages, then the turn's text, images and calls."""
    if isinstance(turn.content, str):
        yield Message(turn.role, turn.content)
        return
    results = [block for block in turn.content if isinstance(block, ToolResultBlock)]
    for result in results:
        content, images = (result.content, ()) if isinstance(result.content, str) else _joined(result.content)
        yield Message("tool", content, tool_call_id=result.tool_use_id, images=images)
    calls = tuple(
        ToolCall(block.id, block.name, json.dumps(block.input, ensure_ascii=False))
        for block in turn.content
        if isinstance(block, ToolUseBlock)
    )
    text, images = _joined([block for block in turn.content if isinstance(block, TextBlock | ImageBlock)])
    if text or images or calls or not results:
        yield Message(turn.role, text, calls, images=images)


def _joined(blocks: Sequence[TextBlock | ImageBlock]) -> tuple[str, tuple[Image, ...]]:
    return joined(block.text if isinstance(block, TextBlock) else block.image() for block in blocks)


def _tool(tool: CustomTool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    return {
        "type": "function",
        "function": {"name": tool.name, **described, "parameters": tool.input_schema, "strict": tool.strict},
    }


def _tool_choice(body: ConversationFields) -> ToolChoice:
    choice = body.tool_choice
    if choice is None or choice.type == "auto":
        return "auto"
    if choice.type == "tool":
        return NamedTool(choice.name or "")
    return "none" if choice.type == "none" else "required"
