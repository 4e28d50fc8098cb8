"""Tests of calls in the formats of all families, however the answer is split into tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.text.tool_calls.call_reader import CallReader, Format, call_format
from pellucid.text.tool_calls.calls_of_answer import calls_of, field_probabilities, is_whole
from pellucid.text.tool_calls.json_formats import Hermes, Llama, Mistral
from pellucid.text.tool_calls.json_spans import json_spans
from pellucid.text.tool_calls.qwen3_coder import Qwen3Coder
from pellucid.vocabulary.message import ToolCall
from support.models.call_tokens import MARKERS, OFFERED, Found, found, read, split_at_markers, tokens_of

F = '{"name": "f", "arguments": {"a": 1}}'
W = '{"name": "weather", "arguments": {"city": "Bern }", "tags": ["a", {"b": "\\"}"}]}}'
F_CALL = ("f", '{"a": 1}')
W_CALL = ("weather", '{"city": "Bern }", "tags": ["a", {"b": "\\"}"}]}')
XML_W = "<function=weather>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>"
XML_CALL = ("weather", '{"city": "Bern", "days": 3}')

READ: dict[str, tuple[Format, str, Found]] = {
    "a call": (Hermes, f"<tool_call>\n{W}\n</tool_call>", Found("", [W_CALL])),
    "text before a call": (Hermes, f"I look.\n\n<tool_call>{F}</tool_call>\n", Found("I look.", [F_CALL])),
    "text around calls": (
        Hermes,
        f"A <tool_call>{F}</tool_call> b <tool_call>{W}</tool_call>\nc ",
        Found("A b\nc", [F_CALL, W_CALL]),
    ),
    "several calls": (
        Hermes,
        f"<tool_call>\n{F}\n</tool_call>\n<tool_call>\n{W}\n</tool_call>",
        Found("", [F_CALL, W_CALL]),
    ),
    "no closing tag": (Hermes, f"<tool_call>\n{F}", Found("", [F_CALL])),
    "no closing tags": (Hermes, f"<tool_call>\n{F}\n<tool_call>{W}", Found("", [F_CALL, W_CALL])),
    "no outer brace": (Hermes, '<tool_call>{"name": "f", "arguments": {"a": 1}\n</tool_call>', Found("", [F_CALL])),
    "arguments first": (Hermes, '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', Found("", [F_CALL])),
    "other fields": (
        Hermes,
        '<tool_call>{"id": "x}", "n": 1, "o": {"p": []}, "name": "f", "arguments": {"a": 1}}</tool_call>',
        Found("", [F_CALL]),
    ),
    "no arguments": (Hermes, '<tool_call>{"name": "f"}</tool_call>', Found("", [("f", "{}")])),
    "null arguments": (Hermes, '<tool_call>{"name": "f", "arguments": null}</tool_call>', Found("", [("f", "{}")])),
    "arguments as text": (
        Hermes,
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": \\"\\\\u00e9 \\ud83d\\ude00\\"}"}</tool_call>',
        Found("", [("f", '{"a": "\\u00e9 😀"}')]),
    ),
    "line end in a text": (
        Hermes,
        '<tool_call>{"name": "f", "arguments": {"a": "x\ny"}}',
        Found("", [("f", '{"a": "x\\ny"}')]),
    ),
    "cut arguments": (Hermes, '<tool_call>{"name": "f", "arguments": {"a": "Be', Found("", [("f", '{"a": "Be')])),
    "unknown function": (Hermes, '<tool_call>{"name": "g", "arguments": {}}</tool_call>', Found("", [("g", "{}")])),
    "cut name": (Hermes, 'Well <tool_call>{"name": "f', Found('Well {"name": "f', [])),
    "no object": (Hermes, "<tool_call> no </tool_call> ", Found(" no  ", [])),
    "another marker": (Hermes, f"a<|other|>b <tool_call>{F}<|other|></tool_call>", Found("ab", [F_CALL])),
    "a code block": (Hermes, f"```json\n{F}\n```", Found("", [F_CALL])),
    "code blocks": (Hermes, f"```\n{F}\n{F}\n```\n```json\n{W}\n```\n", Found("", [F_CALL, F_CALL, W_CALL])),
    "tools": (Hermes, f"<tools>\n{W}\n</tools>", Found("", [W_CALL])),
    "a bare object": (Hermes, W, Found("", [W_CALL])),
    "an array": (Hermes, f"[{F}, {W}]", Found("", [F_CALL, W_CALL])),
    "a block that is not closed": (Hermes, f"```json\n{F}", Found("", [F_CALL])),
    "a bare object and text": (Hermes, f"{F}\nThat is it.", Found(f"{F}\nThat is it.", [])),
    "text and a bare object": (Hermes, f"So: {F}", Found(f"So: {F}", [])),
    "a bare object of an unknown function": (Hermes, F.replace('"f"', '"g"'), Found(F.replace('"f"', '"g"'), [])),
    "a bare object with other fields": (
        Hermes,
        '{"name": "f", "arguments": {}, "x": 1}',
        Found('{"name": "f", "arguments": {}, "x": 1}', []),
    ),
    "a bare object without arguments": (Hermes, '{"name": "f"}', Found('{"name": "f"}', [])),
    "a cut bare object": (Hermes, F[:-2], Found(F[:-2], [])),
    "another code block": (Hermes, "```json\n[1]\n```", Found("```json\n[1]\n```", [])),
    "code": (Hermes, "```python\nprint({})\n```\n", Found("```python\nprint({})\n```\n", [])),
    "white space": (Hermes, " \n", Found(" \n", [])),
    "nothing": (Hermes, "", Found("", [])),
    "Llama": (Llama, '{"name": "f", "parameters": {"a": 1}}', Found("", [F_CALL])),
    "Llama's tag": (
        Llama,
        '<|python_tag|>{"name": "g", "parameters": {}}; {"name": "f", "parameters": {"a": 1}}',
        Found("", [("g", "{}"), F_CALL]),
    ),
    "Llama's code": (Llama, '<|python_tag|>print("{}")', Found('print("{}")', [])),
    "Llama's text": (Llama, "{x}", Found("{x}", [])),
    "Mistral": (Mistral, f'[TOOL_CALLS] [{F}, {W[:-1]}, "id": "abcdefghi"}}]', Found("", [F_CALL, W_CALL])),
    "Mistral, cut": (Mistral, f"Well.[TOOL_CALLS][{F}, ", Found("Well.,", [F_CALL])),
    "newer Mistral": (
        Mistral,
        '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]12[ARGS]{}',
        Found("", [F_CALL, ("g", "{}")]),
    ),
    "Mistral's list": (Mistral, "[1, 2]", Found("[1, 2]", [])),
    "Qwen3-Coder": (Qwen3Coder, f"Yes.\n<tool_call>\n{XML_W}\n</tool_call>", Found("Yes.", [XML_CALL])),
    "Qwen3-Coder without a tag": (Qwen3Coder, f"{XML_W}\n</tool_call>\n{XML_W}", Found("", [XML_CALL, XML_CALL])),
    "Qwen3-Coder, not closed": (Qwen3Coder, f"<tool_call>{XML_W[:-11]}", Found("", [XML_CALL])),
    "Qwen3-Coder, cut": (Qwen3Coder, f"<tool_call>{XML_W[:-30]}", Found("", [("weather", '{"city": "Bern"')])),
    "Qwen3-Coder, no parameters": (
        Qwen3Coder,
        "<tool_call><function=f>\n</function></tool_call>",
        Found("", [("f", "{}")]),
    ),
    "Qwen3-Coder, values": (
        Qwen3Coder,
        "<tool_call><function=weather><parameter=city>\n 5\n\n</parameter><parameter=hourly>True</parameter>"
        '<parameter=tags>\n["a", 1]\n</parameter><parameter=days>soon "1"</function>',
        Found("", [("weather", '{"city": " 5\\n", "hourly": true, "tags": ["a", 1], "days": "soon \\"1\\""}')]),
    ),
    "Qwen3-Coder, an unknown function without a tag": (
        Qwen3Coder,
        "<function=g></function>",
        Found("<function=g></function>", []),
    ),
}


@pytest.mark.parametrize("case", READ)
def test_calls_are_read(case: str) -> None:
    """Each form of a call is read, and similar text stays text."""
    format, answer, expected = READ[case]
    assert found(read(format, tokens_of(split_at_markers(answer)))) == expected


@pytest.mark.parametrize(
    "case",
    [case for case in READ if case not in ("another marker", "no object", "cut name", "Llama's code", "Mistral, cut")],
)
def test_tags_may_be_text(case: str) -> None:
    """A tokenizer without the markers spells the tags, and the calls are the same."""
    format, answer, expected = READ[case]
    assert found(read(format, tokens_of(answer), markers=False)) == expected


@given(data=st.data(), case=st.sampled_from(sorted(READ)), parallel=st.booleans())
def test_any_split_gives_the_same(data: st.DataObject, case: str, parallel: bool) -> None:
    """Text and calls do not depend on the split into tokens, nor on the number of tokens fed.

    No token is lost or moved, except tokens after the first call of an answer that ends there.
    """
    format, answer, _ = READ[case]
    pieces: list[str] = []
    for piece in split_at_markers(answer):
        cuts = (
            [] if piece in MARKERS else sorted(data.draw(st.sets(st.integers(1, max(len(piece) - 1, 1)), max_size=12)))
        )
        pieces += [one for one in (piece[i:j] for i, j in zip([0, *cuts], [*cuts, None], strict=True)) if one]
    tokens = tokens_of(pieces)
    out = read(format, tokens, parallel=parallel, at_a_time=data.draw(st.integers(1, 5)))
    assert found(out) == found(read(format, tokens_of(split_at_markers(answer)), parallel=parallel))
    assert [token.position for token in out] == list(range(len(out)))
    assert len(out) == len(tokens) or not parallel


PIECES = [
    *MARKERS,
    *'{}[]",: \\\n`<>',
    "name",
    "arguments",
    "f",
    "```json",
    "<function=",
    "</function>",
    "<parameter=",
    "</parameter>",
]


@given(pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))))
@pytest.mark.parametrize("format", [Hermes, Llama, Mistral, Qwen3Coder])
def test_any_answer_is_read(format: Format, pieces: list[str]) -> None:
    """Any broken answer is read to its end, and an answer without a call is unchanged."""
    tokens = tokens_of(pieces)
    out = read(format, tokens)
    assert [token.position for token in out] == list(range(len(tokens)))
    if not calls_of(out):
        assert found(out).content == "".join(token.text for token in tokens)
        assert all(token.part is None for token in out)


def test_tokens_of_a_call_are_marked() -> None:
    """The tokens of a call have the call's index and no text, and the deltas join to the call."""
    tokens = read(
        Hermes,
        tokens_of(
            ["Hi", " ", "<tool_call>", "\n", '{"name": "f", "', 'arguments": {"a"', ": 1", "}}", "\n", "</tool_call>"]
        ),
    )
    assert [token.part is not None and token.part.call for token in tokens] == [False, False, *[0] * 8]
    assert [token.text for token in tokens] == ["Hi", *[""] * 9]
    deltas = [delta for token in tokens if token.part for delta in token.part.deltas]
    assert [(delta.name, delta.id) for delta in deltas] == [("f", "id0"), *[(None, None)] * 3]
    assert [delta.arguments for delta in deltas] == ["", '{"a"', ": 1", "}"]


