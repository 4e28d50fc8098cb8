"""Tests the alignment of two models' tokens by characters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.alignment import Segment, align, first_difference, last_occurrence, message_tokens


def cut(text: str, ends: Sequence[int]) -> list[Token]:
    """Split a text into tokens at these bytes; a token has the text it completes, and a logprob."""
    data = text.encode()
    tokens: list[Token] = []
    start = completed = 0
    for number, end in enumerate([*ends, len(data)], 1):
        whole = len(data[:end].decode(errors="ignore"))
        tokens.append(Token(number, text[completed:whole], data[start:end], number, -float(number), 1, 0.5))
        start, completed = end, whole
    return tokens


def words(*texts: str) -> list[Token]:
    """Return tokens with these texts."""
    return [Token(n, text, text.encode(), n, -float(n), 1, 0.5) for n, text in enumerate(texts, 1)]


def pieces(a: list[Token], b: list[Token]) -> list[tuple[str, int, int]]:
    return [(segment.text, len(segment.a), len(segment.b)) for segment in align(a, b)]


@st.composite
def two_cuts(draw: st.DrawFn) -> tuple[str, list[Token], list[Token]]:
    text = draw(st.text(st.sampled_from("ab \n你😀é"), max_size=10))
    ends = st.lists(st.integers(0, len(text.encode())), max_size=8).map(sorted)
    return text, cut(text, draw(ends)), cut(text, draw(ends))


def ends_whole(tokens: Sequence[Token], text: str) -> set[int]:
    """Return the ends of tokens that end with a whole character, computed from bytes."""
    at, found = 0, set()
    for token in tokens:
        at += len(token.bytes)
        head = text.encode()[:at].decode(errors="ignore")
        if len(head.encode()) == at:
            found.add(len(head))
    return found


@given(two_cuts())
def test_any_two_cuts(drawn: tuple[str, list[Token], list[Token]]) -> None:
    """Segments have all text and tokens in order, and end at each shared border."""
    text, a, b = drawn
    segments = align(a, b)
    assert "".join(segment.text for segment in segments) == text
    assert [segment.start for segment in segments] == [
        len("".join(one.text for one in segments[:n])) for n in range(len(segments))
    ]
    if text:
        assert [token for segment in segments for token in segment.a] == a
        assert [token for segment in segments for token in segment.b] == b
    assert {segment.start + len(segment.text) for segment in segments} == (
        ends_whole(a, text) & ends_whole(b, text)
    ) - {0}
    assert align(b, a) == [Segment(one.start, one.text, one.b, one.a) for one in segments]


@given(two_cuts())
def test_a_text_within_others(drawn: tuple[str, list[Token], list[Token]]) -> None:
    """A text is found between other texts, without the tokens around it."""
    text, inner, _ = drawn
    row = [*words("<user>", "hi", text, "<assistant>"), *inner, *words("<end>")]
    found = last_occurrence(row, text)
    assert found is not None
    assert "".join(token.text for token in found) == text
    if text:
        assert [token for token in found if token.text or token.bytes not in (b"",)] == [
            token for token in inner if token.bytes
        ]


def test_same_cut() -> None:
    """Two equal tokenizations have a segment for each token."""
    assert pieces(words("a", " b", "c"), words("a", " b", "c")) == [("a", 1, 1), (" b", 1, 1), ("c", 1, 1)]


def test_different_cuts() -> None:
    """A segment ends where both models have a border."""
    assert pieces(words("he", "llo", " wor", "ld"), words("hello", " w", "or", "ld")) == [
        ("hello", 2, 1),
        (" wor", 1, 2),
        ("ld", 1, 1),
    ]


def test_a_character_in_pieces() -> None:
    """Tokens of parts of a character belong to the segment of this character."""
    assert pieces(cut("a😀b", [1, 2, 3, 5]), cut("a😀b", [1, 5])) == [("a", 1, 1), ("😀", 3, 1), ("b", 1, 1)]


def test_a_token_that_begins_the_next_character() -> None:
    """A token that ends inside a character has no border at the end."""
    assert pieces(cut(" 😀", [3]), cut(" 😀", [1])) == [(" 😀", 2, 2)]


def test_tokens_without_text() -> None:
    """A marker without text is in the previous segment, or in the first."""
    bos = Token(0, "", b"<s>", 0, None, None, None)
    assert pieces([bos, *words("a", "b")], words("a", "b")) == [("a", 2, 1), ("b", 1, 1)]
    assert pieces([*words("a", "b"), bos], words("a", "b")) == [("a", 1, 1), ("b", 2, 1)]
    assert pieces([bos], []) == []


def test_a_text_that_ends_inside_a_character() -> None:
    """An incomplete character at the end is in the last segment."""
    half = Token(9, "\ufffd", b"\xf0\x9f", 1, -1.0, 1, 0.5)
    assert pieces([*words("a"), half], words("a", "\ufffd")) == [("a", 1, 1), ("\ufffd", 1, 1)]


def test_two_texts() -> None:
    """Tokens of different texts cannot be aligned."""
    with pytest.raises(ValueError, match="two different texts"):
        align(words("a"), words("b"))


def test_logprobs() -> None:
    """A segment has summed logprobs and a log ratio, or None if a token has no logprob."""
    (segment,) = align(words("a", "b"), words("ab"))
    assert segment.logprobs == (-3.0, -1.0)
    assert segment.log_ratio == -2.0
    first = Token(1, "ab", b"ab", 0, None, None, None)
    (segment,) = align(words("a", "b"), [first])
    assert (segment.logprobs, segment.log_ratio) == (None, None)


def test_within() -> None:
    """The last occurrence on token borders is found, or None."""
    row = words("ab", "c", "ab", "c", "abd")
    assert last_occurrence(row, "abc") == row[2:4]
    assert last_occurrence(row, "bc") is None
    assert last_occurrence(row, "x") is None
    assert last_occurrence(row, "") == []
    assert last_occurrence([], "a") is None
    marker = Token(0, "", b"<end>", 0, -1.0, 1, 0.5)
    assert last_occurrence([marker, *words("a"), marker], "a") == words("a")


def test_within_keeps_the_pieces_of_a_first_character() -> None:
    """Tokens that begin the first character are included, even without text."""
    inner = cut("😀b", [1, 2, 4])
    assert last_occurrence([*words("x"), *inner], "😀b") == inner


def test_divergence() -> None:
    """Two texts first differ at a character, or at the end of the shorter text."""
    assert [first_difference(*pair) for pair in (("ab", "ac"), ("ab", "abc"), ("", "a"), ("a", "a"), ("", ""))] == [
        1,
        2,
        0,
        None,
        None,
    ]


def test_tokens_of_a_message() -> None:
    """A message is found with spaces, without stripped spaces, and in tokens with more spaces."""
    row = words("<user>", "  ", " hi", ".\n", "<end>")
    assert message_tokens(row, "   hi.\n") == row[1:4]
    assert message_tokens(words("<user>", "hi", "<end>"), "  hi\n") == words("<user>", "hi", "<end>")[1:2]
    assert message_tokens(row, "hi.") == row[2:4]
    assert message_tokens(row, "ho") is None
    assert message_tokens(words("<user>hi", "<end>"), "hi") is None
