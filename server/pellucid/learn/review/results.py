"""What people found of two models' answers: who wins how often, why, and whether the raters agree."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.learn.metrics import Interval, bootstrap, wilson
from pellucid_webui.conversations.blind_reviews import Judgement, Verdict

WORTH = {Verdict.A: 1.0, Verdict.B: 0.0, Verdict.BOTH: 0.5, Verdict.NEITHER: 0.5}
"""What a verdict counts for A: a tie is half a win of each."""


FEW = 10
"""Pairs below which agreement beyond chance cannot be told from chance."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two raters agree on the ``pairs`` that both have judged.

    ``kappa`` is Cohen's: the share of agreement beyond chance, 1 for always (Cohen 1960); None where chance alone would agree always,
    and below ``FEW`` pairs.
    """

    raters: tuple[str, str]
    pairs: int
    same: float
    kappa: Interval | None


@dataclass(frozen=True, slots=True)
class ReviewResults:
    """``win_rate`` is A's over the ``judged`` pairs, each pair with the mean of its raters, ties half; None before the first verdict.

    ``verdicts`` and ``reasons`` (of A's and of B's wins) are counted over all raters.
    """

    judged: int
    win_rate: Interval | None
    verdicts: dict[Verdict, int]
    reasons: dict[Verdict, dict[str, int]]
    agreements: tuple[Agreement, ...]

    @property
    def better(self) -> Verdict | None:
        """Whose answers are better, where the interval leaves no doubt of it."""
        if self.win_rate is None or self.win_rate.low <= 0.5 <= self.win_rate.high:
            return None
        return Verdict.A if self.win_rate.value > 0.5 else Verdict.B


def results(judgements: Sequence[Judgement]) -> ReviewResults:
    """What came of a review. The interval is Wilson's over pairs, which are what could have been others; ties only widen it."""
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
            kappa = bootstrap([x, y], cohens_kappa) if len(common) >= FEW and not math.isnan(cohens_kappa(x, y)) else None
            same = sum(a == b for a, b in zip(x, y, strict=True)) / len(common)
            found.append(Agreement((first, second), len(common), same, kappa))
    return found


def cohens_kappa(first: Sequence[float], second: Sequence[float]) -> float:
    """(p - e) / (1 - e), where p is the share of agreement and e what chance gives with each one's own shares; NaN where e is 1."""
    x, y = np.asarray(first), np.asarray(second)
    by_chance = sum(float((x == kind).mean() * (y == kind).mean()) for kind in np.union1d(x, y))
    return float(((x == y).mean() - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")
