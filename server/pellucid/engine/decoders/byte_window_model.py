"""The base of models that look back a few bytes: of each token they keep only its id in the KV cache.

Ids below 256 are bytes. Every other id is a marker, and bytes before a marker are not visible. The
engine batches, chunks, copies and parks their sequences as it does those of any other model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.engine.model import Batch, CacheShape, KVStorage

BYTES = 256
"""Number of byte values."""

VOCABULARY = BYTES + 1
"""The bytes and one marker, which begins and ends a text."""

NOTHING = -1
"""Fills a history where there is no byte."""

NEVER = -100.0
"""The logit of a marker: finite, because an entropy multiplies it by its probability, which is 0."""

_CONTEXT = 1 << 20  # a text of any length can be read: only its last bytes are looked at


class ByteWindowModel:
    """The base of models of the last ``reach`` bytes.

    These bytes are the hidden state of a row, (R, reach) int64.

    The newest byte is the last. Positions before a text's beginning, or before the last marker, are
    ``NOTHING``.
    """

    brings_threads = False
    vocab_size = VOCABULARY
    hidden_size = None
    context = _CONTEXT
    cost = None  # the cost of a token depends on its history

    def __init__(self, reach: int, device: torch.device) -> None:
        self.reach = reach
        self.device = device

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(1, 1, 1, torch.float32, self.device)  # which holds ids up to 2^24 exactly

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """Run a batch; see :meth:`pellucid.engine.model.Model.forward`."""
        (keys,), (values,) = kv.keys, kv.values
        slots = torch.empty_like(batch.ids)
        for span in batch.spans:
            rows = slice(span.offset, span.offset + span.count)
            slots[rows] = span.slot
            for storage in (keys, values):
                storage[span.slot, 0, span.start : span.end, 0] = batch.ids[rows].float()
        back = torch.arange(self.reach - 1, -1, -1, device=self.device)
        positions = batch.positions[batch.rows, None] - back  # (R, reach)
        ids = keys[slots[batch.rows, None], 0, positions.clamp(min=0), 0].long()
        return since_marker(torch.where(positions < 0, NOTHING, ids))


def since_marker(ids: Tensor) -> Tensor:
    """Replace the last marker of each row of ids (R, reach) and everything before it by NOTHING."""
    markers = (ids >= BYTES).flip(-1).cumsum(-1).flip(-1)  # number of markers from each position on
    return torch.where(markers > 0, NOTHING, ids)


def histories(data: Tensor, reach: int) -> Tensor:
    """Return the histories (n, reach) int64 of the bytes of a text ``data`` (n,)."""
    padded = torch.cat([torch.full((reach,), NOTHING), data.long()])
    return padded.unfold(0, reach, 1)[: len(data)]
