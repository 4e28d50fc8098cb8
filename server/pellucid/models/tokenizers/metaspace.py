"""Sentencepiece-like pieces: U+2581 for a space, ``<0x0A>`` for a byte without a piece."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pellucid.errors import ModelError
from pellucid.models.tokenizers import sentencepiece_proto
from pellucid.models.tokenizers.sentencepiece_proto import PieceType, VocabularyPiece
from pellucid.models.tokenizers.tokenizer import is_marker
from pellucid.models.tokenizers.tokenizer_backends import TextEncoder, apart, by_sentencepiece
from pellucid.models.untrusted_files import reason

SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def true_bytes(pieces: Iterable[str | None]) -> list[bytes | None]:
    return [None if piece is None else _true_bytes(piece) for piece in pieces]


def encoder(path: Path, model: bytes) -> TextEncoder:
    """Return an encoder for a sentencepiece model. Raises ModelError for an unreadable model.

    A model with a normalisation map runs in a separate process: the library trusts the map's
    offsets.
    """
    if sentencepiece_proto.has_charsmap(model):
        return apart(path, sentencepiece=model)
    try:
        return by_sentencepiece(model)
    except (RuntimeError, OSError) as error:
        raise ModelError(f"{path} cannot be read as a sentencepiece tokenizer: {reason(error)}.") from None


def split_markers(pieces: Sequence[VocabularyPiece]) -> tuple[list[VocabularyPiece], dict[str, int]]:
    """Return pieces that prevent text from becoming a marker, and the markers by text.

    Sentencepiece finds user-defined pieces in plain text, so user-defined markers become control
    pieces.
    """
    out: list[VocabularyPiece] = []
    special: dict[str, int] = {}
    for id, piece in enumerate(pieces):
        made_marker = piece.type is PieceType.USER_DEFINED and is_marker(piece.text, control=False)
        if made_marker or piece.type in (PieceType.CONTROL, PieceType.UNKNOWN):
            special[piece.text] = id
        out.append(VocabularyPiece(piece.text, piece.score, PieceType.CONTROL) if made_marker else piece)
    return out, special


def _true_bytes(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode()
