"""Tests of arguments' probabilities: the product over the value's tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.text.tool_calls.calls_of_answer import calls_of, field_probabilities, is_whole
from pellucid.text.tool_calls.json_formats import Hermes
from pellucid.text.tool_calls.json_spans import json_spans
from pellucid.text.tool_calls.qwen3_coder import Qwen3Coder
from pellucid.vocabulary.message import ToolCall
from support.models.call_tokens import read, tokens_of


def test_a_probability_for_each_argument() -> None:
    """A value's tokens count, including a text's closing quote, but no key or bracket."""
    pieces = [
        "<tool_call>",
        '{"name": "f", "arguments": {',
        '"city',
        '": "',
        "Be",
        "rn",
        '", "',
        "days",
        '": ',
        "1",
        "2",
        ', "x": ["',
        "a",
        '", ',
        "{}",
        "]}}",
    ]
    tokens = [replace(token, logprob=-float(2**number)) for number, token in enumerate(tokens_of(pieces))]
    fields = field_probabilities(read(Hermes, tokens), 0)

    assert fields == {
        "/city": exp(-(2**4 + 2**5 + 2**6)),
        "/days": exp(-(2**9 + 2**10)),
        "/x/0": exp(-(2**12 + 2**13)),
        "/x/1": exp(-(2**14)),
    }


def test_parts_of_characters_count() -> None:
    """A token with only a part of a value's character counts."""
    first, last = tokens_of(['{"name": "f", "arguments": {"a": "', '"}}'], logprob=-1.0)
    parts = [
        replace(first, text=text, bytes=data) for text, data in (("", b"\xf0\x9f"), ("", b"\x98"), ("😀", b"\x80"))
    ]
    assert field_probabilities(read(Hermes, [*tokens_of(["<tool_call>"]), first, *parts, last]), 0) == {"/a": exp(-4.0)}


def test_fields_of_tags() -> None:
    """A value between tags has the probability of its tokens and of the ending token."""
    pieces = [
        "<tool_call>",
        "\n<function=weather>\n",
        "<parameter=city>\n",
        "Be",
        "rn",
        "\n",
        "</parameter>\n",
        "<parameter=days>",
        "3",
        "</parameter>",
        "</function>",
    ]
    tokens = [replace(token, logprob=-float(2**number)) for number, token in enumerate(tokens_of(pieces))]
    assert field_probabilities(read(Qwen3Coder, tokens), 0) == {
        "/city": exp(-(2**3 + 2**4 + 2**5)),
        "/days": exp(-(2**8)),
    }


def test_broken_arguments_have_no_fields() -> None:
    """Arguments that are not whole are shown unchanged, without fields."""
    tokens = read(Hermes, tokens_of(["<tool_call>", '{"name": "f", "arguments": {"a": 1']))
    assert calls_of(tokens) == [ToolCall("id0", "f", '{"a": 1')]
    assert field_probabilities(tokens, 0) == {}


@pytest.mark.parametrize(
    ("arguments", "whole"), [("{}", True), ('{"a": ', False), ("[]", False), ('{"a":' * 10**5, False)]
)
def test_whole_arguments(arguments: str, whole: bool) -> None:
    """Only the text of a JSON object is whole."""
    assert is_whole(ToolCall("1", "f", arguments)) is whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def at_pointer(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


@given(value=JSON, indent=st.none() | st.integers(0, 2), ascii=st.booleans())
def test_spans(value: Any, indent: int | None, ascii: bool) -> None:
    """Each span has the text of its pointer's value, and every leaf has a span."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    for span in json_spans(text):
        leaf = at_pointer(value, span.pointer)
        written = text[span.begin - isinstance(leaf, str) : span.end]
        assert json.loads(written) == leaf
        assert not leaf or not isinstance(leaf, list | dict)
    assert len(json_spans(text)) == leaves(value)


def leaves(value: Any) -> int:
    if value and isinstance(value, list | dict):
        return sum(map(leaves, value.values() if isinstance(value, dict) else value))
    return 1


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "[" * 10**5, "1 2"])
def test_no_spans_without_json(text: str) -> None:
    """A text that is not JSON has no spans."""
    assert json_spans(text) == []
