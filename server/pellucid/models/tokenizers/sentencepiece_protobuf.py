"""The protobuf of a sentencepiece model: pieces, and normalisation.

The fields are documented in sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from pellucid.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_CHARSMAP, _ADD_DUMMY_PREFIX = 2, 3
_MAX_PIECES = 1 << 21
_MAX_FIELDS = 1 << 22
_MAX_VARINT = 10  # Bytes for 64 bits.

_Field = tuple[int, int, bytes | int]


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
    """Return the pieces in id order, and whether the model puts a space before every text.

    Raises ModelError for any file except a sentencepiece model.
    """
    try:
        pieces = [_read_piece(raw) for raw in islice(_messages(_fields(data), _PIECES), _MAX_PIECES + 1)]
        normalizer = _normalizer(data)
    except (LookupError, ValueError, struct.error):
        raise ModelError("The tokenizer.model is damaged or not a sentencepiece model: download it again.") from None
    if len(pieces) > _MAX_PIECES:
        raise ModelError(
            f"The tokenizer.model has more than {_MAX_PIECES} pieces, which no model needs: download it again."
        )
    return pieces, bool(normalizer.get(_ADD_DUMMY_PREFIX, True))


def has_charsmap(data: bytes) -> bool:
    """Return whether a model maps characters before encoding."""
    return bool(_normalizer(data).get(_CHARSMAP))


def rewrite(data: bytes, pieces: Iterable[VocabularyPiece]) -> bytes:
    """Return the model with new pieces and without a prefix space, which the tokenizer adds."""
    fields = list(_fields(data))
    normalizer = [
        field for raw in _messages(fields, _NORMALIZER) for field in _fields(raw) if field[0] != _ADD_DUMMY_PREFIX
    ]
    normalizer.append((_ADD_DUMMY_PREFIX, _VARINT, 0))
    body = [_message(_PIECES, _write_piece(piece)) for piece in pieces]
    body += [_write(*field) for field in fields if field[0] not in (_PIECES, _NORMALIZER)]
    return b"".join(body) + _message(_NORMALIZER, b"".join(_write(*field) for field in normalizer))


def build(pieces: Iterable[VocabularyPiece], *, remove_extra_spaces: bool, charsmap: bytes = b"") -> bytes:
    """Return a BPE model of pieces (merging by score), without a prefix space.

    The model has byte fallback if there are byte pieces.
    """
    pieces = list(pieces)
    unknown = next((id for id, piece in enumerate(pieces) if piece.type is PieceType.UNKNOWN), 0)
    fallback = any(piece.type is PieceType.BYTE for piece in pieces)
    trainer = (
        _write(3, _VARINT, 2) + _write(35, _VARINT, int(fallback)) + _write(40, _VARINT, unknown)
    )  # Fields: model_type BPE, byte_fallback, unk_id.
    normalizer = _write(1, _BYTES, b"identity") + _write(2, _BYTES, charsmap) + _write(_ADD_DUMMY_PREFIX, _VARINT, 0)
    normalizer += _write(4, _VARINT, int(remove_extra_spaces))
    body = b"".join(_message(_PIECES, _write_piece(piece)) for piece in pieces)
    return body + _message(_TRAINER, trainer) + _message(_NORMALIZER, normalizer)


def _normalizer(data: bytes) -> dict[int, bytes | int]:
    return {number: value for raw in _messages(_fields(data), _NORMALIZER) for number, _, value in _fields(raw)}


def _read_piece(raw: bytes) -> VocabularyPiece:
    values = {number: value for number, _, value in _fields(raw)}
    text, score, kind = values[_PIECE], values.get(_SCORE, b"\0\0\0\0"), values.get(_TYPE, PieceType.NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError
    return VocabularyPiece(text.decode(), struct.unpack("<f", score)[0], PieceType(kind))


def _write_piece(piece: VocabularyPiece) -> bytes:
    return (
        _write(_PIECE, _BYTES, piece.text.encode())
        + _write(_SCORE, _FIXED32, struct.pack("<f", piece.score))
        + _write(_TYPE, _VARINT, piece.type)
    )


def _messages(fields: Iterable[_Field], wanted: int) -> Iterator[bytes]:
    return (value for number, _, value in fields if number == wanted and isinstance(value, bytes))


def _fields(data: bytes) -> Iterator[_Field]:
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise ValueError
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield key >> 3, kind, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError
        if at + size > len(data):
            raise IndexError
        yield key >> 3, kind, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise IndexError


def _write(number: int, kind: int, value: bytes | int) -> bytes:
    key = _write_varint(number << 3 | kind)
    if isinstance(value, int):
        return key + _write_varint(value)
    return key + (_write_varint(len(value)) if kind == _BYTES else b"") + value


def _message(number: int, body: bytes) -> bytes:
    return _write(number, _BYTES, body)


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
