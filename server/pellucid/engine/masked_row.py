"""Removal of refused token ids from a row of logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.token_mask import TokenMask, fitted


class MaskedRow(NamedTuple):
    """A row of logits with minus infinity for refused ids.

    ``logits`` are None unless requested. ``best`` is the first id with the largest logit, ``total``
    the logsumexp over the allowed ids, ``size`` the number of allowed ids.
    """

    logits: Tensor | None
    best: int
    total: float
    size: int


def mask_row(logits: Tensor, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
    """Return float32 logits (vocab,) restricted to ``mask``. Raises ValueError as ``checked``."""
    vocab = len(logits)
    bits = np.unpackbits(fitted(mask, vocab).view(np.uint8), bitorder="little", count=vocab)
    count = int(np.count_nonzero(bits))
    allowed = torch.from_numpy(bits.view(np.bool_)).to(logits.device)
    masked = torch.where(allowed, logits, torch.full((), float("-inf"), device=logits.device))
    total = float(masked.logsumexp(0))
    return checked(MaskedRow(masked if keep else None, int(masked.argmax()), total, count))


def checked(row: MaskedRow) -> MaskedRow:
    """Return the row. Raises ValueError if no allowed id is possible, because a draw would fail."""
    if row.best < 0 or row.total == float("-inf") or row.total != row.total:
        raise ValueError("the constraint allows no token that the model can give")
    return row
