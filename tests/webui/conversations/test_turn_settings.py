"""Tests the settings of a turn and their JSON."""

from __future__ import annotations

import json

import pytest

from pellucid.api.schema.sampling import MAX_TOKENS
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import Grammar, SamplingParams
from pellucid_webui.conversations.schema_and_tools import SCHEMA_EXAMPLE, TOOLS_EXAMPLE
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, UNLIMITED_TOKENS, TurnSettings

SETTINGS = TurnSettings("m", "s", 0.5, 0.75, 3, 0.25, 9, 7, "json_schema", "{}", "[]", "none")


def test_round_trip() -> None:
    """Settings are read back unchanged; missing ones get defaults, unknown ones are ignored."""
    assert TurnSettings.read(json.loads(json.dumps(SETTINGS.record()))) == SETTINGS
    assert TurnSettings.read({}) == TurnSettings()
    assert TurnSettings.read({"top_k": 3, "shoe_size": 44}) == TurnSettings(top_k=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 1),
        ("system", None),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_k", 1.5),
        ("top_k", True),
        ("seed", "1"),
        ("seed", False),
        ("max_tokens", None),
    ],
)
def test_wrong_types(name: str, value: object) -> None:
    """A setting of a wrong type is refused by name."""
    with pytest.raises(InvalidRequestError, match=f"The setting {name} of a turn must be of the type") as caught:
        TurnSettings.read({name: value})
    assert caught.value.param == name


def test_whole_numbers_are_numbers() -> None:
    """A temperature may be written without a decimal point."""
    assert TurnSettings.read({"temperature": 1}).temperature == 1.0


def test_sampling() -> None:
    """The engine gets all settings; a setting out of bounds is refused by name."""
    assert SETTINGS.sampling() == SamplingParams(7, 0.5, 3, 0.75, 0.25, seed=9, top_logprobs=ALTERNATIVES)
    with pytest.raises(InvalidRequestError, match="temperature must be 0"):
        TurnSettings(temperature=-1).sampling()


@pytest.mark.parametrize(
    ("name", "choices"), [("answer_format", "free, json_object, json_schema"), ("tool_choice", "auto, required, none")]
)
@pytest.mark.parametrize("value", ["xml", None, 1])
def test_unknown_choices(name: str, choices: str, value: object) -> None:
    """An unknown choice is refused with the valid choices."""
    with pytest.raises(InvalidRequestError, match=f"The setting {name} of a turn must be one of {choices}, not"):
        TurnSettings.read({name: value})


def test_no_limit() -> None:
    """By default an answer may fill the context: servers get the largest accepted limit."""
    assert TurnSettings().sampling().max_tokens == UNLIMITED_TOKENS == MAX_TOKENS


def test_a_free_query() -> None:
    """Without a format and tools, a query has no grammar and tools, even with a broken schema."""
    query = TurnSettings(model="m", schema="{").query([Message("user", "q")], continue_last=True)
    assert (query.grammar, query.tools, query.tool_choice, query.model, query.continue_last) == (
        None,
        [],
        "auto",
        "m",
        True,
    )


def test_a_query_with_a_format() -> None:
    """A format becomes the grammar of a query that asks for the values of the answer."""
    schema = TurnSettings(answer_format="json_schema", schema=SCHEMA_EXAMPLE).query([])
    assert (schema.grammar, schema.with_fields) == (Grammar("json_schema", SCHEMA_EXAMPLE), True)
    assert TurnSettings(answer_format="json_object").query([]).grammar == Grammar("json_object")


def test_a_query_with_tools() -> None:
    """A query has the tools and the choice; with the choice none, tools are ignored."""
    query = TurnSettings(tools=TOOLS_EXAMPLE, tool_choice="required").query([])
    assert (list(query.tools), query.tool_choice) == (json.loads(TOOLS_EXAMPLE), "required")
    assert TurnSettings(tools="[{", tool_choice="none").query([]).tools == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"schema": " "}, "The JSON schema is empty: write one"),
        (
            {"schema": '{"type": }'},
            (
                r"The JSON schema is not valid JSON \(Expecting value in line 1, column 10\): correct it, or "
                r"choose another"
            ),
        ),
        ({"schema": "[" * 100_000}, "The JSON schema is too large or too deep to be read"),
        ({"schema": "9" * 10_000}, "The JSON schema is too large or too deep to be read"),
        ({"schema": "[]"}, "The JSON schema is not an object such as"),
        ({"schema": "{}", "tools": TOOLS_EXAMPLE}, "Tools and an answer format exclude each other"),
        ({"answer_format": "free", "tool_choice": "required"}, "A tool call is required, but there are no tools"),
        ({"answer_format": "free", "tools": "[{]"}, "The tools are not valid JSON"),
        ({"answer_format": "free", "tools": "{}"}, "The tools are not a list of functions"),
        ({"answer_format": "free", "tools": "[5]"}, "Tool 1 is not a function in OpenAI's shape"),
        ({"answer_format": "free", "tools": '[{"type": "function", "function": {"name": ""}}]'}, "Tool 1 has no name"),
        (
            {"answer_format": "free", "tools": '[{"type": "function", "function": {"name": "f", "parameters": []}}]'},
            "The parameters of tool 1 are not a JSON schema",
        ),
    ],
)
def test_what_cannot_be_asked(settings: dict[str, str], sentence: str) -> None:
    """An unusable schema or tool list is refused in a sentence with the remedy."""
    found = TurnSettings.read({"answer_format": "json_schema", **settings})
    with pytest.raises(InvalidRequestError, match=sentence):
        found.check()
