"""Packed sets of token ids, and logits without the ids that are not in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TokenMask = NDArray[np.int32]
"""A set of token ids: bit ``id % 32`` of word ``id // 32`` is set if the id belongs to it. Ids after its end do not."""


class MaskedRow(NamedTuple):
    """A row of logits in which all ids that are not allowed have minus infinity.

    ``logits`` are None if they were not wanted. ``best`` is the id of the largest one (the first of several), ``total`` the logarithm
    of the sum of e^logit over the allowed ids, and ``size`` their number.
    """

    logits: Tensor | None
    best: int
    total: float
    size: int


def pack_ids(ids: Iterable[int] | NDArray[np.int64], vocab: int) -> TokenMask:
    """Return the set of these ids, which are below ``vocab``."""
    bits = np.zeros(-(-vocab // 32) * 32, dtype=np.bool_)
    bits[np.fromiter(ids, dtype=np.int64) if not isinstance(ids, np.ndarray) else ids] = True
    return np.packbits(bits, bitorder="little").view(np.int32)


def ids_in(mask: TokenMask) -> list[int]:
    """Return the ids of a set in ascending order."""
    return [int(id) for id in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))]


def fitted(mask: TokenMask, vocab: int) -> TokenMask:
    """Return the set as exactly the words that ``vocab`` ids need; ids from ``vocab`` on are left out."""
    words = -(-vocab // 32)
    if len(mask) != words:
        mask = np.concatenate([mask[:words], np.zeros(max(words - len(mask), 0), dtype=np.int32)])
    spare = words * 32 - vocab
    if spare and int(mask[-1]) & 0xFFFFFFFF >> 32 - spare << 32 - spare:
        mask = mask.copy()
        mask.view(np.uint32)[-1] &= np.uint32(0xFFFFFFFF >> spare)
    return np.ascontiguousarray(mask)


def mask_row(logits: Tensor, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
    """Return float32 logits (vocab,) with only the ids of ``mask`` left. Raises ValueError if none of them is possible."""
    vocab = len(logits)
    bits = np.unpackbits(fitted(mask, vocab).view(np.uint8), bitorder="little", count=vocab)
    count = int(np.count_nonzero(bits))
    allowed = torch.from_numpy(bits.view(np.bool_)).to(logits.device)
    masked = torch.where(allowed, logits, torch.full((), float("-inf"), device=logits.device))
    total = float(masked.logsumexp(0))
    return checked(MaskedRow(masked if keep else None, int(masked.argmax()), total, count))


def checked(row: MaskedRow) -> MaskedRow:
    """Return the row. Raises ValueError if no allowed id is possible, as nothing can be drawn then."""
    if row.best < 0 or row.total == float("-inf") or row.total != row.total:
        raise ValueError("the constraint allows no token that the model can give")
    return row
