"""Tests of trained tokenizers: any text, a marker at the beginning, and reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.learn.train import tokenizers
from pellucid.learn.train.tokenizers import BEGINNING, Kind
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.models.tokenizers.tokenizer import Tokenizer
from support.learn.training_texts import text_of
from support.trial_counts import trial_count

KINDS = get_args(Kind)


SIZES: dict[Kind, int] = {"bytes": 257, "bpe": 320, "unigram": 270}
"""Sizes of vocabularies; a unigram model of so few words has no more pieces."""


def trained(folder: Path, kind: Kind) -> Tokenizer:
    folder.mkdir(parents=True)
    assert tokenizers.write(folder, kind, SIZES[kind], [text_of(20_000), text_of(3000, seed=1)]) == SIZES[kind]
    return read_tokenizer(folder)


@pytest.fixture(scope="module")
def by_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Tokenizer]:
    return {kind: trained(tmp_path_factory.mktemp("tokenizers") / kind, kind) for kind in KINDS}


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=trial_count(300), deadline=None)
@given(text=st.text())
def test_any_text_comes_back(by_kind: dict[Kind, Tokenizer], kind: Kind, text: str) -> None:
    """The bytes of a text's tokens are the text's, including spelled markers."""
    for each in (text, f"{text}{BEGINNING} <0x41> \u2581{text}\r\n\n  \t"):
        tokenizer = by_kind[kind]
        ids = tokenizer.encode(each)
        assert b"".join(tokenizer.token_bytes(id) for id in ids) == each.encode()
        assert tokenizer.bos_id not in ids


@pytest.mark.parametrize("kind", KINDS)
def test_how_texts_begin(by_kind: dict[Kind, Tokenizer], kind: Kind) -> None:
    """The only marker, the last id, begins each text and ends answers."""
    tokenizer = by_kind[kind]
    assert tokenizer.add_bos
    assert tokenizer.special == {BEGINNING: tokenizer.vocab_size - 1}
    assert tokenizer.bos_id == tokenizer.vocab_size - 1
    assert tokenizer.eos_ids == {tokenizer.bos_id}
    assert not tokenizer.prefix_space


def test_a_byte_is_its_own_id(by_kind: dict[Kind, Tokenizer]) -> None:
    """The ids of bytes are the bytes, readable by the n-gram model and the regression."""
    assert by_kind["bytes"].encode("né\n") == list("né\n".encode())


@pytest.mark.process
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_pieces_are_learnt(tmp_path: Path, by_kind: dict[Kind, Tokenizer], kind: Kind) -> None:
    """Known words take fewer tokens than bytes, and training again makes the same file."""
    text = text_of(1000, seed=5)
    assert len(by_kind[kind].encode(text)) < 0.9 * len(text.encode())
    trained(tmp_path / "first", kind)
    trained(tmp_path / "second", kind)
    first, second = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("kind", "size", "sentence"),
    [
        ("bytes", 1024, "--vocab 1024 is for bpe and unigram, but bytes always has 257"),
        ("bpe", 256, "--vocab 256 must be from 300 to 65,536"),
        ("unigram", 0, "--vocab 0 must be from 300 to 65,536"),
        ("bpe", 10**6, "--vocab 1000000 must be from 300 to 65,536"),
    ],
)
def test_sizes_that_cannot_be(kind: Kind, size: int, sentence: str) -> None:
    """An impossible size is rejected with the possible sizes."""
    with pytest.raises(InvalidRequestError) as caught:
        tokenizers.check(kind, size)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_text_with_too_few_pieces(tmp_path: Path, kind: Kind) -> None:
    """A text with too few pieces is rejected with their number."""
    with pytest.raises(InvalidRequestError, match=rf"at most \d+ {kind} pieces, not 5000: use --vocab \d+ or less"):
        tokenizers.write(tmp_path, kind, 5000, ["one and one and one\n" * 50])
