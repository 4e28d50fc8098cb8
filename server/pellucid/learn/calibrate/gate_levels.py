"""Measures wrong suggestions hidden and right suggestions lost by the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.completion.settings import GateLevel
from pellucid.learn.calibrate.replay_records import SuggestionRecord
from pellucid.learn.calibrate.training_rows import Floats, Ints, Table

COSTS: Mapping[GateLevel, float] = {GateLevel.QUIET: 1.5, GateLevel.NORMAL: 0.5, GateLevel.EAGER: 0.1}
"""The cost of a wrong suggestion, relative to the gain of a right suggestion.

The costs are chosen, not fitted: a level means the same for every model. Maximizing the acceptance
rate instead would hide almost all suggestions.
"""

CURVE_COSTS = (
    0.0,
    0.05,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    6.0,
    9.0,
    14.0,
    20.0,
)


@dataclass(frozen=True, slots=True)
class LevelOutcome:
    """The effect of a level on suggestions.

    Of the ``wrong`` suggestions, ``hidden`` are not shown and ``cut`` are shortened to a right
    part. Of the ``right`` suggestions, ``lost`` are not shown and ``shortened`` are shown in part.
    ``kept`` is the mean share of characters shown.
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
        return (self.hidden + self.cut) / max(self.wrong, 1)

    @property
    def loss(self) -> float:
        return 1 - self.kept

    @property
    def precision(self) -> float:
        """Share of the shown suggestions with a right shown part."""
        shown = self.wrong - self.hidden + self.right - self.lost
        return (self.cut + self.right - self.lost) / max(shown, 1)


@dataclass(frozen=True, slots=True)
class LevelPoint:
    cost: float
    outcome: LevelOutcome


def curve(table: Table, probabilities: Floats) -> list[LevelPoint]:
    return [LevelPoint(cost, outcome(table, shown(table, probabilities, cost))) for cost in CURVE_COSTS]


def shown(table: Table, probabilities: Floats, cost: float) -> Ints:
    """Return the row shown of each suggestion (suggestions,), or -1.

    The row has the largest expected gain, as in :mod:`pellucid.completion.trust.calibrated_gate`.
    """
    starts = np.flatnonzero(np.diff(table.suggestions, prepend=-1))
    sizes = np.diff(starts, append=table.size)
    shares = table.characters / np.repeat(table.characters[starts], sizes)
    gains = probabilities * shares - (1 - probabilities) * cost
    best = np.array(
        [start + np.argmax(gains[start : start + size]) for start, size in zip(starts, sizes, strict=True)],
        dtype=np.int64,
    )
    return np.where(gains[best] > 0, best, -1)


def shown_by_thresholds(table: Table, records: Sequence[SuggestionRecord], level: GateLevel) -> Ints:
    rows = np.split(np.arange(table.size), np.flatnonzero(np.diff(table.suggestions)) + 1)
    suggested = [record for record in records if record.parts]
    found = []
    for record, own in zip(suggested, rows, strict=True):
        assert record.shown is not None, "of every suggestion it is known"
        length = record.shown[level]
        found.append(next((int(row) for row, part in zip(own, record.parts, strict=True) if part.length == length), -1))
    return np.array(found, dtype=np.int64)


def outcome(table: Table, rows: Ints) -> LevelOutcome:
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
        kept=float((characters[right] / whole[right]).mean()) if right.any() else 1.0,
    )
