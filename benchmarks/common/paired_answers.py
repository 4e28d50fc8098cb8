"""Compares right answers of two models to the same tasks: McNemar's test and an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.96
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The tasks of a reference and a candidate: the number of tasks right in a single model, and
    the total.
    """

    only_reference: int
    only_candidate: int
    tasks: int

    @classmethod
    def of(cls, reference: Sequence[bool], candidate: Sequence[bool]) -> Paired:
        """Count from correctness, task by task."""
        pairs = list(zip(reference, candidate, strict=True))
        return cls(pairs.count((True, False)), pairs.count((False, True)), len(pairs))

    @property
    def difference(self) -> float:
        """The candidate's share of right answers less the reference's."""
        return (self.only_candidate - self.only_reference) / self.tasks

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference (Wald's interval for paired shares)."""
        discordant = self.only_reference + self.only_candidate
        margin = Z * math.sqrt(discordant - (self.only_candidate - self.only_reference) ** 2 / self.tasks) / self.tasks
        return self.difference - margin, self.difference + margin

    @property
    def p(self) -> float:
        """The p-value of McNemar's exact test."""
        discordant, fewer = self.only_reference + self.only_candidate, min(self.only_reference, self.only_candidate)
        tail: float = sum(math.comb(discordant, count) for count in range(fewer + 1)) / 2**discordant
        return min(2.0 * tail, 1.0)
