"""Trains tokenizers that can encode any text: bytes, BPE or unigram."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from pellucid.engine.decoders.byte_window_model import BYTES, VOCABULARY
from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.byte_level import LETTERS

Kind = Literal["bytes", "bpe", "unigram"]

BEGINNING = "<|endoftext|>"
"""The marker before every text (so that the first token is predicted) and after a text."""


MIN_PIECES, MAX_PIECES = 300, 65_536


def check(kind: Kind, vocabulary: int | None) -> None:
    if kind == "bytes" and vocabulary not in (None, VOCABULARY):
        raise InvalidRequestError(
            f"--vocab {vocabulary} is for bpe and unigram, but bytes always has {VOCABULARY} tokens: omit --vocab."
        )
    if kind != "bytes" and vocabulary is not None and not MIN_PIECES <= vocabulary <= MAX_PIECES:
        raise InvalidRequestError(
            f"--vocab {vocabulary} must be from {MIN_PIECES} to {MAX_PIECES:,}; the bytes alone take {BYTES}."
        )


def write(folder: Path, kind: Kind, vocabulary: int, texts: Sequence[str]) -> int:
    """Train and write a tokenizer, and return the vocabulary size."""
    if kind == "bytes":
        backend = _byte_level(models.BPE({LETTERS[byte]: byte for byte in range(BYTES)}, []))
    else:
        backend = _bpe(vocabulary, texts) if kind == "bpe" else _unigram(vocabulary, texts)
    backend.add_special_tokens([AddedToken(BEGINNING, special=True, normalized=False)])
    size: int = backend.get_vocab_size()
    if kind != "bytes" and size < vocabulary:
        raise _too_many(kind, vocabulary, size)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "bos_token": BEGINNING,
        "eos_token": BEGINNING,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return size


def _bpe(vocabulary: int, texts: Sequence[str]) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019)."""
    backend = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _unigram(vocabulary: int, texts: Sequence[str]) -> Tokenizer:
    """Return a unigram model (Kudo 2018) with all byte letters as pieces.

    Sentencepiece is used because the trainer of the tokenizers library is not deterministic.
    """
    cut, found = pre_tokenizers.ByteLevel(add_prefix_space=False), io.BytesIO()
    there = {byte for text in texts for byte in set(text.encode())}
    missing = [LETTERS[byte] for byte in range(BYTES) if byte not in there]
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(word for text in texts for word, _ in cut.pre_tokenize_str(text)),
            model_writer=found,
            model_type="unigram",
            # Includes the unknown piece, which is dropped later, but not the marker.
            vocab_size=vocabulary - len(missing),
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        most = re.search(r"value <= (\d+)", str(error))
        if most is None:
            raise
        raise _too_many("unigram", vocabulary, int(most[1]) + len(missing)) from None
    processor = SentencePieceProcessor(model_proto=found.getvalue())
    pieces = [(processor.id_to_piece(id), processor.get_score(id)) for id in range(1, len(processor))]
    rare = min(score for _, score in pieces) - 1.0  # A missing byte is less probable than the rarest piece, by 1 nat.
    return _byte_level(models.Unigram([*pieces, *((letter, rare) for letter in missing)], None))


def _too_many(kind: Kind, wanted: int, most: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The text yields at most {most} {kind} pieces, not {wanted}: use --vocab {most} or less."
    )


def _byte_level(model: models.Model) -> Tokenizer:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend
