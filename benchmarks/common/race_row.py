"""One kind of work in a race: what each contestant reached in every round, and whether ours is as fast as it must be."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

OURS, LOOKUP, THEIRS, BENCH, TRANSFORMERS = "Pellucid", "Pellucid, lookup", "llama-server", "llama-bench", "transformers, bfloat16"
CONTESTANTS = (OURS, LOOKUP, THEIRS, BENCH, TRANSFORMERS)
LLAMA = (THEIRS, BENCH)

RATES, TIMES = "tok/s", "ms"
"""More is better of a rate, less of a time."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Which contestant of ours must be how many times as fast as the best of llama.cpp's."""

    who: str
    least: float


@dataclass
class Row:
    """What was reached, by contestant and round, in ``unit``."""

    what: str
    unit: str = RATES
    bar: Bar | None = None
    reached: dict[str, list[float]] = field(default_factory=dict)

    def note(self, who: str, value: float) -> None:
        self.reached.setdefault(who, []).append(value)

    def median(self, who: str) -> float | None:
        """None where this contestant did no such work."""
        return statistics.median(self.reached[who]) if who in self.reached else None

    def ratio(self, who: str) -> float | None:
        """How many times as fast as the best of llama.cpp's this one is; None where either did no such work."""
        ours, theirs = self.median(who), [value for value in map(self.median, LLAMA) if value is not None]
        if ours is None or not theirs:
            return None
        return min(theirs) / ours if self.unit == TIMES else ours / max(theirs)

    @property
    def missed(self) -> str:
        """The sentence that says how the bar was missed; empty where it was not."""
        if self.bar is None:
            return ""
        ratio = self.ratio(self.bar.who)
        if ratio is None:
            return f"{self.what}: {self.bar.who} was not measured; it must be {self.bar.least:g} times as fast as llama.cpp."
        if ratio < self.bar.least:
            return f"{self.what}: {self.bar.who} is {ratio:.2f} times as fast as llama.cpp and must be {self.bar.least:g} times."
        return ""

    def cells(self) -> list[str]:
        """The row of the table: what, unit, the medians of CONTESTANTS, both ratios, and the bar."""
        medians = [_number(self.median(who), 1) for who in CONTESTANTS]
        ratios = [_number(self.ratio(who), 2) for who in (OURS, LOOKUP)]
        bar = f"{self.bar.least:g} ({self.bar.who})" if self.bar else ""
        return [self.what, self.unit, *medians, *ratios, bar]


TITLES = ("work", "unit", *CONTESTANTS, "ratio", "ratio with lookup", "at least")
"""Of the columns of :meth:`Row.cells`."""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
