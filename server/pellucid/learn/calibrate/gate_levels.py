"""Chooses the threshold of each gate level: the wrong suggestions that it hides against the right ones that it loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.completion.settings import GateLevel
from pellucid.learn.calibrate.replay_records import SuggestionRecord
from pellucid.learn.calibrate.training_rows import Floats, Ints, Table

LOSSES: Mapping[GateLevel, float] = {GateLevel.QUIET: 0.15, GateLevel.NORMAL: 0.05, GateLevel.EAGER: 0.01}
"""Share of the right suggestions that a level may lose or shorten. Within it, the level hides as many wrong ones as it can.

The acceptance rate is not the target: showing next to nothing would maximize it.
"""

THRESHOLDS = tuple(number / 200 for number in range(200))
"""The candidate thresholds."""


@dataclass(frozen=True, slots=True)
class LevelOutcome:
    """The effect of a level on suggestions.

    Of the ``wrong`` ones, ``hidden`` are not shown and ``cut`` are shortened to a right part; the others still show something wrong. Of the
    ``right`` ones, ``lost`` are not shown and ``shortened`` are shown in part. ``kept`` is the share of the right ones' characters that is
    shown.
    """

    wrong: int
    hidden: int
    cut: int
    right: int
    lost: int
    shortened: int
    kept: float

    @property
    def gone(self) -> float:
        """Share of the wrong suggestions of which nothing wrong is shown."""
        return (self.hidden + self.cut) / max(self.wrong, 1)

    @property
    def loss(self) -> float:
        """Share of the right suggestions that are not shown whole. Otherwise showing one word of each would count as no loss."""
        return (self.lost + self.shortened) / max(self.right, 1)

    @property
    def precision(self) -> float:
        """Share of the shown suggestions that are right as far as they are shown."""
        shown = self.wrong - self.hidden + self.right - self.lost
        return (self.cut + self.right - self.lost) / max(shown, 1)


@dataclass(frozen=True, slots=True)
class LevelPoint:
    """A threshold of P(right) and its outcome."""

    threshold: float
    outcome: LevelOutcome


def curve(table: Table, probabilities: Floats) -> list[LevelPoint]:
    """Return the outcome of every threshold. Rows are grouped by suggestion, the longest part first."""
    return [LevelPoint(threshold, outcome(table, shown(table, probabilities, threshold))) for threshold in THRESHOLDS]


def shown(table: Table, probabilities: Floats, threshold: float) -> Ints:
    """Return the row of each suggestion's shown part, of shape (suggestions,); -1 for a hidden one."""
    numbers = np.unique(table.suggestions)
    found = np.full(len(numbers), -1, dtype=np.int64)
    above = np.flatnonzero(probabilities > threshold)
    which, at = np.unique(table.suggestions[above], return_index=True)  # the first is the longest part
    found[np.searchsorted(numbers, which)] = above[at]
    return found


def shown_by_thresholds(table: Table, records: Sequence[SuggestionRecord], level: GateLevel) -> Ints:
    """Return the same for the fixed thresholds, which apply without a calibration."""
    rows = np.split(np.arange(table.size), np.flatnonzero(np.diff(table.suggestions)) + 1)
    suggested = [record for record in records if record.parts]
    found = []
    for record, own in zip(suggested, rows, strict=True):
        assert record.shown is not None, "of every suggestion it is known"
        length = record.shown[level]
        found.append(next((int(row) for row, part in zip(own, record.parts, strict=True) if part.length == length), -1))
    return np.array(found, dtype=np.int64)


def outcome(table: Table, rows: Ints) -> LevelOutcome:
    """Return the outcome of showing these rows, -1 for nothing."""
    right = table.right[table.whole]
    shows = rows >= 0
    part_right = shows & table.right[rows]
    is_whole = shows & table.whole[rows]
    characters, whole = table.characters[rows] * shows, table.characters[table.whole]
    return LevelOutcome(
        wrong=int((~right).sum()),
        hidden=int((~right & ~shows).sum()),
        cut=int((~right & part_right).sum()),
        right=int(right.sum()),
        lost=int((right & ~shows).sum()),
        shortened=int((right & shows & ~is_whole).sum()),
        kept=float(characters[right].sum() / max(whole[right].sum(), 1)),
    )


def choose(points: Sequence[LevelPoint]) -> dict[GateLevel, float]:
    """Return each level's cost of a wrong suggestion, relative to a right one, from the highest threshold within its ``LOSSES``."""
    costs = {}
    for level, allowed in LOSSES.items():
        threshold = max(point.threshold for point in points if point.outcome.loss <= allowed)
        costs[level] = threshold / (1 - threshold)
    return costs
