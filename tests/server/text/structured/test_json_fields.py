"""Tests of the probabilities of a JSON answer's values."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.text.structured.json_fields import json_fields, to_json
from pellucid.text.structured.json_scanner import scan
from pellucid.vocabulary.finish import JsonField, OtherValue
from pellucid.vocabulary.query import Grammar
from pellucid.vocabulary.token import Alternative, GrammarScore, Token
from support.servers.scripted_engine import byte_tokenizer

TOKENIZER = byte_tokenizer()
COMPILER = GrammarCompiler(TOKENIZER)

Part = str | tuple[str, float, float] | tuple[str, float, float, dict[str, float]]
"""Either a forced token for each character, or a token's text, probability, mass and rest."""


def tokens(*parts: Part) -> list[Token]:
    """Return an answer of these tokens."""
    out: list[Token] = []
    for part in parts:
        if isinstance(part, str):
            out += [_token(character, GrammarScore(0.5, 1, 0.0), {}) for character in part]
        else:
            text, within, mass, *others = part
            alternatives = {text: within * mass} | (others[0] if others else {})
            out.append(_token(text, GrammarScore(mass, 2, math.log(within)), alternatives))
    return out


def _token(text: str, score: GrammarScore, alternatives: dict[str, float]) -> Token:
    top = [Alternative(_id(other), other, other.encode(), math.log(p)) for other, p in alternatives.items()]
    top.sort(key=lambda one: -one.logprob)
    return Token(
        _id(text), text, text.encode(), 0, score.logprob + math.log(score.mass), 1, 0.5, tuple(top), grammar=score
    )


def _id(text: str) -> int:
    (id,) = TOKENIZER.encode(text)
    return id


def fields(schema: object, answer: Sequence[Token], begin: int = 0, white: str | None = "") -> dict[str, JsonField]:
    matcher = asyncio.run(COMPILER.matcher(Grammar("json_schema", json.dumps(schema), whitespace=white)))
    return {field.path: field for field in json_fields(answer, matcher, begin)}


def other(field: JsonField) -> tuple[object, float]:
    assert field.other is not None
    return field.other.value, round(field.other.probability, 4)


