"""A byte n-gram model: interpolated modified Kneser-Ney (Chen and Goodman 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.engine.decoders.byte_window_model import BYTES, NEVER, ByteWindowModel

MAX_ORDER = 8
"""Maximum length of an n-gram: 64 bits, including the predicted byte."""


@dataclass(frozen=True, slots=True)
class NGramTable:
    """All contexts of one length, sorted by key.

    ``contexts`` (C,) int64 are the keys: the bytes as one number, last byte lowest. ``begins`` (C +
    1,) int64 are the first entries of each context. Entries are ``bytes`` (E,) uint8, seen after
    the context, and ``shares`` (E,) float32 of the discounted counts. ``backoffs`` (C,) float32 is
    the discounted mass for the shorter context.
    """

    contexts: Tensor
    begins: Tensor
    bytes: Tensor
    shares: Tensor
    backoffs: Tensor

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.contexts, self.begins, self.bytes, self.shares, self.backoffs))


class NGramModel(ByteWindowModel):
    """An n-gram model with one table per context length, from 0.

    p(w | h) = share(h, w) + backoff(h) p(w | h without its first byte). Below the empty context,
    all bytes are equally probable, so all 256 probabilities are positive and the sum is one.
    """

    def __init__(self, tables: Sequence[NGramTable], device: torch.device) -> None:
        super().__init__(max(len(tables) - 1, 1), device)
        self.tables = tuple(tables)
        self.description = f"byte {len(tables)}-gram, interpolated Kneser-Ney, on {device}"

    @property
    def weight_bytes(self) -> int:
        return sum(table.nbytes for table in self.tables)

    @property
    def parameters(self) -> int:
        return sum(len(table.shares) + len(table.backoffs) for table in self.tables)

    def head(self, hidden: Tensor) -> Tensor:
        """Return log-probabilities (R, 257) after histories (R, reach), NEVER for the marker."""
        out = torch.full((len(hidden), BYTES + 1), NEVER, device=hidden.device)
        out[:, :BYTES] = self.probabilities(hidden).log()
        return out

    def probabilities(self, hidden: Tensor) -> Tensor:
        """Return the probabilities (R, 256) float64 of the bytes after histories (R, reach)."""
        probabilities = torch.full((len(hidden), BYTES), 1 / BYTES, dtype=torch.float64, device=hidden.device)
        key = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        whole = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)  # True if the text is long enough.
        for length, table in enumerate(self.tables):
            if length:
                byte = hidden[:, -length]
                whole = whole & (byte >= 0)
                key = key + (byte.clamp(min=0) << (8 * (length - 1)))
            at = torch.searchsorted(table.contexts, key).clamp(max=len(table.contexts) - 1)
            rows = (whole & (table.contexts[at] == key)).nonzero()[:, 0]
            _interpolate(probabilities, table, rows, at[rows])
        return probabilities


def _interpolate(probabilities: Tensor, table: NGramTable, rows: Tensor, at: Tensor) -> None:
    probabilities[rows] *= table.backoffs[at, None].double()
    begins = table.begins[at]
    counts = table.begins[at + 1] - begins
    firsts = counts.cumsum(0) - counts
    entries = torch.arange(int(counts.sum()), device=rows.device) + (begins - firsts).repeat_interleave(counts)
    probabilities[rows.repeat_interleave(counts), table.bytes[entries].long()] += table.shares[entries].double()
