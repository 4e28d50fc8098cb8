"""Tests of values between two processes: unchanged, or refused."""

from __future__ import annotations

import math
import os
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.learn.evaluate.sandbox.typed_json_pipe import (
    HEADER,
    LARGEST_MESSAGE,
    MessageError,
    decode,
    encode,
    receive,
    send,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.binary()
    | st.fractions()
    | st.decimals(allow_nan=False)  # A signalling NaN cannot be hashed.
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(hashable, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
    ),
    max_leaves=10,
)


def sent(message: dict[str, object]) -> dict[str, object] | None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0):
        send(writing, message)
        return receive(reading)


@given(values)
def test_round_trip(value: object) -> None:
    """Every value of a supported type arrives with the same types and parts."""
    message = sent({"value": encode(value)})
    assert message is not None
    # The function repr distinguishes types and signs and treats NaN as equal; sets have the same
    # order only within the same object.
    found = decode(message["value"])
    assert type(found) is type(value)
    assert found == value or repr(found) == repr(value) or "nan" in repr(value).lower()


def test_edges() -> None:
    """Values at the edges of JSON and text arrive unchanged."""
    for value in (math.inf, -math.inf, -0.0, 10**5000, -(2**62), 2**63, "\ud800", range(9, 1, -2), bytearray(b"a")):
        found = decode(encode(value))
        assert type(found) is type(value)
        assert found == value
    assert math.copysign(1, decode(encode(-0.0))) == -1


def test_likes() -> None:
    """A subclass arrives as the base type, and an unknown iterable as an iterator."""
    Point = namedtuple("Point", "x y")
    for value, plain in (
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Point(1, 2), (1, 2)),
    ):
        found = decode(encode(value))
        assert (type(found), found) == (type(plain), plain)
    for likewise in (deque([1, 2]), (number for number in (1, 2)), {1: 0, 2: 0}.keys(), map(int, "12")):
        found = decode(encode(likewise))
        assert found != [1, 2]
        assert list(found) == [1, 2]


def test_strangers() -> None:
    """Values of unknown types are refused."""
    for value in (
        object(),
        len,
        print,
        type("Equal", (), {"__eq__": lambda self, other: True, "__hash__": None})(),
        [object()],
    ):
        with pytest.raises(TypeError, match="cannot be passed to the test"):
            encode(value)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        [],
        {},
        {"list": 1},
        {"list": [], "tuple": []},
        {"float": "x"},
        {"int": 3},
        {"object": []},
        {"dict": [[1]]},
        {"dict": [[{"list": []}, 1]]},
        {"decimal": "x"},
        {"fraction": [1, 0]},
        {"set": [{"list": []}]},
        {"bytes": "zz"},
        {"range": [0, 1, 0]},
        {"list": [{"float": None}]},
    ],
)
def test_damaged_values(value: object) -> None:
    """Values that ``encode`` does not write are rejected."""
    with pytest.raises(MessageError):
        decode(value)


@pytest.mark.parametrize(
    "data",
    [HEADER.pack(LARGEST_MESSAGE + 1), HEADER.pack(2) + b"[]", HEADER.pack(1) + b"{", HEADER.pack(9000) + b"[" * 9000],
)
def test_damaged_messages(data: bytes) -> None:
    """Data that is not a message is rejected before memory is allocated."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0):
        os.write(writing, data)
        with pytest.raises(MessageError):
            receive(reading)


def test_numbers() -> None:
    """Numbers stay exact."""
    assert decode(encode([Fraction(1, 3), Decimal("0.10")])) == [Fraction(1, 3), Decimal("0.10")]
    assert str(decode(encode(Decimal("0.10")))) == "0.10"
