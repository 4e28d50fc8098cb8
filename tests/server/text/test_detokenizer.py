"""Tests of the detokenizer: whole text, however the tokens split characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.token_scores import TokenScore
from pellucid.models.tokenizers.tokenizer import PrefixSpace
from pellucid.text.detokenizer import Detokenizer, decode
from pellucid.vocabulary.token import Token
from support.servers.scripted_engine import END, FIRST_WORD, WORDS, byte_tokenizer

TOKENIZER = byte_tokenizer()


def score(id: int) -> TokenScore:
    return TokenScore(id, 7, -1.5, 2, 0.75, ((id, -0.5), (0xE4, -1.5)), 0.25, 0.5)


def read(detokenizer: Detokenizer, ids: list[int]) -> list[Token]:
    return [token for id in ids for token in detokenizer.feed(score(id))] + detokenizer.flush()


@given(st.text())
def test_texts_of_bytes_join_to_the_text(text: str) -> None:
    """A text of byte tokens is restored, with one token for each byte."""
    tokens = read(Detokenizer(TOKENIZER), list(text.encode()))
    assert [token.bytes for token in tokens] == [bytes([byte]) for byte in text.encode()]
    assert "".join(token.text for token in tokens) == text


@given(st.binary())
def test_bytes_that_are_no_text_become_replacement_characters(data: bytes) -> None:
    """Bytes that are not UTF-8 are decoded like the whole text, and no token is lost."""
    tokens = read(Detokenizer(TOKENIZER), list(data))
    assert len(tokens) == len(data)
    assert "".join(token.text for token in tokens) == data.decode(errors="replace")


def test_a_character_belongs_to_the_token_that_completes_it() -> None:
    """A token that ends inside a character waits for the next token, which has the text."""
    detokenizer = Detokenizer(TOKENIZER)
    assert detokenizer.feed(score(0xE4)) == []
    assert [token.text for token in detokenizer.feed(score(0xBD))] == [""]
    assert [token.text for token in detokenizer.feed(score(0xA0))] == ["", "你"]


def test_invalid_bytes_do_not_wait() -> None:
    """A byte that can never become a character is U+FFFD at once."""
    assert [token.text for token in Detokenizer(TOKENIZER).feed(score(0xFF))] == ["\ufffd"]


def test_half_a_character_at_the_end_is_not_lost() -> None:
    """The last token has U+FFFD for bytes of an incomplete character."""
    assert [token.text for token in read(Detokenizer(TOKENIZER), [0x61, 0xE4, 0xBD])] == ["a", "", "\ufffd"]


def test_a_marker_ends_a_character_and_has_no_text() -> None:
    """A marker has no text unless markers are shown, and ends an incomplete character."""
    assert [token.text for token in read(Detokenizer(TOKENIZER), [0xE4, END, 0x61])] == ["\ufffd", "", "a"]
    assert [token.text for token in read(Detokenizer(TOKENIZER, show_markers=True), [END])] == ["<|end|>"]


def test_the_tokenizers_space_is_not_text() -> None:
    """Only the first space of a text is stripped, and the token's bytes keep the space."""
    tokens = read(Detokenizer(TOKENIZER, strip_space=True), [0x20, 0x61, 0x20])
    assert [(token.bytes, token.text) for token in tokens] == [(b" ", ""), (b"a", "a"), (b" ", " ")]


def test_what_was_typed_is_cut() -> None:
    """Typed bytes are cut from tokens and alternatives, and tokens without new bytes are dropped.

    An alternative that repeats only a part of the typed bytes is dropped.
    """
    word = FIRST_WORD + WORDS.index(b"return")
    tokens = read(Detokenizer(TOKENIZER, typed=b" ret"), [0x20, word, 0x78])
    assert [(token.bytes, token.text) for token in tokens] == [(b"urn", "urn"), (b"x", "x")]
    assert [alternative.bytes for alternative in tokens[0].top] == [b"urn", b"\xe4"]
    assert [token.text for token in read(Detokenizer(TOKENIZER, typed=b"re"), [0x72, 0x65, 0x74])] == ["t"]


def test_a_token_carries_everything_that_the_engine_says() -> None:
    """Probabilities pass through unchanged; each alternative has its own text."""
    (token,) = Detokenizer(TOKENIZER).feed(score(0x61))
    assert (token.id, token.position, token.logprob, token.rank, token.entropy, token.rest, token.sampled) == (
        0x61,
        7,
        -1.5,
        2,
        0.75,
        0.25,
        0.5,
    )
    assert [(entry.id, entry.text, entry.bytes, entry.logprob) for entry in token.top] == [
        (0x61, "a", b"a", -0.5),
        (0xE4, "\ufffd", b"\xe4", -1.5),
    ]


def test_a_token_carries_what_is_known_of_its_entropy() -> None:
    """A token has the reported range of entropy, and unreported values stay unknown."""
    bounded = TokenScore(0x61, 7, -1.5, 2, None, entropy_range=(0.5, 1.25))
    (token,) = Detokenizer(TOKENIZER).feed(bounded)
    assert (token.entropy, token.entropy_range, token.sampled) == (None, (0.5, 1.25), None)


@given(st.text())
def test_decode_undoes_encode(text: str) -> None:
    """The ids of a text decode to the text, with and without the tokenizer's first space."""
    spaced = byte_tokenizer(prefix=PrefixSpace.ALWAYS)
    assert decode(TOKENIZER, TOKENIZER.encode(text)) == text
    assert decode(spaced, spaced.encode(text)) == text
