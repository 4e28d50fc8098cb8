"""Agreement of the raters of a blind review."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.learn.metrics import Interval, bootstrap
from pellucid_webui.conversations.storage.blind_reviews import Judgement, Verdict

FEW = 10
"""Minimum number of common pairs for kappa."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """``kappa`` (Cohen 1960) is the share of agreement beyond chance.

    None for fewer than ``FEW`` pairs, or if chance alone would always agree.
    """

    raters: tuple[str, str]
    pairs: int
    same: float
    kappa: Interval | None


def agreements(judgements: Sequence[Judgement]) -> list[Agreement]:
    """Compare each two raters over the pairs that both have judged."""
    by_rater: defaultdict[str, dict[int, Verdict]] = defaultdict(dict)
    for one in judgements:
        by_rater[one.rater][one.pair] = one.verdict
    found = []
    for first, second in itertools.combinations(sorted(by_rater), 2):
        common = sorted(by_rater[first].keys() & by_rater[second].keys())
        if common:
            kinds = list(Verdict)
            x, y = ([kinds.index(by_rater[rater][pair]) for pair in common] for rater in (first, second))
            kappa = (
                bootstrap([x, y], cohens_kappa) if len(common) >= FEW and not math.isnan(cohens_kappa(x, y)) else None
            )
            same = sum(a == b for a, b in zip(x, y, strict=True)) / len(common)
            found.append(Agreement((first, second), len(common), same, kappa))
    return found


def cohens_kappa(first: Sequence[float], second: Sequence[float]) -> float:
    """Return (p - e) / (1 - e) for agreement p and chance agreement e; NaN if e is 1."""
    x, y = np.asarray(first), np.asarray(second)
    by_chance = sum(float((x == kind).mean() * (y == kind).mean()) for kind in np.union1d(x, y))
    return float(((x == y).mean() - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")
