"""Tests the details of answers: JSON values and tool calls, computed from stored tokens."""

from __future__ import annotations

import math
import sys

import pytest
from pydantic import ValidationError

from pellucid.vocabulary.finish import Finish, FinishReason, JsonField, OtherValue, Usage
from pellucid.vocabulary.token import CallDelta, CallPart, GrammarScore, Token
from pellucid_webui.conversations.answer_details import StoredDetails, details_of
from pellucid_webui.conversations.compact_tokens import pack, unpack


def form(text: str, probability: float = 1.0, mass: float = 1.0) -> Token:
    """Return a token under a grammar; a token of probability 1 was forced."""
    score = GrammarScore(mass, 1 if probability == 1.0 else 2, math.log(probability))
    return Token(1, text, text.encode(), 0, score.logprob + math.log(mass), 1, 0.5, grammar=score)


def call(index: int, arguments: str, probability: float = 1.0, **begun: str) -> Token:
    """Return a token of a tool call, without text."""
    delta = CallDelta(index, arguments, **begun)
    return Token(1, "", arguments.encode(), 0, math.log(probability), 1, 0.5, part=CallPart(index, (delta,)))


ANSWER = [form('{"colour": "'), form("red", 0.5, 0.25), form('", "sizes": ['), form("1", 0.75), form("]}")]


def end(*fields: JsonField, loose: tuple[str, ...] = ()) -> Finish:
    return Finish(FinishReason.STOP, Usage(), fields=fields, loose_functions=loose)


def test_values_with_others() -> None:
    """Values of the Finish keep the best alternative value and the places of their tokens."""
    other = OtherValue("blue", 0.4375)
    found = details_of(
        ANSWER,
        end(JsonField("/colour", "red", 0.5, 0.25, 1, other), JsonField("/sizes/0", 1, 0.75, 1.0, 1)),
        is_json=True,
    )
    assert found is not None
    colour, size = found.fields
    assert (colour.path, colour.value, colour.probability, colour.mass, colour.decided, colour.tokens) == (
        "/colour",
        "red",
        0.5,
        0.25,
        1,
        (0, 3),
    )
    assert colour.other is not None
    assert (colour.other.value, colour.other.probability) == ("blue", 0.4375)
    assert (size.path, size.other, size.tokens) == ("/sizes/0", None, (3, 4))


@pytest.mark.parametrize("finish", [None, end()], ids=["stopped", "older server"])
def test_values_of_the_stored_tokens(finish: Finish | None) -> None:
    """Without values in a Finish, complete values are computed from the stored tokens."""
    found = details_of(unpack([pack(ANSWER[:4])]), finish, is_json=True)
    assert found is not None
    assert [(one.path, one.value, one.probability, one.mass) for one in found.fields] == [("/colour", "red", 0.5, 0.25)]


def test_calls_of_the_stored_tokens() -> None:
    """A call has arguments with probability and tokens; a call of free tokens is not enforced."""
    tokens = [
        call(0, "", id="a1", name="get"),
        call(0, '{"city": "'),
        call(0, "Rome", 0.5),
        call(0, '"}', 0.5),
        call(1, "", id="a2", name="get"),
        call(1, '{"ci'),
    ]
    found = details_of(unpack([pack(tokens)]), end(), is_json=False)
    assert found is not None
    whole, cut = found.calls
    assert (whole.id, whole.name, whole.arguments, whole.complete, whole.enforced) == (
        "a1",
        "get",
        '{"city": "Rome"}',
        True,
        False,
    )
    assert [(one.path, one.probability, one.tokens) for one in whole.fields] == [("/city", 0.25, (2, 4))]
    assert (cut.arguments, cut.complete, cut.fields) == ('{"ci', False, ())


@pytest.mark.parametrize(("loose", "enforced"), [((), True), (("get",), False)])
def test_a_held_call(loose: tuple[str, ...], enforced: bool) -> None:
    """A call under a grammar is enforced, except for a function with a loose schema."""
    part = CallPart(0, (CallDelta(0, "{}", "a1", "get"),))
    begun = Token(1, "", b"", 0, -1.0, 1, 0.5, part=part, grammar=GrammarScore(0.5, 2, -0.5))
    found = details_of([begun], end(loose=loose), is_json=False)
    assert found is not None
    assert found.calls[0].enforced is enforced


def test_half_a_pair_of_surrogates() -> None:
    """Half a surrogate pair in a value or key is replaced, because no file can hold it."""
    tokens = [form('{"\\ud83d": "\\ud83d", "b": "'), form("x", 0.5), form('"}')]
    found = details_of(tokens, None, is_json=True)
    assert found is not None
    assert [(one.path, one.value) for one in found.fields] == [("/\ufffd", "\ufffd"), ("/b", "x")]
    assert StoredDetails.model_validate_json(found.model_dump_json()) == found


def test_numbers_beyond_all_floats() -> None:
    """An infinite number is stored as the largest float, so the answer can be saved."""
    found = details_of([form('{"a": -'), form("1e999", 0.5), form(', "b": 1e999}')], None, is_json=True)
    assert found is not None
    assert [one.value for one in found.fields] == [-sys.float_info.max, sys.float_info.max]
    assert StoredDetails.model_validate_json(found.model_dump_json()) == found


def test_an_answer_without_either() -> None:
    """A text without values or calls has no details."""
    assert details_of([form("text")], end(), is_json=False) is None
    assert details_of([], None, is_json=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"fields": [{"path": "/a"}]}',
        '{"calls": [{"id": 5}]}',
        '{"other": 1}',
        '{"fields": [{"path": "", "value": 1, "probability": 2, "mass": 1, "decided": 1}]}',
    ],
)
def test_what_is_no_record(text: str) -> None:
    """A record with missing, unknown or impossible parts is refused."""
    with pytest.raises(ValidationError):
        StoredDetails.model_validate_json(text)
