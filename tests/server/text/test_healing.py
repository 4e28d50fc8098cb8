"""Tests of healing: the prompt loses tokens whose bytes the answer repeats first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.token_mask import ids_in
from pellucid.models.tokenizers.tokenizer import Tokenizer, Vocabulary
from pellucid.text.healing import Healer, Healing
from support.servers.scripted_engine import END, FIRST_WORD, WORDS, byte_tokenizer

TOKENIZER = byte_tokenizer()
HEALER = Healer(TOKENIZER)


def word(text: bytes) -> int:
    return FIRST_WORD + WORDS.index(text)


def typed(text: str) -> bytes:
    healing = HEALER.heal(TOKENIZER.encode(text))[1]
    return b"" if healing is None else healing.typed


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("x = ret", b" ret"),
        ("x =  retu", b" retu"),
        ("x = return", b""),
        ("if a:\n    ret", b"    ret"),
        ("if a:\n   ", b"   "),
        ("if a:\n", b""),
        ("prin", b"prin"),
        ("", b""),
        ("日", "日".encode()),
    ],
)
def test_heal_takes_back_what_may_be_the_beginning_of_a_token(text: str, taken: bytes) -> None:
    """The most tokens that together begin a longer token are dropped, within the last line."""
    assert typed(text) == taken


def test_heal_stops_at_markers_and_keeps_what_it_must() -> None:
    """A marker is never dropped, nor are the first ``keep`` tokens."""
    assert HEALER.heal([0x72, END]) == ([0x72, END], None)
    ids, healing = HEALER.heal([END, word(b"re"), 0x74])
    assert (ids, healing and healing.typed) == ([END], b"ret")
    assert HEALER.heal([word(b"re")], keep=1) == ([word(b"re")], None)


def test_only_tokens_that_repeat_what_was_typed_may_come() -> None:
    """Tokens are allowed that repeat typed bytes, then tokens for the remaining bytes, then all."""
    healing = Healing(HEALER, b"ret", 1)
    assert ids_allowed(healing) == sorted([0x72, word(b"re"), word(b"ret"), word(b"return")])
    healing.advance(word(b"re"))
    assert ids_allowed(healing) == [0x74]
    healing.advance(0x74)
    assert healing.allowed() is None


def test_a_part_that_leaves_an_impossible_rest_may_not_come() -> None:
    """The constraint never allows a token without a possible next token."""
    pieces: list[bytes | None] = [b"a", b"b", b"ab", b"abc", b"bd", b"abd"]
    healer = Healer(Tokenizer(lambda _: [], Vocabulary(lambda: list(pieces), len(pieces), {})))
    healing = Healing(healer, b"abd", 1)
    assert ids_allowed(healing) == [0, 5]  # Not "ab", as there is no "d".


def ids_allowed(healing: Healing) -> list[int]:
    allowed = healing.allowed()
    assert allowed is not None
    return ids_in(allowed)


TEXTS = st.lists(st.sampled_from([*(word.decode() for word in WORDS), "r", "e", " ", "\n", "x", "日"])).map("".join)


@given(text=TEXTS, data=st.data())
def test_a_healed_prompt_and_its_answer_begin_with_the_text(text: str, data: st.DataObject) -> None:
    """All allowed answers to a healed prompt begin with the bytes of the prompt."""
    ids, healing = HEALER.heal(TOKENIZER.encode(text))
    generated = b"".join(map(TOKENIZER.token_bytes, ids))
    while healing is not None and (allowed := healing.allowed()) is not None:
        id = data.draw(st.sampled_from(ids_in(allowed)))
        assert not TOKENIZER.is_special(id)
        healing.advance(id)
        generated += TOKENIZER.token_bytes(id)
    assert generated.startswith(text.encode())
    assert healing is not None or generated == text.encode()


def test_indentation_may_be_one_token_with_the_line_end() -> None:
    """A token of a line end and indentation is dropped, but not a line end alone."""
    tokenizer = byte_tokenizer(words=[b":\n", b"\n    ", b"\n   ", b" return", b"\n    y", b"x\n    z"])
    healer = Healer(tokenizer)
    for text, taken in (("x\n    ", b"\n    "), ("x\n    ret", b"\n    ret"), ("x:\n", b""), ("x\n", b"")):
        healing = healer.heal(tokenizer.encode(text))[1]
        assert (b"" if healing is None else healing.typed) == taken