def thing(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


COLOUR = thing(c={"enum": ["red", "blue"]})


def test_a_value_s_probability_is_that_of_its_decisions() -> None:
    """Forced tokens count as 1, and the mass is the model's probability of the grammar."""
    found = fields(COLOUR, tokens('{"c":"', ("r", 0.7, 0.8), 'ed"}'))["/c"]
    assert (found.value, found.decided) == ("red", 1)
    assert found.probability == pytest.approx(0.7)
    assert found.mass == pytest.approx(0.8 * 0.5**3)
    assert found.other is None


def test_another_value_is_completed_by_the_grammar() -> None:
    """The best alternative value is completed by forced tokens where one token decides."""
    decided = ("r", 0.7, 0.8, {"b": 0.24, "x": 0.3})
    assert other(fields(COLOUR, tokens('{"c":"', decided, 'ed"}'))["/c"]) == ("blue", 0.3)


def test_refused_and_open_alternatives_are_no_values() -> None:
    """An alternative is left out if the grammar refuses it or the value is not certain."""
    assert fields(COLOUR, tokens('{"c":"', ("r", 0.7, 0.8, {"x": 0.3}), 'ed"}'))["/c"].other is None
    three = thing(c={"enum": ["red", "blue", "black"]})
    assert fields(three, tokens('{"c":"', ("r", 0.7, 0.8, {"b": 0.24}), 'ed"}'))["/c"].other is None
    number = thing(c={"type": "integer"})
    assert fields(number, tokens('{"c":', ("1", 0.7, 0.8, {"2": 0.2}), "}"))["/c"].other is None


def test_literals() -> None:
    """True, false and null are values decided by the first letter."""
    schema = thing(a={"type": ["boolean", "null"]}, b={"type": "boolean"})
    answer = tokens('{"a":', ("t", 0.5, 0.9, {"n": 0.3, "f": 0.1}), 'rue,"b":', ("f", 0.6, 0.5, {"t": 0.2}), "alse}")
    found = fields(schema, answer)
    assert (found["/a"].value, other(found["/a"])) == (True, (None, 0.3333))
    assert (found["/b"].value, other(found["/b"])) == (False, (True, 0.4))


def test_a_choice_of_white_space_is_not_part_of_a_value() -> None:
    """Tokens between values count for no value."""
    answer = tokens(
        "{", (" ", 0.1, 0.9), '"c":', (" ", 0.2, 0.9), '"', ("b", 0.4, 0.9, {"r": 0.5}), 'lue"', (" ", 0.3, 0.9), "}"
    )
    found = fields(COLOUR, answer, white=None)["/c"]
    assert (found.value, found.decided, round(found.probability, 4)) == ("blue", 1, 0.4)
    assert other(found) == ("red", 0.5556)


def test_the_end_of_a_text_is_a_decision() -> None:
    """The probability of a string, even of an empty string, contains the closing quote's."""
    text = thing(c={"type": "string"})
    answer = tokens('{"c":"', ("h", 0.5, 1.0), ("i", 0.5, 1.0), ('"', 0.1, 1.0), "}")
    assert fields(text, answer)["/c"].probability == pytest.approx(0.025)
    empty = tokens('{"c":"', ('"', 0.2, 1.0), "}")
    assert fields(text, empty)["/c"].value == ""
    assert fields(text, empty)["/c"].probability == pytest.approx(0.2)


def test_tokens_that_hold_more_than_a_value() -> None:
    """A token with parts of several values counts for each value."""
    answer = tokens('{"c":', ('"', 0.9, 1.0), ("re", 0.5, 1.0), 'd"}')
    assert fields(COLOUR, answer)["/c"].probability == pytest.approx(0.5)
    plain = [_token(text, GrammarScore(1.0, 2, math.log(0.5)), {}) for text in ("re", "ret")]
    assert json_fields(plain, None) == []


def test_a_character_of_several_tokens() -> None:
    """A token that only begins a character belongs to the value with the complete character."""
    first = Token(0xC3, "", b"\xc3", 0, -1.0, 1, 0.5, grammar=GrammarScore(1.0, 9, math.log(0.5)))
    second = Token(0xA9, "é", b"\xa9", 0, -1.0, 1, 0.5, grammar=GrammarScore(1.0, 9, math.log(0.5)))
    answer = [*tokens('{"c":"'), first, second, *tokens('"}')]
    found = fields(thing(c={"type": "string"}), answer)["/c"]
    assert (found.value, found.decided, round(found.probability, 4)) == ("é", 2, 0.25)


def test_nested_values_have_pointers_and_an_early_end_has_whole_ones() -> None:
    """Paths are JSON pointers, unfinished answers have whole values, and JSON may follow text."""
    answer = tokens('call: {"a/b":[1,{"~":null}],"c":"re')
    found = json_fields(answer, None, len("call: "))
    assert [(field.path, field.value) for field in found] == [("/a~1b/0", 1), ("/a~1b/1/~0", None)]
    assert to_json(found[0]) == {"path": "/a~1b/0", "value": 1, "probability": 1.0, "mass": 0.5, "decided": 0}


def test_an_other_value_in_json() -> None:
    """The alternative value is written with its probability."""
    assert to_json(JsonField("/a", "x", 0.5, 1.0, 1, OtherValue("y", 0.25)))["other"] == {
        "value": "y",
        "probability": 0.25,
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = [(key.replace("~", "~0").replace("/", "~1"), item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        return [(path, value)]
    return [leaf for key, item in parts for leaf in leaves(item, f"{path}/{key}")]


@given(value=VALUES, indent=st.sampled_from([None, 0, 2]), before=st.sampled_from(["", " \n"]))
def test_all_values_are_found(value: Any, indent: int | None, before: str) -> None:
    """Every value has its JSON pointer and its exact place in the text."""
    text = before + json.dumps(value, indent=indent)
    found = scan(text)
    assert [(one.path, one.value) for one in found] == leaves(value)
    assert [json.loads(text[one.begin : one.end]) for one in found] == [one.value for one in found]


@given(value=VALUES, data=st.data())
def test_a_text_that_ends_early_has_its_whole_values(value: Any, data: st.DataObject) -> None:
    """A text cut anywhere has the first values, and no incomplete number."""
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text)))
    found = scan(text[:cut])
    assert isinstance(value, (int, float)) or [(one.path, one.value) for one in found] == leaves(value)[: len(found)]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", []),
        ("no", []),
        ('{"a": 1, b: 2}', ["/a"]),
        ('{"a": 12', []),
        ('{"a": 12,', ["/a"]),
        ('["x", "y', ["/0"]),
        ("[1 2]", ["/0"]),
        ("[1.]", []),
        ("[01]", []),
        ("[-]", []),
        ("[" * 100_000, []),
        ('{"a": ' * 300 + "1" + "}" * 300, []),
        ("1" * 10_000, []),
        ('"\\x"', []),
        ("[1,]", ["/0"]),
        ("[,]", []),
        ("[] []", []),
    ],
    ids=str,
)
def test_what_is_not_json_ends_the_list(text: str, paths: list[str]) -> None:
    """Values before the first mistake are found, however deep or long the text is."""
    assert [one.path for one in scan(text)] == paths
