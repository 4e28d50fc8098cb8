"""A kind of work in a race: each contestant's figures by round, and Pellucid's bar."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

OURS, LOOKUP, THEIRS, BENCH, TRANSFORMERS = (
    "Pellucid",
    "Pellucid, lookup",
    "llama-server",
    "llama-bench",
    "transformers, bfloat16",
)
CONTESTANTS = (OURS, LOOKUP, THEIRS, BENCH, TRANSFORMERS)
LLAMA = (THEIRS, BENCH)

RATES, TIMES = "tok/s", "ms"
"""Units: higher is better for rates, lower for times."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A required ratio of Pellucid's speed to the best speed of llama.cpp."""

    who: str
    least: float


@dataclass
class Row:
    """Figures by contestant and round, in ``unit``."""

    what: str
    unit: str = RATES
    bar: Bar | None = None
    reached: dict[str, list[float]] = field(default_factory=dict)

    def note(self, who: str, value: float) -> None:
        self.reached.setdefault(who, []).append(value)

    def median(self, who: str) -> float | None:
        """Return the median, or None for a contestant without figures."""
        return statistics.median(self.reached[who]) if who in self.reached else None

    def ratio(self, who: str) -> float | None:
        """Return the contestant's speed divided by llama.cpp's best speed, or None if a figure is
        missing.
        """
        ours, theirs = self.median(who), [value for value in map(self.median, LLAMA) if value is not None]
        if ours is None or not theirs:
            return None
        return min(theirs) / ours if self.unit == TIMES else ours / max(theirs)

    @property
    def missed(self) -> str:
        """Return a sentence if the bar was missed; empty otherwise."""
        if self.bar is None:
            return ""
        ratio = self.ratio(self.bar.who)
        if ratio is None:
            return (
                f"{self.what}: {self.bar.who} was not measured; "
                f"it must be {self.bar.least:g} times as fast as llama.cpp."
            )
        if ratio < self.bar.least:
            return (
                f"{self.what}: {self.bar.who} is {ratio:.2f} times as fast as llama.cpp "
                f"and must be {self.bar.least:g} times."
            )
        return ""

    def cells(self) -> list[str]:
        """Return the row of the table: work, unit, the medians of CONTESTANTS, both ratios, and the
        bar.
        """
        medians = [_number(self.median(who), 1) for who in CONTESTANTS]
        ratios = [_number(self.ratio(who), 2) for who in (OURS, LOOKUP)]
        bar = f"{self.bar.least:g} ({self.bar.who})" if self.bar else ""
        return [self.what, self.unit, *medians, *ratios, bar]


TITLES = ("work", "unit", *CONTESTANTS, "ratio", "ratio with lookup", "at least")
"""Titles of the columns of :meth:`Row.cells`."""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
