"""How far a model is from another one: over the next-token distributions of a text, and over answers that are right or wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Z = 1.96
"""Standard errors to either side within which 95 % lie."""


@dataclass
class Divergence:
    """Sums over the tokens that were read so far. ``surprisal`` and ``divergence`` are in nats."""

    tokens: int = 0
    surprisal: float = 0.0
    divergence: float = 0.0
    same: int = 0

    def add(self, reference: Tensor, candidate: Tensor, targets: Tensor) -> None:
        """Log-probabilities (rows, vocabulary) of both for the same places, and the tokens (rows,) that come there."""
        self.tokens += len(targets)
        self.surprisal -= float(candidate.gather(1, targets[:, None]).sum(dtype=torch.float64))
        self.divergence += float((reference.exp() * (reference - candidate)).sum(dtype=torch.float64))
        self.same += int((reference.argmax(1) == candidate.argmax(1)).sum())

    @property
    def perplexity(self) -> float:
        return math.exp(self.surprisal / self.tokens)

    @property
    def kl(self) -> float:
        """The mean divergence of the candidate from the reference, KL(reference || candidate), in nats."""
        return self.divergence / self.tokens

    @property
    def same_first(self) -> float:
        """The share of places where both find the same token the most probable."""
        return self.same / self.tokens


@dataclass(frozen=True, slots=True)
class Paired:
    """The same tasks done by a reference and by a candidate: how many only one of them got right, of how many."""

    only_reference: int
    only_candidate: int
    tasks: int

    @classmethod
    def of(cls, reference: Sequence[bool], candidate: Sequence[bool]) -> Paired:
        """From what was right, task by task."""
        pairs = list(zip(reference, candidate, strict=True))
        return cls(pairs.count((True, False)), pairs.count((False, True)), len(pairs))

    @property
    def difference(self) -> float:
        """How much larger the candidate's share of right answers is."""
        return (self.only_candidate - self.only_reference) / self.tasks

    @property
    def interval(self) -> tuple[float, float]:
        """Where the difference lies with 95 % confidence (Wald's interval for paired shares)."""
        discordant = self.only_reference + self.only_candidate
        margin = Z * math.sqrt(discordant - (self.only_candidate - self.only_reference) ** 2 / self.tasks) / self.tasks
        return self.difference - margin, self.difference + margin

    @property
    def p(self) -> float:
        """McNemar's exact test: how probable at least so lopsided a split is where neither is better."""
        discordant, fewer = self.only_reference + self.only_candidate, min(self.only_reference, self.only_candidate)
        tail: float = sum(math.comb(discordant, count) for count in range(fewer + 1)) / 2**discordant
        return min(2.0 * tail, 1.0)
