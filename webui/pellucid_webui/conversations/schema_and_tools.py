"""The JSON schema and the tools that a user enters in a chat's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import Grammar

AnswerFormat = Literal["free", "json_object", "json_schema"]

ToolUse = Literal["auto", "required", "none"]
"""The model may call a tool, must call a tool, or is not shown the tools."""

SCHEMA_EXAMPLE = """{"type": "object",
 "properties": {"colour": {"enum": ["red", "blue"]}},
 "required": ["colour"]}"""

TOOLS_EXAMPLE = """[{"type": "function", "function": {
  "name": "get_weather",
  "description": "Get the weather of a city.",
  "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"]}}}]"""


def read_schema(text: str) -> Grammar:
    """Raise InvalidRequestError if the text is not a JSON object."""
    remedy = "correct it, or choose another answer format"
    if not text.strip():
        raise InvalidRequestError(
            "The JSON schema is empty: write one, or choose another answer format.", param="schema"
        )
    if not isinstance(_json(text, "The JSON schema is", remedy), dict):
        raise InvalidRequestError(
            f'The JSON schema is not an object such as {{"type": "object"}}: {remedy}.', param="schema"
        )
    return Grammar("json_schema", text, field="schema")


def read_tools(text: str) -> list[Mapping[str, Any]]:
    """Raise InvalidRequestError if the text is not a list of tools in OpenAI's shape."""
    if not text.strip():
        return []
    tools = _json(text, "The tools are", "correct them, or choose none")
    if not isinstance(tools, list):
        raise InvalidRequestError("The tools are not a list of functions: put them between [ and ].", param="tools")
    for number, tool in enumerate(tools, 1):
        _check_tool(number, tool)
    return tools


def _json(text: str, subject: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise InvalidRequestError(f"{subject} not valid JSON ({place}): {remedy}.") from None
    except (ValueError, RecursionError):  # For example a number with too many digits, or thousands of brackets.
        raise InvalidRequestError(f"{subject} too large or too deep to be read: {remedy}.") from None


def _check_tool(number: int, tool: object) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(function, dict):
        shape = '{"type": "function", "function": {"name": ...}}'
        raise InvalidRequestError(
            f"Tool {number} is not a function in OpenAI's shape: write it as {shape}.", param="tools"
        )
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidRequestError(f'Tool {number} has no name: add "name" to its function.', param="tools")
    if not isinstance(function.get("parameters", {}), dict):
        raise InvalidRequestError(
            f"The parameters of tool {number} are not a JSON schema: write an object.", param="tools"
        )
