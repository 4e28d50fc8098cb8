"""The protobuf file of a sentencepiece model: its pieces, and its normalisation.

Sentencepiece brings the classes that read the file; sentencepiece_model.proto documents the fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pellucid.errors import ModelError

_MAX_PIECES = 1 << 21
_BPE = 2


class PieceType(IntEnum):
    """The type of a piece, in sentencepiece and in GGUF's ``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class VocabularyPiece:
    """A piece, with U+2581 for a space."""

    text: str
    score: float
    type: PieceType


def read(data: bytes) -> tuple[list[VocabularyPiece], bool]:
    """Return the pieces in id order, and whether the model puts a space before every text."""
    model = parse(data)
    if len(model.pieces) > _MAX_PIECES:
        raise ModelError(
            f"The tokenizer.model has more than {_MAX_PIECES} pieces, which no model needs: download it again."
        )
    pieces = [VocabularyPiece(piece.piece, piece.score, PieceType(piece.type)) for piece in model.pieces]
    return pieces, model.normalizer_spec.add_dummy_prefix


def has_charsmap(data: bytes) -> bool:
    """Return whether a model maps characters before encoding."""
    return bool(parse(data).normalizer_spec.precompiled_charsmap)


def rewrite(data: bytes, pieces: Iterable[VocabularyPiece]) -> bytes:
    """Return the model with new pieces and without a prefix space, which the tokenizer adds."""
    return _write(parse(data), pieces)


def build(pieces: Iterable[VocabularyPiece], *, remove_extra_spaces: bool, charsmap: bytes = b"") -> bytes:
    """Return a BPE model of pieces (merging by score), without a prefix space.

    The model has byte fallback if there are byte pieces.
    """
    pieces = list(pieces)
    model = _new()
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = _BPE
    trainer.byte_fallback = any(piece.type is PieceType.BYTE for piece in pieces)
    trainer.unk_id = next((id for id, piece in enumerate(pieces) if piece.type is PieceType.UNKNOWN), 0)
    normalizer.name, normalizer.precompiled_charsmap = "identity", charsmap
    normalizer.remove_extra_whitespaces = remove_extra_spaces
    return _write(model, pieces)


def _new() -> Any:
    from sentencepiece import sentencepiece_model_pb2  # Here, as only these tokenizers need the time.

    return vars(sentencepiece_model_pb2)["ModelProto"]()


def parse(data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    model = _new()
    try:
        model.ParseFromString(data)
        damaged = not model.pieces or not all(piece.HasField("piece") for piece in model.pieces)
    except (DecodeError, ValueError):
        damaged = True
    if damaged:
        raise ModelError("The tokenizer.model is damaged or not a sentencepiece model: download it again.")
    return model


def _write(model: Any, pieces: Iterable[VocabularyPiece]) -> bytes:
    del model.pieces[:]
    for piece in pieces:
        model.pieces.add(piece=piece.text, score=piece.score, type=int(piece.type))
    model.normalizer_spec.add_dummy_prefix = False
    return bytes(model.SerializeToString())
