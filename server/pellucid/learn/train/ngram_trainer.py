"""Counts a byte n-gram model: interpolated modified Kneser-Ney (Chen and Goodman 1999)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.engine.decoders.ngram_byte_model import MAX_ORDER, NGramModel, NGramTable
from pellucid.learn.train.bits_per_byte import Bytes, bits_per_byte

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]

LEAST = 3

_MIN_DISCOUNT = 0.05  # Reserves some probability for unseen bytes in every context


def fit(train: Sequence[Bytes], validation: Sequence[Bytes], most: int = MAX_ORDER) -> NGramModel:
    best, least, most = None, math.inf, min(most, max(map(len, train)))
    continued = [continuation_table(train, length) for length in range(most - 1)]
    for order in range(min(LEAST, most), most + 1):
        tables = [*continued[: order - 1], count_table(train, order - 1)]
        model = NGramModel(tables, torch.device("cpu"))
        bits = bits_per_byte(model, validation)
        if bits < least:
            best, least = model, bits
    assert best is not None, "some order is tried"
    return best


def discounts(counts: Counts) -> NDArray[np.float64]:
    """Return the discounts (4,) of counts of 0, 1, 2, and 3 or more.

    D(k) = k - (k + 1) Y n(k + 1) / n(k), Y = n(1) / (n(1) + 2 n(2)), where n(k) is the number of
    n-grams with the count k. If few counts put D(k) outside of 0 to k, the discount is 0.5.
    """
    of = np.bincount(np.minimum(counts, 5), minlength=6)[:6].astype(np.float64)
    found = np.zeros(4)
    for k in (1, 2, 3):
        base = of[1] / (of[1] + 2 * of[2]) if of[1] else 0.0
        value = k - (k + 1) * base * of[k + 1] / of[k] if of[k] else 0.5
        found[k] = value if _MIN_DISCOUNT <= value < k else 0.5
    return found


def count_table(texts: Sequence[Bytes], length: int) -> NGramTable:
    keys, counts = np.unique(np.concatenate([_runs(text, length + 1) for text in texts]), return_counts=True)
    return _table(keys, counts.astype(np.int64), length)


def continuation_table(texts: Sequence[Bytes], length: int) -> NGramTable:
    """Return counts of distinct bytes before each ``length`` + 1 bytes.

    The beginning of a text counts as a distinct byte.
    """
    longer = np.unique(np.concatenate([_runs(text, length + 2) for text in texts]))
    shorter = longer & np.uint64((1 << (8 * (length + 1))) - 1)
    beginnings = np.unique(np.concatenate([_runs(text[: length + 1], length + 1) for text in texts]))
    keys, counts = np.unique(np.concatenate([shorter, beginnings]), return_counts=True)
    return _table(keys, counts.astype(np.int64), length)


def _table(keys: Keys, counts: Counts, length: int) -> NGramTable:
    """Return the table of contexts. A sorted key is a context and the next byte."""
    taken = discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(keys >> np.uint64(8), return_index=True)
    totals = np.add.reduceat(counts, first)
    sizes = np.diff(np.append(first, len(keys)))
    assert len(contexts), "a text is longer than the contexts that are counted"
    assert length or len(contexts) == 1, "there is one empty context"
    return NGramTable(
        torch.from_numpy(contexts.astype(np.int64)),
        torch.from_numpy(np.append(first, len(keys)).astype(np.int64)),
        torch.from_numpy((keys & np.uint64(0xFF)).astype(np.uint8)),
        torch.from_numpy(((counts - taken) / np.repeat(totals, sizes)).astype(np.float32)),
        torch.from_numpy((np.add.reduceat(taken, first) / totals).astype(np.float32)),
    )


def _runs(text: Bytes, length: int) -> Keys:
    count = max(len(text) - length + 1, 0)
    keys = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        keys = (keys << np.uint64(8)) | text[offset : offset + count].astype(np.uint64)
    return keys
