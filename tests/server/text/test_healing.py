"""Tests of healing: the prompt loses tokens whose bytes the answer repeats first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.token_mask import ids_in
from pellucid.engine.token_scores import TokenScore
from pellucid.models.catalog import InfillFormat
from pellucid.models.tokenizers.tokenizer import PrefixSpace, Tokenizer, Vocabulary
from pellucid.text.detokenizer import Detokenizer, decode
from pellucid.text.healing import Healer, Healing
from pellucid.text.spelled_infill import SpelledInfill, read_spelled_infill
from pellucid.vocabulary.query import Extra
from pellucid.vocabulary.token import Token
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


PIECES = st.lists(st.sampled_from([b"\0", b"a", b"eight by"]), max_size=4).map(b"".join)


@given(words=st.lists(PIECES, max_size=40), typed=PIECES.filter(len))
def test_tokens_that_extend_are_found(words: list[bytes], typed: bytes) -> None:
    """A longer token is found among tokens with equal first eight bytes, and with NUL bytes."""
    healer = Healer(Tokenizer(lambda _: [], Vocabulary(lambda: list(words), len(words), {})))

    assert healer.extends(typed) == any(word.startswith(typed) and word != typed for word in words)


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


P, S, M, F, R = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"
QWEN = InfillFormat(order="spm2", prefix=P, suffix=S, middle=M, file=F, repo=R)
NO_FILES = InfillFormat(order="psm", prefix=P, suffix=S, middle=M)


@pytest.mark.parametrize(
    "prompt",
    [
        f"{P}def f(a, b):\n    return {S}\n{M}",
        f"{S}\n{P}def f(a, b):\n    return {M}",
        f"{P}{S}\n{M}def f(a, b):\n    return ",
    ],
    ids=["psm", "spm", "spm2"],
)
def test_orders(prompt: str) -> None:
    """The texts are the same in every order of the markers."""
    assert read_spelled_infill(prompt, QWEN) == SpelledInfill("def f(a, b):\n    return ", "\n")


def test_the_beginning_of_an_answer_belongs_to_the_prefix() -> None:
    """Text after the last marker continues the prefix."""
    assert read_spelled_infill(f"{P}a = {S}\n{M}b +", QWEN) == SpelledInfill("a = b +", "\n")


@pytest.mark.parametrize(
    ("head", "extra"),
    [
        ("", ()),
        (f"{R}project\n{F}a.py\nx = 1\n", (Extra("a.py", "x = 1\n"),)),
        (
            f"{F}a.py\nx = 1\n{F}b.py\ny\n{F}here.py\n",
            (Extra("a.py", "x = 1\n"), Extra("b.py", "y\n"), Extra("here.py", "")),
        ),
    ],
)
def test_files(head: str, extra: tuple[Extra, ...]) -> None:
    """Files before the gap are extra texts, including the name of the file with the gap."""
    assert read_spelled_infill(f"{head}{P}a{S}b{M}", QWEN) == SpelledInfill("a", "b", extra)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def f():",
        P,
        f"{P}a{S}b",
        f"{P}a{M}",
        f"{M}{P}a{S}b",
        f"{P}a{M}b{S}",
        f"prompt = '{P}' + before + '{S}' + after + '{M}'",
        f"Explain this prompt:\n{P}a{S}b{M}",
        f"{P}a{S}b{M}c{P}d{S}e{M}",
        f"{P}a{P}b{S}c{M}",
    ],
)
def test_a_text_that_mentions_markers_stays_a_text(text: str) -> None:
    """Only a prompt that is exactly one whole infill is read as an infill."""
    assert read_spelled_infill(text, QWEN) is None


def test_files_need_a_marker_for_files() -> None:
    """The infill of a model without a marker for files begins with the gap."""
    assert read_spelled_infill(f"{F}a.py\nx\n{P}a{S}b{M}", NO_FILES) is None
    assert read_spelled_infill(f"{P}a{S}b{M}", NO_FILES) == SpelledInfill("a", "b")


def test_source_code_that_holds_markers() -> None:
    """The source of this file is text."""
    assert read_spelled_infill(Path(__file__).read_text(), QWEN) is None
