"""What showing only what is probably right hides of the wrong suggestions and loses of the right ones, and so what each level asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.completion.settings import GateLevel
from pellucid.learn.calibrate.records import SuggestionRecord
from pellucid.learn.calibrate.table import Floats, Ints, Table

LOSSES: Mapping[GateLevel, float] = {GateLevel.QUIET: 0.15, GateLevel.NORMAL: 0.05, GateLevel.EAGER: 0.01}
"""Part of the right suggestions that a level may lose or shorten; it hides as many wrong ones as it can for that.

It is not the share of accepted ones that is made as large as possible: that is best served by showing next to nothing.
"""

THRESHOLDS = tuple(number / 200 for number in range(200))
"""Among which a level's is chosen."""


@dataclass(frozen=True, slots=True)
class LevelOutcome:
    """What becomes of suggestions.

    Of the ``wrong``: ``hidden``, or ``cut`` to a part that is right; else something wrong is still shown. Of the ``right``:
    ``lost``, or ``shortened``, so that not all of it is shown. ``kept`` is the share of the right ones' characters that is shown.
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
        """The share of the wrong of which nothing wrong is shown."""
        return (self.hidden + self.cut) / max(self.wrong, 1)

    @property
    def loss(self) -> float:
        """The share of the right of which not all is shown: a word of each would otherwise count as none lost."""
        return (self.lost + self.shortened) / max(self.right, 1)

    @property
    def precision(self) -> float:
        """The share of what is shown that is right as far as it goes."""
        shown = self.wrong - self.hidden + self.right - self.lost
        return (self.cut + self.right - self.lost) / max(shown, 1)


@dataclass(frozen=True, slots=True)
class LevelPoint:
    """A threshold of P(right) and what becomes of suggestions by it."""

    threshold: float
    outcome: LevelOutcome


def curve(table: Table, probabilities: Floats) -> list[LevelPoint]:
    """What every threshold does. Rows are those of each suggestion one after the other, the longest part first."""
    return [LevelPoint(threshold, outcome(table, shown(table, probabilities, threshold))) for threshold in THRESHOLDS]


def shown(table: Table, probabilities: Floats, threshold: float) -> Ints:
    """The row of the part of each suggestion that is shown, (suggestions,); -1 where nothing is."""
    numbers = np.unique(table.suggestions)
    found = np.full(len(numbers), -1, dtype=np.int64)
    above = np.flatnonzero(probabilities > threshold)
    which, at = np.unique(table.suggestions[above], return_index=True)  # the first: the longest part
    found[np.searchsorted(numbers, which)] = above[at]
    return found


def shown_by_thresholds(table: Table, records: Sequence[SuggestionRecord], level: GateLevel) -> Ints:
    """The same for the thresholds that decide where there is no calibration."""
    rows = np.split(np.arange(table.size), np.flatnonzero(np.diff(table.suggestions)) + 1)
    suggested = [record for record in records if record.parts]
    found = []
    for record, own in zip(suggested, rows, strict=True):
        assert record.shown is not None, "of every suggestion it is known"
        length = record.shown[level]
        found.append(next((int(row) for row, part in zip(own, record.parts, strict=True) if part.length == length), -1))
    return np.array(found, dtype=np.int64)


def outcome(table: Table, rows: Ints) -> LevelOutcome:
    """What becomes of suggestions of which these rows are shown, -1 for nothing."""
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
    """The cost of a wrong suggestion at each level, a right one gaining 1: of the highest threshold that loses no more than it may."""
    costs = {}
    for level, allowed in LOSSES.items():
        threshold = max(point.threshold for point in points if point.outcome.loss <= allowed)
        costs[level] = threshold / (1 - threshold)
    return costs
