"""Models that look back a few bytes and no further: of a token they keep its id in the KV cache, and nothing else.

Ids below 256 are bytes; every other id is a marker, which nothing before it is seen through. So the engine batches, chunks,
copies and parks them as it does any other model, and its law holds for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.engine.model import Batch, CacheShape, KVStorage

BYTES = 256
"""How many bytes there are."""

VOCABULARY = BYTES + 1
"""The bytes and one marker, which begins and ends a text."""

NOTHING = -1
"""In a history: no byte stands there."""

NEVER = -100.0
"""The logit of a marker: finite, for an entropy multiplies it by its probability, which is 0."""

_CONTEXT = 1 << 20  # a text of any length can be read: only its last bytes are looked at


class ByteWindowModel:
    """What models of the last ``reach`` bytes have in common; the hidden state of a row is these bytes, (R, reach) int64.

    The last byte stands last. In front of a text's beginning, or of the last marker, there is ``NOTHING``.
    """

    brings_threads = False
    vocab_size = VOCABULARY
    context = _CONTEXT
    cost = None  # a token costs what its history has been seen with

    def __init__(self, reach: int, device: torch.device) -> None:
        self.reach = reach
        self.device = device

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(1, 1, 1, torch.float32, self.device)  # which holds ids up to 2^24 exactly

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """See :meth:`pellucid.engine.model.Model.forward`."""
        (keys,), (values,) = kv.keys, kv.values
        slots = torch.empty_like(batch.ids)
        for span in batch.spans:
            rows = slice(span.offset, span.offset + span.count)
            slots[rows] = span.slot
            for storage in (keys, values):
                storage[span.slot, 0, span.start : span.end, 0] = batch.ids[rows].float()
        back = torch.arange(self.reach - 1, -1, -1, device=self.device)
        positions = batch.positions[batch.rows, None] - back  # (R, reach)
        found = keys[slots[batch.rows, None], 0, positions.clamp(min=0), 0].long()
        return since_marker(torch.where(positions < 0, NOTHING, found))


def since_marker(ids: Tensor) -> Tensor:
    """Ids (R, reach) without the last marker of each row and what stands before it."""
    markers = (ids >= BYTES).flip(-1).cumsum(-1).flip(-1)  # how many there are from here on
    return torch.where(markers > 0, NOTHING, ids)


def histories(data: Tensor, reach: int) -> Tensor:
    """What stands before each byte of a text: of ``data`` (n,) the histories (n, reach), int64."""
    padded = torch.cat([torch.full((reach,), NOTHING), data.long()])
    return padded.unfold(0, reach, 1)[: len(data)]
