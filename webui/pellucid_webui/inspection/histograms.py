"""Histograms of tokens by surprisal, rank and entropy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log

from pellucid_webui.inspection.reading_figures import RANK_BINS, ReadingFigures, surprisal

STEP_BITS = 1.0

MAX_STEPS = 24
"""The last bar also counts everything above."""

ENTROPY_STEP_BITS = 0.5


@dataclass(frozen=True, slots=True)
class Histogram:
    """Token counts by class; ``note`` mentions tokens that are not counted."""

    name: str
    axis: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    note: str = ""


def histograms(reading: ReadingFigures) -> list[Histogram]:
    """Return histograms of surprisals, ranks (GLTR's classes), and entropies."""
    surprisals = [surprisal(token) for token in reading.tokens if token.logprob is not None]
    inexact = sum(token.entropy is None and token.logprob is not None for token in reading.tokens)
    entropies = [token.entropy / log(2) for token in reading.tokens if token.entropy is not None]
    return [
        _by_step("Surprisal", "bits of the token", surprisals, STEP_BITS),
        _by_rank(reading),
        replace(_by_step("Entropy", "bits of the choice", entropies, ENTROPY_STEP_BITS), note=_uncounted(inexact)),
    ]


def _uncounted(tokens: int) -> str:
    """Return a sentence on tokens without exact entropy, which could be in several classes."""
    if not tokens:
        return ""
    return (
        f"Not counted: {tokens} {'token' if tokens == 1 else 'tokens'} whose exact entropy the engine does not report."
    )


def _by_rank(reading: ReadingFigures) -> Histogram:
    firsts = ["1", *[str(border + 1) for border in RANK_BINS]]
    labels = [f"{first}–{last}" for first, last in zip(firsts, map(str, RANK_BINS), strict=False)]
    return Histogram("Rank", "rank of the token", (*labels, f"{firsts[-1]}+"), tuple(reading.rank_counts()))


def _by_step(name: str, axis: str, values: Iterable[float], step: float) -> Histogram:
    counts = Counter(min(int(value / step), MAX_STEPS - 1) for value in values)
    steps = range(max(counts, default=-1) + 1)
    labels = tuple(f"{at * step:g}+" if at == MAX_STEPS - 1 else f"{at * step:g}–{(at + 1) * step:g}" for at in steps)
    return Histogram(name, axis, labels, tuple(counts[at] for at in steps))
