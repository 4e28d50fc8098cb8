"""Tests tokens as compact JSON, and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.token import Alternative, CallDelta, CallPart, GrammarScore, Token
from pellucid_webui.conversations.compact_tokens import DIGITS, pack, record, token_of, unpack
from support.trial_counts import trial_count

numbers = st.floats(-200, 0).map(lambda number: float(f"{number:.{DIGITS}g}"))
shares = st.floats(0, 1).map(lambda number: float(f"{number:.{DIGITS}g}"))
ids = st.integers(0, 2**31)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a text and its bytes, which differ for an incomplete character."""
    text = draw(st.text(max_size=4))
    return text, draw(st.just(text.encode()) | st.binary(max_size=4))


@st.composite
def alternatives(draw: st.DrawFn) -> Alternative:
    return Alternative(draw(ids), *draw(spelled()), draw(numbers))


@st.composite
def deltas(draw: st.DrawFn) -> CallDelta:
    begun = {"id": draw(st.text()), "name": draw(st.text())} if draw(st.booleans()) else {}
    return CallDelta(draw(st.integers(0, 9)), draw(st.text(max_size=4)), **begun)


parts = st.builds(CallPart, st.integers(0, 9), st.lists(deltas(), max_size=2).map(tuple))
grammars = st.builds(GrammarScore, shares, ids, numbers)


@st.composite
def drawn_tokens(draw: st.DrawFn) -> Token:
    read = draw(st.booleans())
    return Token(
        draw(ids),
        *draw(spelled()),
        position=0,
        logprob=None if read else draw(numbers),
        rank=None if read else draw(st.integers(1, 200_000)),
        entropy=None if read else draw(shares),
        top=tuple(draw(st.lists(alternatives(), max_size=3))),
        rest=draw(shares),
        sampled=draw(st.none() | shares),
        part=draw(st.none() | parts),
        grammar=draw(st.none() | grammars),
        entropy_range=draw(st.none() | st.tuples(shares, shares).map(lambda pair: (min(pair), max(pair)))),
    )


PLAIN = Token(
    7,
    "a",
    b"a",
    0,
    -0.25,
    1,
    0.5,
    (Alternative(7, "a", b"a", -0.25), Alternative(8, "\ufffd", b"\xf0", -2.0)),
    0.125,
    1.0,
)


@settings(max_examples=trial_count(500))
@given(st.lists(st.lists(drawn_tokens(), max_size=3), max_size=3), st.integers(0, 1000))
def test_round_trip(batches: list[list[Token]], first: int) -> None:
    """Tokens are read back unchanged, with positions in the sequence.

    A batch is a line of strict JSON.
    """
    packed = [pack(batch) for batch in batches]
    tokens = [token for batch in batches for token in batch]
    assert unpack(packed, first) == [replace(token, position=first + index) for index, token in enumerate(tokens)]
    for batch in packed:
        assert "\n" not in batch
        json.loads(batch, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_shape() -> None:
    """A record has the documented short keys, and bytes only if different from the text's bytes."""
    assert record(PLAIN) == {
        "i": 7,
        "t": "a",
        "l": -0.25,
        "r": 1,
        "e": 0.5,
        "s": 1.0,
        "o": 0.125,
        "a": [[7, "a", -0.25], [8, "\ufffd", -2.0, "8A=="]],
    }
    assert record(replace(PLAIN, text="", bytes=b"\xf0\x9f", top=()))["b"] == "8J8="


def test_shape_in_a_call_and_under_a_grammar() -> None:
    """Only tokens under a grammar or in a call have the keys for grammars and calls."""
    score, begun = GrammarScore(1 / 3, 2, -0.5), CallPart(1, (CallDelta(1, "", "c1", "f"), CallDelta(1, "{")))
    found = record(replace(PLAIN, grammar=score, part=begun))
    assert (found["g"], found["p"]) == ([0.333333, 2, -0.5], [1, [1, "", "c1", "f"], [1, "{"]])
    assert record(PLAIN).keys().isdisjoint("gp")


def test_shape_of_a_range_of_entropies() -> None:
    """Only a token with a range of entropies has the key for the bounds."""
    assert record(replace(PLAIN, entropy=None, entropy_range=(1 / 3, 2.0)))["h"] == [0.333333, 2.0]
    assert "h" not in record(PLAIN)


def test_numbers_are_short() -> None:
    """Numbers have six significant digits, and minus infinity becomes a finite number."""
    long = replace(
        PLAIN,
        logprob=-1.23456789,
        entropy=0.000123456789,
        rest=1 / 3,
        sampled=2 / 3,
        top=(Alternative(1, "x", b"x", -math.inf),),
    )
    found = record(long)
    assert (found["l"], found["e"], found["o"], found["s"]) == (-1.23457, 0.000123457, 0.333333, 0.666667)
    assert record(replace(long, logprob=-math.inf))["l"] == found["a"][0][2] == -9999.0


@pytest.mark.parametrize(
    "change",
    [
        {"i": "7"},
        {"i": 7.5},
        {"i": True},
        {"i": -1},
        {"t": None},
        {"t": "\ud83d"},
        {"t": "\ud83d", "b": "8A=="},
        {"b": "not base64"},
        {"b": 5},
        {"l": "low"},
        {"l": math.nan},
        {"l": -math.inf},
        {"l": 10**400},
        {"r": "1"},
        {"r": 1.5},
        {"o": None},
        {"o": True},
        {"a": None},
        {"a": [[1]]},
        {"a": [1]},
        {"a": [[1, "x", -1.0, "8A==", "more"]]},
        {"a": [[1, "x", None]]},
        {"a": [[1, 2, -1.0]]},
        {"a": {"x": 1}},
        {"g": None},
        {"g": [0.5, 2]},
        {"g": [1.5, 2, -1.0]},
        {"g": [0.5, 2.5, -1.0]},
        {"g": [0.5, 2, 1.0]},
        {"h": None},
        {"h": 1.5},
        {"h": [1.5]},
        {"h": [2.0, 1.5]},
        {"h": [-1.0, 1.5]},
        {"h": [1.5, "2"]},
        {"p": []},
        {"p": [-1]},
        {"p": ["0"]},
        {"p": [0, [0]]},
        {"p": [0, [0, 5]]},
        {"p": [0, [0, "", "id"]]},
        {"p": [0, [0, "", "id", "\ud83d"]]},
        {"p": 5},
    ],
)
def test_what_is_no_record(change: dict[str, object]) -> None:
    """A record with a wrong value is refused with a sentence."""
    with pytest.raises(InvalidRequestError, match="This is not a token record"):
        token_of(record(PLAIN) | change, 0)


@pytest.mark.parametrize("found", [{}, [], "text", 5, None, {"i": 1}])
def test_what_is_nothing_like_a_record(found: Any) -> None:
    """A record that is not an object, or lacks a key, is refused."""
    with pytest.raises(InvalidRequestError, match="This is not a token record"):
        token_of(found, 0)


@pytest.mark.parametrize("batch", ["", "{", "null", "5", '{"i": 1}', '"text"', "[" * 100_000])
def test_what_is_no_batch(batch: str) -> None:
    """A batch that is not a list is refused in a short sentence."""
    with pytest.raises(InvalidRequestError, match="batch of tokens") as caught:
        unpack([batch])
    assert len(str(caught.value)) < 400
