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
"""Version of the saved report; only reports of the same version are comparable."""


class Unit(StrEnum):
    RATE = "tok/s"
    MILLISECONDS = "ms"
    SECONDS = "s"
    BYTES = "bytes"
    TOKENS = "tokens"
    READING = "bytes/s"
    MULTIPLYING = "op/s"

    @property
    def more_is_better(self) -> bool:
        return self in (Unit.RATE, Unit.READING, Unit.MULTIPLYING)

    def show_between(self, low: float, high: float) -> str:
        """Format a range, or return "" if both ends are equal."""
        first, last = self.show(low), self.show(high)
        if low == high:
            return ""
        common = f" {last.rpartition(' ')[2]}"  # The shared unit
        return f"{first.removesuffix(common)} - {last}"

    def show(self, value: float) -> str:
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
    """A row of a report. ``limit`` is the machine's limit in the same unit, if known."""

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
        """Return the figure of at least one sample, by default the median."""
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
        """The share of the limit that is reached (1.0: the whole limit)."""
        if self.limit is None:
            return None
        return self.value / self.limit if self.unit.more_is_better else self.limit / self.value


class Report(_Record):
    """The figures of a run. The date is ISO 8601 with the time zone."""

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
        return next((figure for figure in self.figures if (figure.section, figure.name) == (section, name)), None)
