"""A kind of work in a race: each contestant's figures by round, and Pellucid's bar."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

OURS, LOOKUP, THEIRS, BENCH, IK, OPENVINO, BFLOAT16, FLOAT32 = (
    "Pellucid",
    "Pellucid, lookup",
    "llama-server",
    "llama-bench",
    "ik_llama.cpp",
    "OpenVINO",
    "transformers, bfloat16",
    "transformers, float32",
)
PEERS = (THEIRS, BENCH, IK, OPENVINO, BFLOAT16, FLOAT32)
CONTESTANTS = (OURS, LOOKUP, *PEERS)

RATES, TIMES = "tok/s", "ms"
"""Units: higher is better for rates, lower for times."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A required ratio of Pellucid's speed to the speed of the fastest peer."""

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
        """Return the speed divided by the fastest peer's speed, or None if a figure is missing."""
        ours, theirs = self.median(who), [value for value in map(self.median, PEERS) if value is not None]
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
                f"it must be {self.bar.least:g} times as fast as the fastest peer."
            )
        if ratio < self.bar.least:
            return (
                f"{self.what}: {self.bar.who} is {ratio:.2f} times as fast as the fastest peer "
                f"and must be {self.bar.least:g} times."
            )
        return ""

    def cells(self, contestants: Sequence[str]) -> list[str]:
        """Return the row of the table; :func:`titles` has the titles."""
        medians = [_number(self.median(who), 1) for who in contestants]
        ratios = [_number(self.ratio(who), 2) for who in (OURS, LOOKUP)]
        bar = f"{self.bar.least:g} ({self.bar.who})" if self.bar else ""
        return [self.what, self.unit, *medians, *ratios, bar]


def titles(contestants: Sequence[str]) -> list[str]:
    return ["work", "unit", *contestants, "ratio", "ratio with lookup", "at least"]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
