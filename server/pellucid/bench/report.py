"""The report of a benchmark: figures with their spread and the machine's limit."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat

from pellucid.system.atomic_files import human
from pellucid.system.machine import Facts

KIND: Final = "pellucid-bench"
FORMAT: Final = 1
"""Version of the saved report. Reports of another version cannot be compared."""


class Unit(StrEnum):
    """The unit of a figure. Higher is better for rates, lower for all others."""

    RATE = "tok/s"
    MILLISECONDS = "ms"
    SECONDS = "s"
    BYTES = "bytes"
    TOKENS = "tokens"
    READING = "bytes/s"
    MULTIPLYING = "op/s"

    @property
    def more_is_better(self) -> bool:
        """True if a higher figure is better."""
        return self in (Unit.RATE, Unit.READING, Unit.MULTIPLYING)

    def show_between(self, low: float, high: float) -> str:
        """Format a range; empty if it is a point."""
        first, last = self.show(low), self.show(high)
        if low == high:
            return ""
        common = f" {last.rpartition(' ')[2]}"  # the unit, which is shown once
        return f"{first.removesuffix(common)} - {last}"

    def show(self, value: float) -> str:
        """Format a value."""
        match self:
            case Unit.BYTES:
                return human(value)
            case Unit.READING:
                return f"{human(value)}/s"
            case Unit.MULTIPLYING:
                return f"{_three_digits(value / 1e9)} Gop/s"
            case _:
                return f"{_three_digits(value)} {self}"


def _three_digits(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Record):
    """One row: the value, its smallest and largest sample, and the limit of the machine.

    ``limit`` is in the same unit; None if unknown.
    """

    section: str
    name: str
    unit: Unit
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    samples: int
    limit: FiniteFloat | None = None

    @classmethod
    def of(
        cls,
        section: str,
        name: str,
        unit: Unit,
        samples: Sequence[float],
        limit: float | None = None,
        choose: Callable[[Sequence[float]], float] = statistics.median,
    ) -> Self:
        """Return the figure of at least one sample, by default their median."""
        return cls(
            section=section,
            name=name,
            unit=unit,
            value=choose(samples),
            low=min(samples),
            high=max(samples),
            samples=len(samples),
            limit=limit,
        )

    @property
    def reached(self) -> float | None:
        """Share of the limit that is reached, 1.0 being all of it."""
        if self.limit is None:
            return None
        return self.value / self.limit if self.unit.more_is_better else self.limit / self.value


class Report(_Record):
    """The figures of one run.

    ``left_out`` and ``notes`` are sentences; ``date`` is ISO 8601 with the zone.
    """

    kind: Literal["pellucid-bench"] = KIND
    format: Literal[1] = FORMAT
    date: str
    versions: Facts
    machine: Facts
    model: Facts
    setup: Facts
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def find(self, section: str, name: str) -> Figure | None:
        """Return the figure of this name, if it was measured."""
        return next((figure for figure in self.figures if (figure.section, figure.name) == (section, name)), None)