def test_arguments_stream() -> None:
    """Text is returned at once, and a call as soon as the arguments begin, then piece by piece."""
    reader = CallReader(Hermes, MARKERS, OFFERED, str)
    counts = []
    for token in tokens_of(
        [
            "Hi",
            " ",
            "you",
            " ",
            "<tool_call>",
            '{"name": "f"',
            ', "arguments": ',
            "{",
            '"a": ',
            '"b',
            'c"',
            "}}",
            "</tool_call>",
        ]
    ):
        counts.append(len(reader.feed([token])))  # noqa: PERF401
    assert counts == [1, 0, 2, 0, 0, 0, 0, 5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("format", "answer"),
    [
        (Hermes, f"<tool_call>{W}</tool_call><tool_call>{F}</tool_call>"),
        (Hermes, f"{W}{F}"),
        (Mistral, f"[TOOL_CALLS][{W},{F}]"),
    ],
)
def test_only_the_first_call(format: Format, answer: str) -> None:
    """Without parallel calls an answer ends after its first call."""
    assert found(read(format, tokens_of(split_at_markers(answer)), parallel=False)) == Found("", [W_CALL])


def test_continued_answers_are_not_bare_calls() -> None:
    """The rest of a continued answer is no call without tags."""
    assert found(read(Hermes, tokens_of([F]), bare=False)) == Found(F, [])


