"""Logistic regression over the last bytes, with hashed runs of bytes as features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.byte_window_model import BYTES, NEVER, VOCABULARY, ByteWindowModel

_MULTIPLIER = 0x27D4EB2F  # Odd and below 2^31: products with 32-bit numbers stay below 2^63.
_WORD = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class LogisticWeights:
    """Weights (2^bits + 1, classes) float32: one row per bucket, then zeros for absent runs.

    ``bias`` is (classes,). ``classes`` (classes,) uint8 are the bytes seen in training; ``unseen``
    is the log-probability of each other byte.
    """

    weight: Tensor
    bias: Tensor
    classes: Tensor
    unseen: float

    @property
    def bits(self) -> int:
        return (len(self.weight) - 1).bit_length() - 1


class LogisticModel(ByteWindowModel):
    """Softmax over the sums of the weights of all runs before a byte."""

    def __init__(self, weights: LogisticWeights, reach: int, device: torch.device) -> None:
        super().__init__(reach, device)
        self.weights = weights
        self.description = f"logistic regression over hashed runs of up to {reach} bytes, on {device}"

    @property
    def weight_bytes(self) -> int:
        weights = self.weights
        return weights.weight.nbytes + weights.bias.nbytes + weights.classes.nbytes

    def head(self, hidden: Tensor) -> Tensor:
        """Return log-probabilities (R, 257) after histories (R, reach), NEVER for the marker."""
        weights = self.weights
        scores = F.embedding_bag(buckets(hidden, weights.bits), weights.weight, mode="sum") + weights.bias
        out = torch.full((len(hidden), VOCABULARY), NEVER, device=hidden.device)
        out[:, :BYTES] = weights.unseen
        out[:, weights.classes.long()] = scores.log_softmax(-1)
        out[:, :BYTES] = out[:, :BYTES].log_softmax(-1)
        return out


def buckets(histories: Tensor, bits: int) -> Tensor:
    """Return the buckets (R, reach) int64 of the last 1, 2, ... bytes of histories (R, reach).

    A run longer than the text is in bucket 2^bits, with zero weights.
    """
    hashes = torch.full_like(histories[:, 0], 0x9E3779B9)
    whole = torch.ones_like(hashes, dtype=torch.bool)
    columns = []
    for length in range(1, histories.shape[1] + 1):
        byte = histories[:, -length]
        whole = whole & (byte >= 0)
        hashes = ((hashes ^ (byte.clamp(min=0) + length)) * _MULTIPLIER) & _WORD
        hashes = hashes ^ (hashes >> 15)
        mixed = ((hashes * _MULTIPLIER) & _WORD) >> (32 - bits)
        columns.append(torch.where(whole, mixed, 1 << bits))
    return torch.stack(columns, dim=1)
