"""Tests of tool calls under grammars of format and schemas, with a tiny model on a real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import ids_in
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.text.tool_calls.call_constraint import CallConstraint, CallConstraints
from pellucid.text.tool_calls.call_reader import call_format
from pellucid.text.tool_calls.calls_of_answer import calls_of, is_enforced
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message, NamedTool
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import byte_tokenizer

MARKERS = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]")
BYTES = byte_tokenizer(MARKERS)
TO_ENDS = {ord('"'): 4.0, ord("}"): 2.0, ord("]"): 2.0, ord("e"): 1.0, ord("\n"): 1.0, ord("<"): 3.0}
"""Biases that let a random model end its strings and objects."""

SAYS = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools }}{% endif %}{{ tool_calls }}"
TEMPLATES = {
    "hermes": SAYS + "<tool_call>",
    "qwen3-coder": SAYS + "<tool_call><function=",
    "llama": SAYS + "<|python_tag|>",
    "mistral": SAYS + "[TOOL_CALLS]",
    "mistral-args": SAYS + "[TOOL_CALLS][ARGS]",
}
NAMES = list(TEMPLATES)

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"place": {"$ref": "#/$defs/place"}},
    "required": ["place"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"x": {"type": "boolean"}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}
ODD = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}, "required": ["a"]}


def function(name: str, parameters: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    given = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **given, **fields}}


TOOLS = [function("weather", WEATHER), function("move", CITY), function("stop", None)]
SCHEMAS: dict[str, Any] = {
    "weather": WEATHER | {"additionalProperties": False},
    "move": CITY,
    "stop": {"maxProperties": 0},
}


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    model = to_decoder(tiny_llama(vocab_size=BYTES.vocab_size, max_position_embeddings=4096))
    engine = LocalEngine(dict.fromkeys(TEMPLATES, model), EngineSettings(slots=2, context=2048, chunk=256))
    models = [served_model(name, byte_tokenizer(MARKERS, template)) for name, template in TEMPLATES.items()]
    yield LocalAssistant(engine, models)
    engine.close()


def ask(
    assistant: LocalAssistant,
    model: str,
    seed: int = 1,
    biases: dict[int, float] | None = None,
    max_tokens: int = 250,
    **fields: Any,
) -> tuple[list[Token], Finish]:
    params = SamplingParams(max_tokens=max_tokens, logit_bias=TO_ENDS | (biases or {}), seed=seed, temperature=1.0)
    query = ChatQuery([Message("user", "Go.")], params, model, **{"tools": TOOLS, **fields})
    return asyncio.run(collect(assistant.chat(query)))


@pytest.mark.parametrize("model", NAMES)
def test_a_demanded_call_keeps_to_format_and_schema(assistant: LocalAssistant, model: str) -> None:
    """A demanded answer has only calls, and the arguments fit their schemas, in every format."""
    tokens, finish = ask(assistant, model, tool_choice="required", parallel_tool_calls=True)
    calls = calls_of(tokens)
    assert calls
    assert finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
    for index, call in enumerate(calls[:-1] if finish.reason is FinishReason.LENGTH else calls):
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
        assert is_enforced(tokens, index)
    # The beginning of the next call at the limit is text.
    if finish.reason is FinishReason.STOP:
        assert "".join(token.text for token in tokens if token.part is None).strip() == ""


def test_one_call_unless_several_are_asked_for(assistant: LocalAssistant) -> None:
    """A demanded call is alone unless several are permitted, and auto permits several."""
    assert len(calls_of(ask(assistant, "hermes", tool_choice="required")[0])) == 1
    assert len(calls_of(ask(assistant, "hermes", 1, {BYTES.special["<tool_call>"]: 6.0})[0])) > 1


@pytest.mark.parametrize(("model", "name"), list(zip(NAMES, ["move", "stop", "weather", "stop", "move"], strict=True)))
def test_a_named_function_is_called_once(assistant: LocalAssistant, model: str, name: str) -> None:
    """A tool_choice that names a function produces exactly one call of that function."""
    tokens, finish = ask(assistant, model, tool_choice=NamedTool(name))
    (call,) = calls_of(tokens)
    assert call.name == name
    jsonschema.validate(json.loads(call.arguments), SCHEMAS[name])
    assert finish.reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("model", "tag"), [("hermes", "<tool_call>"), ("qwen3-coder", "<tool_call>"), ("mistral", "[TOOL_CALLS]")]
)
def test_a_call_that_the_model_begins_keeps_to_its_schema(assistant: LocalAssistant, model: str, tag: str) -> None:
    """Auto leaves the text around calls free, and a call fits its schema."""
    tokens, _ = ask(assistant, model, 1, {BYTES.special[tag]: 6.0})
    calls = calls_of(tokens)
    assert len(calls) > 1
    for index, call in enumerate(calls[:-1]):
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
        assert is_enforced(tokens, index)
    assert any(token.grammar is None for token in tokens)


def test_free_text_has_no_grammar(assistant: LocalAssistant) -> None:
    """Tokens of an answer without calls have no grammar and are in no call."""
    never = {BYTES.special["<tool_call>"]: -100.0}
    tokens, _ = ask(assistant, "hermes", 1, never, max_tokens=40)
    assert all(token.grammar is None and token.part is None for token in tokens)


def constraints_of(model: str) -> CallConstraints:
    tokenizer = byte_tokenizer(MARKERS, TEMPLATES[model])
    return CallConstraints(
        GrammarCompiler(tokenizer), tokenizer, call_format(TEMPLATES[model], model), TEMPLATES[model]
    )


def constraint_and_loose(model: str, tools: list[dict[str, Any]]) -> tuple[Constraint | None, frozenset[str]]:
    return asyncio.run(constraints_of(model).constraint(ChatQuery([Message("user", "Go.")], tools=tools)))


def constraint_of(model: str, tools: list[dict[str, Any]] | None = None) -> CallConstraint:
    constraint, _ = constraint_and_loose(model, tools or TOOLS)
    assert isinstance(constraint, CallConstraint)
    return constraint


@pytest.mark.parametrize(
    ("begin", "model"),
    [
        ('{"name": "weather", "arguments": {"city": "', "hermes"),
        ('\n```json\n{\n  "name": "weather",\n  "arguments": {\n    "city": "', "hermes"),
        ('<tools>{"name":"weather","parameters":{"city":"', "hermes"),
        ('{"name": "stop", "arguments": {}}\n{"name": "weather", "arguments": {"city": "', "hermes"),
        (' {"name": "weather", "parameters": {"city": "', "llama"),
    ],
)
def test_a_call_without_tags_keeps_to_its_schema(begin: str, model: str) -> None:
    """Arguments of a call without tags keep to the schema, also in a code block or after a call."""
    constraint = constraint_of(model)
    for byte in begin.encode():
        mask = constraint.allowed()
        assert mask is None or byte in ids_in(mask)
        constraint.advance(byte)
    mask = constraint.allowed()
    assert mask is not None
    assert {chr(id) for id in ids_in(mask)} == {"R", "O"}
    for byte in b'Rome"}}':
        constraint.advance(byte)
    assert constraint.allowed() is None


@pytest.mark.parametrize(
    "begin",
    [
        'See {"name": "weather", "arguments": {"city": "',
        '{"name": "walk", "arguments": {"city": "',
        '{"name": "weather"}',
    ],
)
def test_other_objects_are_free(begin: str) -> None:
    """Objects in a text, of unknown functions, or without arguments are free."""
    constraint = constraint_of("hermes")
    for byte in begin.encode():
        assert constraint.allowed() is None
        constraint.advance(byte)


def test_many_functions_compile_in_time() -> None:
    """A hundred functions with long descriptions are held to their schemas."""
    schema = {
        "type": "object",
        "properties": {f"p{i}": {"type": "string", "description": "d" * 500} for i in range(10)},
    }
    assert isinstance(
        constraint_of("hermes", [function(f"f{i}", schema, strict=True) for i in range(100)]), CallConstraint
    )


def test_a_schema_that_cannot_be_enforced(assistant: LocalAssistant) -> None:
    """A function with an unsupported schema accepts any object unless strict, and is reported."""
    tools = [function("odd", ODD), *TOOLS]
    for seed in range(2):
        tokens, finish = ask(assistant, "hermes", seed, tools=tools, tool_choice="required", parallel_tool_calls=False)
        (call,) = calls_of(tokens)
        assert finish.loose_functions == ("odd",)
        assert isinstance(json.loads(call.arguments), dict)
        if call.name != "odd":
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    with pytest.raises(
        InvalidRequestError, match=r"The function 'odd' is strict, but its parameters cannot be enforced: .*not"
    ) as refused:
        ask(assistant, "hermes", tools=[function("odd", ODD, strict=True), *TOOLS])
    assert refused.value.param == "tools"


@pytest.mark.parametrize(
    "limited",
    [
        {"properties": {"a": {"type": "string", "pattern": "^x$"}}},
        {"properties": {"a": {"anyOf": [{"type": "string", "enum": ["red"]}, {"type": "null"}]}}},
        {"properties": {"a": {"type": "string", "allOf": [{"enum": ["red"]}]}}},
        {"properties": {"a": {"type": ["string", "integer"], "minimum": 5}}},
        {"properties": {"a": {"type": "string", "enum": None}}},
        {"properties": {"a": {"type": "string", "enum": ["x</function>y"]}}},
        {"properties": {"a": False}},
        {"properties": {"a>c": {"type": "string"}}},
        {"properties": {"a": {"type": "string"}}, "required": None},
        {"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
    ],
    ids=str,
)
def test_schemas_that_tags_cannot_express(assistant: LocalAssistant, limited: dict[str, Any]) -> None:
    """A function whose limits do not fit Qwen3-Coder's tags is loose, and refused if strict."""
    _, finish = ask(assistant, "qwen3-coder", tools=[function("f", limited)], tool_choice="required", max_tokens=1)
    assert finish.loose_functions == ("f",)
    with pytest.raises(InvalidRequestError, match="has no form in this model's format"):
        ask(assistant, "qwen3-coder", tools=[function("f", limited, strict=True)])


