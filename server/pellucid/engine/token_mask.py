"""Packed sets of token ids."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

TokenMask = NDArray[np.int32]
"""A set of token ids: bit ``id % 32`` of word ``id // 32``. Ids beyond the end are absent."""


def pack_ids(ids: Iterable[int] | NDArray[np.int64], vocab: int) -> TokenMask:
    bits = np.zeros(-(-vocab // 32) * 32, dtype=np.bool_)
    bits[np.fromiter(ids, dtype=np.int64) if not isinstance(ids, np.ndarray) else ids] = True
    return np.packbits(bits, bitorder="little").view(np.int32)


def ids_in(mask: TokenMask) -> list[int]:
    return [int(id) for id in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))]


def fitted(mask: TokenMask, vocab: int) -> TokenMask:
    """Return the set with the number of words for ``vocab`` ids; larger ids are removed."""
    words = -(-vocab // 32)
    if len(mask) != words:
        mask = np.concatenate([mask[:words], np.zeros(max(words - len(mask), 0), dtype=np.int32)])
    spare = words * 32 - vocab
    if spare and int(mask[-1]) & 0xFFFFFFFF >> 32 - spare << 32 - spare:
        mask = mask.copy()
        mask.view(np.uint32)[-1] &= np.uint32(0xFFFFFFFF >> spare)
    return np.ascontiguousarray(mask)
