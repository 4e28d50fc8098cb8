"""Conversation, tools and grammar of a request to /v1/responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pellucid.api.dialects.openai.responses_schema import (
    LOGPROBS,
    FunctionCall,
    FunctionCallOutput,
    FunctionTool,
    InputImage,
    InputMessage,
    InputPart,
    NamedFunction,
    ReasoningItem,
    ResponsesRequest,
    TextSchema,
)
from pellucid.api.generation.messages import joined
from pellucid.api.generation.reasoning import reasoning_of
from pellucid.api.generation.request_fields import ignored_fields
from pellucid.api.generation.requested_grammar import schema_grammar
from pellucid.vocabulary.message import Image, Message, NamedTool, ToolCall, ToolChoice
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Grammar, Reasoning


def conversation(body: ResponsesRequest) -> list[Message]:
    """Return the messages, the instructions first.

    Calls belong to the preceding message of the assistant.
    """
    messages = [Message("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, Message("user", body.input)]
    for item in body.input:
        match item:
            case InputMessage():
                # The role developer is a newer name of system.
                role = "system" if item.role == "developer" else item.role
                messages.append(_message(role, item.content))
            case FunctionCall():
                if not messages or messages[-1].role != "assistant":
                    messages.append(Message("assistant"))
                call = ToolCall(item.call_id, item.name, item.arguments)
                messages[-1] = replace(messages[-1], tool_calls=[*messages[-1].tool_calls, call])
            case FunctionCallOutput():
                messages.append(replace(_message("tool", item.output), tool_call_id=item.call_id))
    return messages


def requested_reasoning(body: ResponsesRequest, card: ModelCard) -> Reasoning | None:
    return None if body.reasoning is None or not card.reasoning else reasoning_of(body.reasoning.effort)


def offered_tools(body: ResponsesRequest) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": tool.model_dump(include={"name", "description", "parameters", "strict"}, exclude_unset=True),
        }
        for tool in body.tools
        if isinstance(tool, FunctionTool)
    ]


def tool_choice(body: ResponsesRequest) -> ToolChoice:
    return NamedTool(body.tool_choice.name) if isinstance(body.tool_choice, NamedFunction) else body.tool_choice


def responses_grammar(body: ResponsesRequest) -> Grammar | None:
    asked = None if body.text is None else body.text.format
    if isinstance(asked, TextSchema):
        return schema_grammar(asked.schema_, "text.format")
    return Grammar("json_object", field="text.format") if asked is not None and asked.type == "json_object" else None


def ignored_parts(body: ResponsesRequest, card: ModelCard) -> list[str]:
    """Return the names of the fields, items and tools without effect on the answer."""
    is_unused = body.reasoning is not None and not card.reasoning
    ignored = ignored_fields(body, card, ["reasoning"] if is_unused else [])
    if is_unused:
        ignored = [name for name in ignored if not name.startswith("reasoning.")]
    if any(value != LOGPROBS for value in body.include):
        ignored.append("include")
    items = [] if isinstance(body.input, str) else body.input
    ignored += [f"input.{number}" for number, item in enumerate(items) if isinstance(item, ReasoningItem)]
    return ignored + [f"tools.{number}" for number, tool in enumerate(body.tools) if not isinstance(tool, FunctionTool)]


def _message(role: str, content: str | list[InputPart | InputImage]) -> Message:
    if isinstance(content, str):
        return Message(role, content)
    text, images = joined(Image(0, part.image_url) if isinstance(part, InputImage) else part.text for part in content)
    return Message(role, text, images=images)
