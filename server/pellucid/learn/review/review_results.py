"""Results of a blind review."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.learn.metrics import Interval, bootstrap, wilson
from pellucid_webui.conversations.storage.blind_reviews import Judgement, Verdict

WORTH = {Verdict.A: 1.0, Verdict.B: 0.0, Verdict.BOTH: 0.5, Verdict.NEITHER: 0.5}
"""A tie is half a win for each."""


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


@dataclass(frozen=True, slots=True)
class ReviewResults:
    """``win_rate`` is A's over the ``judged`` pairs, averaged over the raters of a pair.

    ``verdicts`` and ``reasons`` (for wins) are counted over all raters.
    """

    judged: int
    win_rate: Interval | None
    verdicts: dict[Verdict, int]
    reasons: dict[Verdict, dict[str, int]]
    agreements: tuple[Agreement, ...]

    @property
    def better(self) -> Verdict | None:
        if self.win_rate is None or self.win_rate.low <= 0.5 <= self.win_rate.high:
            return None
        return Verdict.A if self.win_rate.value > 0.5 else Verdict.B


def results(judgements: Sequence[Judgement]) -> ReviewResults:
    """Compute the results of a review.

    The interval is Wilson's over pairs, the unit of sampling; ties only widen the interval.
    """
    by_pair: defaultdict[int, list[float]] = defaultdict(list)
    reasons: dict[Verdict, Counter[str]] = {Verdict.A: Counter(), Verdict.B: Counter()}
    for one in judgements:
        by_pair[one.pair].append(WORTH[one.verdict])
        if one.verdict in reasons:
            reasons[one.verdict].update(one.reasons)
    shares = [float(np.mean(worths)) for _, worths in sorted(by_pair.items())]
    counts = Counter(one.verdict for one in judgements)
    return ReviewResults(
        judged=len(shares),
        win_rate=wilson(sum(shares), len(shares)) if shares else None,
        verdicts={verdict: counts[verdict] for verdict in Verdict},
        reasons={verdict: dict(found.most_common()) for verdict, found in reasons.items()},
        agreements=tuple(_agreements(judgements)),
    )


def _agreements(judgements: Sequence[Judgement]) -> list[Agreement]:
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
