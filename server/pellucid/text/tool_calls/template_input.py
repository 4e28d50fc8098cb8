"""Messages and tools for chat templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message, ToolCall

Json = dict[str, Any]

MAX_DEPTH = 64
"""Maximum depth of tools and arguments. JSON schemas of real tools have fewer than ten levels."""


def template_message(message: Message, *, in_parts: bool = False) -> Json:
    """Return a message for a template, without empty fields, with arguments as objects.

    The content is a text, or ``in_parts`` a list of texts and images.
    """
    fields: Json = {"role": message.role, "content": _parts(message) if in_parts else message.content}
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    if message.reasoning:
        fields["reasoning_content"] = message.reasoning
    optional = {"tool_call_id": message.tool_call_id, "name": message.name}
    return fields | {name: value for name, value in optional.items() if value is not None}


def template_tools(tools: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return functions with the fields, and the order of fields, of the models' training.

    ``strict`` is not for the model, and omitted.
    """
    return [_template_tool(number, tool) for number, tool in enumerate(tools)]


def check_template(source: str, model: str, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidRequestError for tools, calls or results that a template would silently drop."""
    no_place = f"The chat template of {model} has no place for"
    if tools and "tools" not in source:
        raise InvalidRequestError(f"{no_place} tools: omit tools, or use another model.", param="tools")
    if any(message.tool_calls for message in messages) and "tool_calls" not in source:
        raise InvalidRequestError(
            f"{no_place} tool calls: omit messages with tool_calls, or use another model.", param="messages"
        )
    if any(message.role == "tool" for message in messages) and "tool" not in source:
        raise InvalidRequestError(
            f"{no_place} results of tools: omit messages of the role tool, or use another model.", param="messages"
        )


def strings_in(value: object) -> Iterator[str]:
    """Yield every string and every key of a JSON value, in any order."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            pending += item


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_strings(item, change) for item in value]
    return value


def _parts(message: Message) -> list[Json]:
    parts: list[Json] = []
    at = 0
    for image in message.images:
        parts += [{"type": "text", "text": message.content[at : image.at]}] if image.at > at else []
        parts.append({"type": "image"})
        at = image.at
    return [*parts, {"type": "text", "text": message.content[at:]}] if message.content[at:] else parts


def _arguments(call: ToolCall) -> Json:
    try:
        value = json.loads(call.arguments) if call.arguments.strip() else {}
        value_is_deep = _is_deep(value)
    except RecursionError:
        value_is_deep = True
    except ValueError as error:
        raise _wrong_arguments(call, str(error)) from None
    if value_is_deep:
        raise _wrong_arguments(call, f"they have more than {MAX_DEPTH} levels")
    if not isinstance(value, dict):
        raise _wrong_arguments(call, "they are another JSON value")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _wrong_arguments(call: ToolCall, reason: str) -> InvalidRequestError:
    sentence = (
        f"The arguments of the call of {call.name!r} are not the text of a JSON object ({reason}): "
        "send one, such as {}."
    )
    return InvalidRequestError(sentence, param="messages")


def _template_tool(number: int, tool: Mapping[str, Any]) -> Json:
    if _is_deep(tool):
        raise InvalidRequestError(f"tools[{number}] has more than {MAX_DEPTH} levels: simplify it.", param="tools")
    match tool:
        case {"type": "function", "function": {"name": str(name), **rest}} if name:
            known = {key: rest[key] for key in ("description", "parameters") if rest.get(key) is not None}
            return {"type": "function", "function": {"name": name, **known}}
    shape = '{"type": "function", "function": {"name": ..., "parameters": ...}}'
    raise InvalidRequestError(f"tools[{number}] is not a function: send {shape}.", param="tools")
