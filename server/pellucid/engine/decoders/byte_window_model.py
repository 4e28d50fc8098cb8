"""The base of models of the last few bytes, with only token ids in the KV cache.

Ids below 256 are bytes; any larger id is a marker, which hides all earlier bytes. The engine can
batch, chunk, copy and park sequences as for any model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.engine.decoders.torch_model import TensorStorage, TorchModel
from pellucid.engine.model import Batch, CacheShape, KVStorage

BYTES = 256

VOCABULARY = BYTES + 1
"""All bytes, and a marker for the beginning and the end of a text."""

NOTHING = -1
"""Fills a history before the first byte."""

NEVER = -100.0
"""Logit of a marker: finite, because the entropy multiplies the logit by the probability, 0."""

_CONTEXT = 1 << 20  # Practically unlimited: only the last bytes matter.


class ByteWindowModel(TorchModel):
    """The base of models of the last ``reach`` bytes.

    The hidden state of a row is (R, reach) int64: the bytes, newest last. Positions before the text
    or before the last marker are ``NOTHING``.
    """

    vocab_size = VOCABULARY
    hidden_size = None
    context = _CONTEXT
    cost = None  # The cost of a token depends on the history.

    def __init__(self, reach: int, device: torch.device) -> None:
        self.reach = reach
        self.device = device

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(1, 1, 1, "float32", str(self.device))  # Float32 holds ids up to 2^24 exactly.

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        assert isinstance(kv, TensorStorage)
        (keys,), (values,) = kv.keys, kv.values
        given, places, rows = self.indices(batch)
        slots = torch.empty_like(given)
        for span in batch.spans:
            part = slice(span.offset, span.offset + span.count)
            slots[part] = span.slot
            for storage in (keys, values):
                storage[span.slot, 0, span.start : span.end, 0] = given[part].float()
        back = torch.arange(self.reach - 1, -1, -1, device=self.device)
        positions = places[rows, None] - back  # (R, reach)
        ids = keys[slots[rows, None], 0, positions.clamp(min=0), 0].long()
        return since_marker(torch.where(positions < 0, NOTHING, ids))


def since_marker(ids: Tensor) -> Tensor:
    """Replace the last marker of each row of ids (R, reach), and all earlier ids, by NOTHING."""
    markers = (ids >= BYTES).flip(-1).cumsum(-1).flip(-1)  # Number of markers from each position.
    return torch.where(markers > 0, NOTHING, ids)


def histories(data: Tensor, reach: int) -> Tensor:
    """Return the histories (n, reach) int64 of the bytes of a text ``data`` (n,)."""
    padded = torch.cat([torch.full((reach,), NOTHING), data.long()])
    return padded.unfold(0, reach, 1)[: len(data)]