def test_parts_of_characters_belong_to_the_call() -> None:
    """A token with a part of an argument's character belongs to the call, without text."""
    tokens = tokens_of(["<tool_call>", '{"name": "f", "arguments": {"a": "', "é", '"}}'])
    half = replace(tokens[2], text="", bytes="é".encode()[:1])
    out = read(Hermes, [*tokens[:2], half, replace(tokens[2], bytes="é".encode()[1:]), tokens[3]])
    assert out[2].part is not None
    assert [(delta.index, delta.arguments) for delta in out[2].part.deltas] == [(0, "")]


@pytest.mark.parametrize(
    ("source", "format"),
    [
        ("{% for tool in tools %}<tool_call>{% endfor %}", Hermes),
        ("<tool_call>\n<function=example>", Qwen3Coder),
        ("{{ '[TOOL_CALLS]' }}", Mistral),
        ('<|start_header_id|>{"name": function name, "parameters": ...}', Llama),
        ("<|python_tag|>", Llama),
    ],
)
def test_the_template_decides_the_format(source: str, format: Format) -> None:
    """The model's chat template decides the format of calls."""
    assert call_format(source, "m") is format


def test_unknown_formats_are_refused() -> None:
    """A template whose calls cannot be read is refused in a sentence."""
    with pytest.raises(InvalidRequestError, match="The tool calls of m have a format that cannot be read"):
        call_format("{{ tools }}<|tool_calls_section_begin|>", "m")


def test_arguments_are_valid_json() -> None:
    """The arguments of whole calls can be parsed."""
    for format, answer, _ in READ.values():
        for call in calls_of(read(format, tokens_of(split_at_markers(answer)))):
            if not answer.endswith(("Be", XML_W[:-30])):
                assert isinstance(json.loads(call.arguments), dict)


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