def test_a_text_in_tags_has_no_tag() -> None:
    """A text in Qwen3-Coder's tags may have angle brackets and line ends, but no tag."""
    tool = function("f", {"properties": {"a": {"type": "string"}}, "required": ["a"]})
    constraint = constraint_of("qwen3-coder", [tool])
    constraint.advance(BYTES.special["<tool_call>"])
    for byte in b"\n<function=f>\n<parameter=a>\n<p>a < b</p>\n</parameter":
        constraint.advance(byte)
    mask = constraint.allowed()
    assert mask is not None
    assert ord(">") in ids_in(mask)
    for byte in b"s>\n</function":
        constraint.advance(byte)
    mask = constraint.allowed()
    assert mask is not None
    assert ord(">") not in ids_in(mask)


def test_a_schema_that_nothing_fits(assistant: LocalAssistant) -> None:
    """An endless schema compiles, but the answer fails as the request's error."""
    endless = {"properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]}
    with pytest.raises(
        InvalidRequestError, match=r"^tools asks for a form that the answer cannot keep to: .*no text fits it"
    ):
        ask(assistant, "hermes", tools=[function("f", endless)], tool_choice="required")


def test_too_many_functions(assistant: LocalAssistant) -> None:
    """Functions beyond a grammar's size are loose with auto, and refused with a demanded call."""
    many = [function(f"function_{'x' * 200}_{i}", None) for i in range(1000)]
    constraint, loose = constraint_and_loose("hermes", many)
    assert constraint is None
    assert loose == {tool["function"]["name"] for tool in many}
    with pytest.raises(InvalidRequestError, match="tools cannot be used as a grammar: it has"):
        asyncio.run(
            constraints_of("hermes").constraint(ChatQuery([Message("user", "Go.")], tools=many, tool_choice="required"))
        )


def test_wrong_choices_are_refused(assistant: LocalAssistant) -> None:
    """A demand for a function that was not offered, or for a call without functions, is refused."""
    with pytest.raises(InvalidRequestError, match="names the function 'walk', which is not among tools"):
        ask(assistant, "hermes", tool_choice=NamedTool("walk"))
    with pytest.raises(InvalidRequestError, match="there are no tools"):
        ask(assistant, "hermes", tools=[], tool_choice="required")
