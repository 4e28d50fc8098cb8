"""Searches thresholds for the gate's levels in suggestions with known correctness."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from unittest.mock import patch

from rich.console import Console
from rich.progress import track

from common.replayed_suggestions import Case, Gated, gated
from pellucid.completion.settings import GateLevel
from pellucid.completion.trust import threshold_gate

GRID: Mapping[str, Sequence[float]] = {
    "first": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "mean": (0.0, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "least": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}

QUIET_GONE = 0.90
"""Quiet hides or corrects this share of the wrong suggestions, and hides as few right suggestions
as possible.
"""

LOST = {GateLevel.NORMAL: 0.08, GateLevel.EAGER: 0.03}
"""Normal and eager hide at most this share of the right suggestions, and show as few wrong
suggestions as possible.
"""


@dataclass(frozen=True)
class FoundThresholds:
    """Thresholds and their effect."""

    thresholds: Mapping[str, float]
    result: Gated

    @property
    def height(self) -> tuple[float, ...]:
        return (sum(self.thresholds.values()), *self.thresholds.values())


def judged(cases: Sequence[Case], thresholds: Mapping[str, float]) -> Gated:
    """Return the effect of the gate with given thresholds."""
    with patch.object(threshold_gate, "THRESHOLDS", {GateLevel.NORMAL: thresholds}):
        return gated(cases, GateLevel.NORMAL)


def grid(cases: Sequence[Case]) -> Iterator[FoundThresholds]:
    """Yield every choice of thresholds with its effect."""
    choices = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    for thresholds in track(choices, description="thresholds", console=Console(stderr=True)):
        yield FoundThresholds(thresholds, judged(cases, thresholds))


def search(cases: Sequence[Case]) -> dict[GateLevel, FoundThresholds]:
    """Return the best thresholds for each level, and the lowest of equally good thresholds.

    If no thresholds are enough for quiet, quiet gets the thresholds that hide most.
    """
    found = list(grid(cases))
    quiet = [one for one in found if one.result.gone >= QUIET_GONE] or [max(found, key=lambda one: one.result.gone)]
    best = {GateLevel.QUIET: min(quiet, key=lambda one: (one.result.lost, one.result.shortened, *one.height))}
    for level, most in LOST.items():
        allowed = (one for one in found if one.result.lost <= most * one.result.right)
        best[level] = min(
            allowed, key=lambda one: (-one.result.gone, one.result.lost, one.result.shortened, *one.height)
        )
    return best
