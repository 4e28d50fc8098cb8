"""Results of a blind review, in numbers and in sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pellucid_webui.conversations.storage.blind_reviews import Judgement, Review, Verdict
from pellucid_webui.inspection.batch.mean_interval import Interval, share_interval

WORTH = {Verdict.A: 1.0, Verdict.B: 0.0, Verdict.BOTH: 0.5, Verdict.NEITHER: 0.5}
"""A tie is half a win for each."""

NAMES = {
    Verdict.A: "A is better",
    Verdict.B: "B is better",
    Verdict.BOTH: "both are good",
    Verdict.NEITHER: "neither is good",
}


@dataclass(frozen=True, slots=True)
class ReviewResults:
    """``win_rate`` is A's mean over prompts, of means over pairs of a prompt and raters of a pair.

    ``verdicts`` and ``reasons`` (for wins) are counted over all raters.
    """

    judged: int
    win_rate: Interval | None
    verdicts: dict[Verdict, int]
    reasons: dict[Verdict, dict[str, int]]

    @property
    def better(self) -> Verdict | None:
        if self.win_rate is None or self.win_rate.low <= 0.5 <= self.win_rate.high:
            return None
        return Verdict.A if self.win_rate.value > 0.5 else Verdict.B


def results(review: Review, judgements: Sequence[Judgement]) -> ReviewResults:
    """Compute the results of a review.

    The interval is Wilson's over prompts, the unit of sampling: a batch with several seeds has
    several pairs for each prompt. Ties only widen the interval.
    """
    judgements = [one for one in judgements if one.pair < len(review.pairs)]  # Not of an earlier review of the name.
    by_pair: defaultdict[int, list[float]] = defaultdict(list)
    reasons: dict[Verdict, Counter[str]] = {Verdict.A: Counter(), Verdict.B: Counter()}
    for one in judgements:
        by_pair[one.pair].append(WORTH[one.verdict])
        if one.verdict in reasons:
            reasons[one.verdict].update(one.reasons)
    by_prompt: defaultdict[str, list[float]] = defaultdict(list)
    for pair, worth in by_pair.items():
        by_prompt[review.pairs[pair].prompt].append(fmean(worth))
    counts = Counter(one.verdict for one in judgements)
    return ReviewResults(
        judged=len(by_pair),
        win_rate=share_interval(sum(map(fmean, by_prompt.values())), len(by_prompt)) if by_pair else None,
        verdicts={verdict: counts[verdict] for verdict in Verdict},
        reasons={verdict: dict(found.most_common()) for verdict, found in reasons.items()},
    )


def sentences(review: Review, found: ReviewResults) -> list[str]:
    """Name the sides, and the better one if the interval excludes one half."""
    begin = [f"A: {review.a}", f"B: {review.b}", f"{found.judged} of {len(review.pairs)} pairs have been judged."]
    rate, better = found.win_rate, found.better
    if rate is None:
        return begin
    value, low, high = (f"{100 * share:.1f} %" for share in (rate.value, rate.low, rate.high))
    return [
        *begin,
        f"A wins {value} (95 % interval {low} to {high}); a tie counts as half a win.",
        "The interval includes 50 %: neither model is shown to be better."
        if better is None
        else f"{better.upper()} is better.",
    ]


def table(found: ReviewResults) -> list[list[str]]:
    """Return how often each verdict was given and why, below a head."""
    rows = [["verdict", "times", "reasons"]]
    for verdict, times in found.verdicts.items():
        why = ", ".join(f"{reason} ({count})" for reason, count in found.reasons.get(verdict, {}).items())
        rows.append([NAMES[verdict], str(times), why])
    return rows
