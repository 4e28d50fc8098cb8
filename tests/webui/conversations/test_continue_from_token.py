"""Tests the cuts in an answer, and the replacement of a token by an alternative."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.continue_from_token import open_bytes, whole_characters, with_alternative
from support.page.scripted_assistant import token, tokens


def choice(text: str, data: bytes, *others: bytes) -> Token:
    """Return a token with alternatives of these bytes."""
    top = tuple(Alternative(n, other.decode(errors="replace"), other, -float(n)) for n, other in enumerate(others))
    return Token(1, text, data, 0, -0.5, 1, 0.5, top, 0.1, 0.9)


def text_of(found: list[Token]) -> str:
    return "".join(token.text for token in found)


@given(st.text(max_size=8), st.data())
def test_open_bytes(text: str, data: st.DataObject) -> None:
    """After each token of any tokenization, the incomplete bytes are reported."""
    encoded = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=5)))
    pieces = [encoded[start:end] for start, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    found = [Token(0, "", piece, 0, None, None, None) for piece in pieces]
    for index, rest in enumerate(open_bytes(found)):
        data_so_far = b"".join(pieces[: index + 1])
        assert (
            data_so_far[: len(data_so_far) - len(rest)].decode()
            == text[: len(data_so_far[: len(data_so_far) - len(rest)].decode())]
        )
    assert whole_characters(found) == found
    end = data.draw(st.integers(0, len(found)))
    kept = whole_characters(found[:end])
    b"".join(token.bytes for token in kept).decode()
    assert kept == found[: len(kept)]


def test_another_alternative() -> None:
    """Earlier tokens stay, and the alternative has a logprob and no sampled probability."""
    row = [token("a"), token("b", 2, " x", " y"), token("c")]
    found = with_alternative(row, 1, 2)
    assert text_of(found) == "a y"
    assert found[0] == row[0]
    assert (found[1].id, found[1].bytes, found[1].logprob, found[1].rank, found[1].sampled) == (
        202,
        b" y",
        -3.5,
        3,
        None,
    )
    assert with_alternative(row, 1, -1) == row[:2]
    assert (found[1].entropy, found[1].top, found[1].rest) == (row[1].entropy, row[1].top, row[1].rest)


@pytest.mark.parametrize(("index", "alternative"), [(-1, 0), (2, 0), (0, 2), (0, -2)])
def test_no_such_alternative(index: int, alternative: int) -> None:
    """A token or alternative that does not exist is refused."""
    with pytest.raises(InvalidRequestError, match="no such alternative"):
        with_alternative(tokens("a", "b"), index, alternative)


def test_half_a_character() -> None:
    """An alternative may complete a character, but not leave a character incomplete."""
    row = [choice("", b"\xf0\x9f"), choice("😀", b"\x98\x80", b"\x98\x80", b"\x98\x81", b"\x98", b"x")]
    assert text_of(with_alternative(row, 1, 1)) == "😁"
    with pytest.raises(InvalidRequestError, match="leave a character incomplete"):
        with_alternative(row, 0, -1)
    for alternative in (2, 3):
        with pytest.raises(InvalidRequestError, match="leave a character incomplete"):
            with_alternative(row, 1, alternative)
    with pytest.raises(InvalidRequestError, match="leave a character incomplete"):
        with_alternative([choice("a", b"a", b"\xf0\x9f")], 0, 0)


def test_markers_and_broken_bytes_before_it() -> None:
    """Earlier tokens may have text that differs from the bytes."""
    row = [choice("", b"<|mark|>"), choice("\ufffd", b"\xff"), token("a", 1, "b")]
    assert text_of(with_alternative(row, 2, 1)) == "\ufffdb"


def test_the_tokenizers_space() -> None:
    """Without the tokenizer's leading space in a text, an alternative omits the space, too."""
    assert text_of(with_alternative([choice("Hi", b" Hi", b" Hi", b" Yo", b"x")], 0, 1)) == "Yo"
    assert text_of(with_alternative([choice("Hi", b" Hi", b" Hi", b" Yo", b"x")], 0, 2)) == "x"
    assert text_of(with_alternative([choice(" Hi", b" Hi", b" Hi", b" Yo")], 0, 1)) == " Yo"
