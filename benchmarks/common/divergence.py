"""Measures the distance between two models' next-token distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Divergence:
    """Sums over the tokens read so far. ``surprisal`` and ``divergence`` are in nats."""

    tokens: int = 0
    surprisal: float = 0.0
    divergence: float = 0.0
    same: int = 0

    def add(self, reference: Tensor, candidate: Tensor, targets: Tensor) -> None:
        """Add log-probabilities (rows, vocabulary) of both models at the same positions, and the
        actual next tokens (rows,).
        """
        self.tokens += len(targets)
        self.surprisal -= float(candidate.gather(1, targets[:, None]).sum(dtype=torch.float64))
        self.divergence += float((reference.exp() * (reference - candidate)).sum(dtype=torch.float64))
        self.same += int((reference.argmax(1) == candidate.argmax(1)).sum())

    @property
    def perplexity(self) -> float:
        return math.exp(self.surprisal / self.tokens)

    @property
    def kl(self) -> float:
        """Mean divergence from the reference, KL(reference || candidate), in nats."""
        return self.divergence / self.tokens

    @property
    def same_first(self) -> float:
        """Share of positions with the same most probable token in both models."""
        return self.same / self.tokens
