"""Tests the rows of the trees of JSON values and tool calls."""

from __future__ import annotations

import json

import pytest

from pellucid_webui.conversations.answer_details import (
    StoredArgument,
    StoredCall,
    StoredDetails,
    StoredField,
    StoredOther,
)
from pellucid_webui.routes.json_value_tree import MAX_ROWS, trees


def value(path: str, value: str | float | bool | None = 1, probability: float = 0.5, **more: object) -> StoredField:
    return StoredField.model_validate(
        {"path": path, "value": value, "probability": probability, "mass": 1.0, "decided": 1, **more}
    )


def answer(text: str, *fields: StoredField) -> list[dict[str, object]]:
    (tree,) = trees(text, StoredDetails(fields=fields))
    return list(tree["rows"])


def lines(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["level"], row["key"], row["value"], row.get("probability")) for row in rows]


def test_a_whole_answer() -> None:
    """Each key, item and value has a row in the order of the text, values with probability."""
    text = '{"b": "\\u00e9", "1": [true, {}, []], "a~/b": {"c": null}}'
    rows = answer(text, value("/b", "\u00e9", 0.25), value("/1/0", True, 0.75), value("/a~0~1b/c", None, 1.0))
    assert lines(rows) == [
        (1, "b", '"\u00e9"', 0.25),
        (1, "1", "3 items", None),
        (2, "[0]", "true", 0.75),
        (2, "[1]", "{}", None),
        (2, "[2]", "[]", None),
        (1, "a~/b", "1 key", None),
        (2, "c", "null", 1.0),
    ]
    assert [row["isOpen"] for row in rows] == [False, True, False, False, False, True, False]


def test_a_value_on_its_own() -> None:
    """An answer of a single value has a single row without a key."""
    assert lines(answer("true", value("", True))) == [(1, "", "true", 0.5)]


def test_what_a_value_shows() -> None:
    """A value has the best alternative, the mass and the places of the tokens."""
    other = StoredOther(value="blue", probability=0.31)
    (row,) = answer('{"a": "red"}', value("/a", "red", 0.62, mass=0.4, other=other, tokens=(3, 5)))
    assert (row["other"], row["mass"], row["tokens"]) == ({"value": '"blue"', "probability": 0.31}, 0.4, (3, 5))


def test_an_incomplete_answer() -> None:
    """An incomplete answer shows the complete values under their keys."""
    rows = answer('{"a": {"b": [1, "x"], "c": 2, "d": "unf', value("/a/b/0"), value("/a/b/1", "x"), value("/a/c", 2))
    assert lines(rows) == [
        (1, "a", "", None),
        (2, "b", "", None),
        (3, "0", "1", 0.5),
        (3, "1", '"x"', 0.5),
        (2, "c", "2", 0.5),
    ]


def test_long_answers_are_cut() -> None:
    """A tree has at most MAX_ROWS rows, and only a longer tree is marked as cut."""
    for count in (MAX_ROWS, MAX_ROWS + 1):
        (tree,) = trees(json.dumps([1] * count), StoredDetails(fields=(value("/0"),)))
        assert (len(tree["rows"]), tree["isCut"]) == (MAX_ROWS, count > MAX_ROWS)


def test_thousands_of_brackets() -> None:
    """A text nested too deeply for a parser shows the known values."""
    assert lines(answer("[" * 100_000, value("/0", 1))) == [(1, "0", "1", 0.5)]


@pytest.mark.parametrize(
    ("complete", "enforced", "remarks"),
    [
        (True, True, ["complete", "arguments held to the schema"]),
        (False, False, ["incomplete: its arguments are not a JSON object", "arguments not held to the schema"]),
    ],
)
def test_calls(complete: bool, enforced: bool, remarks: list[str]) -> None:
    """A call is a tree with the function's name and remarks; unfinished arguments stay text."""
    arguments = '{"city": "Rome"}' if complete else '{"city": "Ro'
    fields = (StoredArgument(path="/city", probability=0.9, tokens=(2, 4)),) if complete else ()
    call = StoredCall(
        id="c", name="get_weather", arguments=arguments, complete=complete, enforced=enforced, fields=fields
    )
    (tree,) = trees("", StoredDetails(calls=(call,)))
    assert (tree["title"], tree["isCall"], tree["remarks"]) == ("get_weather", True, remarks)
    assert lines(tree["rows"]) == ([(1, "city", '"Rome"', 0.9)] if complete else [(1, "", arguments, None)])
