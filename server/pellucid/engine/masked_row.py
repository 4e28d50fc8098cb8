"""Removal of refused token ids from a row of logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.token_mask import TokenMask, fitted


class MaskedRow(NamedTuple):
    """A row of logits with minus infinity for refused ids.

    ``logits`` are None unless requested. ``best`` is the first id with the largest logit, ``total``
    the logsumexp over the allowed ids, ``size`` the number of allowed ids.
    """

    logits: NDArray[np.float32] | None
    best: int
    total: float
    size: int


def mask_row(logits: NDArray[np.float32], mask: TokenMask, *, keep: bool = True) -> MaskedRow:
    """Return float32 logits (vocab,) restricted to ``mask``. Raises ValueError as ``checked``."""
    vocab = len(logits)
    allowed = np.unpackbits(fitted(mask, vocab).view(np.uint8), bitorder="little", count=vocab).view(np.bool_)
    masked = np.where(allowed, logits, np.float32(-np.inf))
    count = int(np.count_nonzero(allowed))
    return checked(MaskedRow(masked if keep else None, int(masked.argmax()), log_sum_exp(masked), count))


def log_sum_exp(logits: NDArray[np.float32]) -> float:
    """Return the logarithm of the sum of exponentials; minus infinity if no logit is finite."""
    largest = float(logits.max(initial=-np.inf))
    if not np.isfinite(largest):
        return largest
    return largest + float(np.log(np.exp(logits - np.float32(largest)).sum(dtype=np.float64)))


def checked(row: MaskedRow) -> MaskedRow:
    """Return the row. Raises ValueError if no allowed id is possible, because a draw would fail."""
    if row.best < 0 or row.total == float("-inf") or row.total != row.total:
        raise ValueError("the constraint allows no token that the model can give")
    return row
