"""Tests the comparison of two models' readings of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

import pytest

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.reading_difference import common_text, difference
from pellucid_webui.inspection.reading_figures import ReadingFigures


def reading(model: str, *tokens: tuple[str, float | None]) -> ReadingFigures:
    """Return a reading of tokens with these surprisals in bits."""
    found = [
        Token(at, text, text.encode(), at, None if bits is None else -bits * log(2), 1, 0.5)
        for at, (text, bits) in enumerate(tokens)
    ]
    return ReadingFigures(model, tuple(found))


def saved(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 6) for value in values]


def test_same_tokens() -> None:
    """With the same tokenizer the difference is in bits per token."""
    first = reading("small", ("a", None), (" b", 5.0), ("\n", 1.0), ("c", 9.0))
    found = difference(first, reading("large", ("a", None), (" b", 4.0), ("\n", 1.5), ("c", 2.0)))
    assert saved(found.tokens) == [None, 1.0, -0.5, 7.0]
    assert found.lines == pytest.approx({1: 0.5, 2: 7.0})
    assert found.summary() == (
        "Bits saved by large: +2.50 bits per token, so it finds this text less surprising than small does. "
        "The largest difference is line 2: +7.0 bits."
    )


def test_other_tokens() -> None:
    """With other tokens the pieces between common borders are compared, in bits per byte."""
    first = reading("small", ("a", None), ("bcd", 2.0), ("ef", 1.0))
    found = difference(first, reading("large", ("a", None), ("bc", 2.0), ("d", 3.0), ("ef", 1.0)))
    assert saved(found.tokens) == [None, -3.0, 0.0]
    assert found.summary() == (
        "Bits saved by large: \u22120.60 bits per byte, so it finds this text more surprising than small does. "
        "The largest difference is line 1: \u22123.0 bits."
    )


def test_equal() -> None:
    """Two equal readings are called equally surprising."""
    one = reading("a", ("x", None), ("y", 1.0))
    equal = "Bits saved by b: 0.00 bits per token, so it finds this text as surprising as a does."
    assert (
        difference(one, reading("b", ("x", None), ("y", 1.0))).summary()
        == f"{equal} The largest difference is line 1: 0.0 bits."
    )
    assert difference(reading("a", ("x", None)), reading("b", ("x", None))).summary() == equal


def test_figures_of_both() -> None:
    """Tokens have both models' bits, and a single token's rank and entropy or the text."""
    first = reading("small", ("a", None), ("bcd", 2.0), ("e", 1.0), ("fg", 4.0), ("h", 8.0))
    found = difference(first, reading("large", ("a", None), ("bc", 2.0), ("d", 3.0), ("efg", 1.5), ("h", 4.0)))
    assert found.figures(0, 9) == [
        None,
        [2.0, 5.0, 1, 2, None, None, "bcd"],
        [5.0, 1.5, 2, 1, 1, [0.5, 0.5], "efg"],
        [5.0, 1.5, 2, 1, 1, [0.5, 0.5], "efg"],
        [8.0, 4.0, 1, 1, 1, [0.5, 0.5], ""],
    ]
    assert found.figures(4, 5) == found.figures(0, 9)[4:]


def test_figures_of_a_range() -> None:
    """The second model's entropy is sent as bounds, or as null if unknown."""
    first, second = (
        reading("small", ("a", None), ("b", 2.0), ("c", 2.0)),
        reading("large", ("a", None), ("b", 2.0), ("c", 2.0)),
    )
    a, b, c = second.tokens
    second = replace(second, tokens=(a, replace(b, entropy=None, entropy_range=(0.25, 1.5)), replace(c, entropy=None)))
    shown = [one and one[5] for one in difference(first, second).figures(0, 3)]
    assert shown == [None, [0.25, 1.5], None]


def test_pieces_without_a_probability() -> None:
    """A piece with a probability in only one model has no difference, also in sums."""
    found = difference(reading("a", ("ab", None), ("c", 1.0)), reading("b", ("a", None), ("b", 3.0), ("c", 1.0)))
    assert saved(found.tokens) == [None, 0.0]
    assert found.lines == {1: 0.0}


def test_stopped_earlier() -> None:
    """After a stop of the second model, the text up to the last common border is compared."""
    first = reading("a", ("ab", 1.0), ("c", 1.0), ("de", 1.0))
    second = reading("b", ("a", 1.0), ("bc", 1.0), ("d", 1.0))
    both = common_text(first.tokens, second.tokens)
    assert [["".join(token.text for token in tokens)] for tokens in both] == [["abc"], ["abc"]]
    assert common_text(first.tokens, ()) == ([], [])
