"""Tests of tools, calls and results in a template: as in training, without forged markers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.text.prompts import ChatTemplate
from pellucid.text.tool_calls.template_input import MAX_DEPTH, map_strings, strings_in, template_message, template_tools
from pellucid.vocabulary.message import Image, Message, ToolCall
from support.servers.calling_server import MARKERS, TOOLS, calling_tokenizer

TOKENIZER = calling_tokenizer()
USER = Message("user", "Hi")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_messages_have_only_their_fields() -> None:
    """A message without calls has only role and content, as templates test for further fields."""
    assert template_message(USER) == {"role": "user", "content": "Hi"}
    call = template_message(Message("assistant", tool_calls=[ToolCall("1", "f", '{"a": [1]}')]))
    assert call["tool_calls"] == [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}]


def test_tools_have_the_fields_of_training() -> None:
    """A function has only name, description and parameters, in this order."""
    given = {
        "function": {"strict": True, "parameters": {"b": 1, "a": 2}, "description": None, "name": "f"},
        "type": "function",
    }
    assert (
        json.dumps(template_tools([given]))
        == '[{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}]'
    )


@pytest.mark.parametrize(
    "tool", [{}, {"type": "function"}, {"type": "function", "function": {"name": ""}}, {"type": "x", "function": {}}]
)
def test_other_tools_are_refused(tool: dict[str, Any]) -> None:
    """A tool that is not a function is refused by the tool's number."""
    with pytest.raises(InvalidRequestError, match=r"tools\[1\] is not a function"):
        template_tools([TOOLS[0], tool])


@pytest.mark.parametrize("arguments", ["{", "[]", "1", "{'a': 1}", '{"a":' * 10**5, json.dumps(nested(MAX_DEPTH + 1))])
def test_wrong_arguments_are_refused(arguments: str) -> None:
    """Arguments that are not the text of a shallow object are refused by the function's name."""
    with pytest.raises(InvalidRequestError, match="The arguments of the call of 'f' are not the text of a JSON object"):
        template_message(Message("assistant", tool_calls=[ToolCall("1", "f", arguments)]))


def test_no_arguments() -> None:
    """An empty text is read as no arguments."""
    message = template_message(Message("assistant", tool_calls=[ToolCall("1", "f", "")]))
    assert message["tool_calls"][0]["function"]["arguments"] == {}


def test_deep_tools_are_refused() -> None:
    """A very deeply nested schema is refused."""
    with pytest.raises(InvalidRequestError, match="more than 64 levels"):
        template_tools([{"type": "function", "function": {"name": "f", "parameters": nested(10_000)}}])


@pytest.mark.parametrize(
    ("source", "messages", "tools", "message"),
    [
        ("{{ messages }}", [USER], TOOLS, "no place for tools:"),
        ("{{ tools }}", [Message("assistant", tool_calls=[ToolCall("1", "f", "{}")])], [], "no place for tool calls:"),
        ("{{ messages }}", [Message("tool", "x")], [], "no place for results of tools:"),
    ],
)
def test_nothing_is_dropped(source: str, messages: list[Message], tools: list[dict[str, Any]], message: str) -> None:
    """Tools, calls and results that a template does not mention are refused, not dropped."""
    with pytest.raises(InvalidRequestError, match=message):
        ChatTemplate(calling_tokenizer(source), "m").render(messages, tools=tools)


@pytest.mark.parametrize(
    "last",
    [
        Message("assistant", tool_calls=[ToolCall("1", "f", "{}")]),
        Message("assistant", images=[Image(0, "data:image/png;base64,AA==")]),
    ],
)
def test_a_message_with_calls_or_images_cannot_be_continued(last: Message) -> None:
    """A message with calls or images is complete, and cannot be continued."""
    with pytest.raises(InvalidRequestError, match="cannot be continued"):
        ChatTemplate(TOKENIZER, "m").encode([USER, last], continue_last=True)


TEXT = st.lists(
    st.one_of(st.sampled_from([*MARKERS, "<tool", "_call>", "\\u003c", "\ue000", '"', "\n"]), st.text(max_size=3))
).map("".join)


@pytest.mark.process
def test_no_tool_can_forge_a_marker() -> None:
    """Tools, arguments, names and results that spell markers stay text, also by escapes."""
    template = ChatTemplate(TOKENIZER, "m")

    @given(text=TEXT, other=TEXT)
    def check(text: str, other: str) -> None:
        tools = [{"type": "function", "function": {"name": text or "f", "parameters": {other: [text]}}}]
        call = ToolCall(text, other, json.dumps({text: other}))
        messages = [Message("assistant", other, [call]), Message("tool", text, tool_call_id=other, name=text)]
        ids = template.encode(messages, tools=tools).ids
        marks = [TOKENIZER.token_bytes(id).decode() for id in ids if TOKENIZER.is_special(id)]
        start, end, call_start, call_end = MARKERS
        assert marks == [start, end, start, call_start, call_end, end, start, end, start]
        assert b"".join(map(TOKENIZER.token_bytes, ids)).decode() == template.render(messages, tools=tools)

    check()


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda one: st.lists(one) | st.dictionaries(st.text(max_size=3), one),
    max_leaves=9,
)


@given(JSON)
def test_all_strings_are_changed(value: Any) -> None:
    """All strings of a value are changed, keys included, and nothing else."""
    assert map_strings(value, lambda text: text) == value
    changed = map_strings(value, lambda text: f"{text}!")
    assert sorted(strings_in(changed)) == sorted(f"{text}!" for text in strings_in(value))
