"""The protocol of evaluations: suites, questions, records and measures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.learn.metrics import Bin, Interval, bootstrap, wilson

Facts = dict[str, Any]
"""The record of a question and answer, as JSON."""

Rows = NDArray[np.int64]
Statistic = Callable[[Rows], float]
"""Computes a figure from the records with the given numbers, which may repeat."""

AT_ONCE = 4


class FigureFormat(StrEnum):
    SHARE = "share"
    NUMBER = "number"
    RATE = "tok/s"
    BYTES = "bytes"
    COUNT = "count"


class Better(StrEnum):
    """NEITHER is for a probe of preferences."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """An answered question. ``unit`` is a file or a problem, for resampling."""

    id: str
    unit: str
    facts: Facts
    usage: Mapping[str, float] = field(default_factory=dict)


Records = Mapping[str, Sequence[SuiteRecord]]
"""Records by the name of the suite."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure. ``prepare`` takes all facts and returns the value for any resample.

    ``applies`` selects records. Values are from ``least`` to ``most``. A ``binary`` figure is a
    share of records. Short tables omit figures with ``detail``. ``weight`` is the number of cases
    represented by a record, also to be used by ``prepare``; Wilson intervals then use the effective
    number of records or units.
    """

    name: str
    prepare: Callable[[Sequence[Facts]], Statistic]
    form: FigureFormat = FigureFormat.SHARE
    better: Better = Better.HIGHER
    group: str = ""
    applies: Callable[[Facts], bool] = lambda facts: True
    binary: bool = False
    detail: bool = False
    least: float = -math.inf
    most: float = math.inf
    weight: Callable[[Facts], float] | None = None

    def of(self, records: Sequence[SuiteRecord]) -> Metric | None:
        """Return the figure with a 95 % interval: Wilson for shares of units, else bootstrap.

        None if no record applies.
        """
        own = [record for record in records if self.applies(record.facts)]
        if not own:
            return None
        statistic, value = self._value(own)
        units = _Units([record.unit for record in own])
        # Counted, not sampled.
        if self.form in (FigureFormat.BYTES, FigureFormat.COUNT):
            return Metric(self, Interval(value, value, value), len(own), units.count)
        if self.binary and units.count == len(own):
            count = self._effective(own)
            successes = round(value * count) if self.weight is None else value * count
            return Metric(self, wilson(successes, count), len(own), units.count)
        most = 1.0 if self.form is FigureFormat.SHARE else self.most
        interval = bootstrap([units.numbers], lambda drawn: statistic(units.rows(drawn)), bounds=(self.least, most))
        # All resamples are equal, but the figure is not certain.
        if self.form is FigureFormat.SHARE and value in (0.0, 1.0):
            count = self._effective(own)
            interval = wilson(value * count, count)
        return Metric(self, interval, len(own), units.count)

    def value(self, records: Sequence[SuiteRecord]) -> float | None:
        """Return the figure without an interval (fast); None if no record applies."""
        own = [record for record in records if self.applies(record.facts)]
        return self._value(own)[1] if own else None

    def _value(self, own: Sequence[SuiteRecord]) -> tuple[Statistic, float]:
        statistic = self.prepare([record.facts for record in own])
        return statistic, statistic(np.arange(len(own)))

    def _effective(self, own: Sequence[SuiteRecord]) -> float:
        """Return the number of units; fewer for units of unequal weight (Kish 1965)."""
        sizes: defaultdict[str, float] = defaultdict(float)
        for record in own:
            sizes[record.unit] += 1 if self.weight is None else self.weight(record.facts)
        if self.weight is None:
            return len(sizes)
        return sum(sizes.values()) ** 2 / sum(size * size for size in sizes.values())

    def difference(self, before: Sequence[SuiteRecord], after: Sequence[SuiteRecord]) -> Interval | None:
        """Return the change between records of the same questions; None if no pair applies."""
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if self.applies(a.facts) and self.applies(b.facts)]
        if not pairs:
            return None
        first, second = (self.prepare([record.facts for record in side]) for side in zip(*pairs, strict=True))
        units = _Units([record.unit for record, _ in pairs])

        def gap(drawn: NDArray[np.float64]) -> float:
            rows = units.rows(drawn)
            return second(rows) - first(rows)

        return bootstrap([units.numbers], gap)


@dataclass(frozen=True, slots=True)
class Metric:
    measure: Measure
    interval: Interval
    records: int
    units: int


@dataclass(frozen=True, slots=True)
class Diagram:
    title: str
    bins: tuple[Bin, ...]


class Question(Protocol):
    """A question to a model."""

    @property
    def id(self) -> str:
        """The name in the suite, the same in every run."""
        ...

    @property
    def unit(self) -> str:
        """The unit for resampling."""
        ...

    async def ask(self, session: ModelSession) -> Facts: ...


class Independent:
    """A question that is a unit of its own."""

    __slots__ = ()
    id: str

    @property
    def unit(self) -> str:
        return self.id


class Suite(Protocol):
    """A benchmark."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Ability]]
    at_once: ClassVar[int] = AT_ONCE
    derived: ClassVar[bool] = False
    """True for checks of other suites' answers, recomputed in every run."""
    timed: ClassVar[bool] = False
    """True for measurements of the machine: records from elsewhere are discarded."""
    protocol: ClassVar[int] = 1
    """Increased when prompts, stops, limits or judging change, to invalidate earlier records."""
    settings: Mapping[str, Any]
    """Everything else that determines the answers, except the number of questions, as JSON."""
    asked: Sequence[Question] = ()
    """The questions, if they depend on neither the model nor other suites."""

    @property
    def header(self) -> dict[str, Any]:
        """The facts shared by the records and results of a run."""
        return {"protocol": self.protocol, **self.settings}

    async def questions(self, session: ModelSession, earlier: Records) -> Sequence[Question]:
        """Return the questions. ``earlier`` has the records of suites that ran before."""
        return self.asked

    def gate(self, subject: Subject) -> Mapping[str, float]:
        """Return the coefficients applied to the records. A new gate needs no new answers."""
        return {}

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        """Return sentences that help to interpret the figures."""
        ...

    def diagrams(self, facts: Sequence[Facts]) -> list[Diagram]:
        return []


def having(kind: str, name: str) -> Callable[[Facts], bool]:
    return lambda one: bool(one[kind] == name)


def mean(
    name: str,
    value: Callable[[Facts], float],
    weight: Callable[[Facts], float] = lambda facts: 1.0,
    *,
    convert: Callable[[float], float] = lambda figure: figure,
    form: FigureFormat = FigureFormat.SHARE,
    better: Better = Better.HIGHER,
    group: str = "",
    applies: Callable[[Facts], bool] = lambda facts: True,
    detail: bool = False,
    least: float = -math.inf,
) -> Measure:
    """Return a measure: sum of values / sum of weights, converted. NaN if the weights are 0."""

    def prepare(facts: Sequence[Facts]) -> Statistic:
        values, weights = (np.array([take(one) for one in facts], dtype=np.float64) for take in (value, weight))

        def statistic(rows: Rows) -> float:
            total = float(weights[rows].sum())
            return convert(float(values[rows].sum()) / total) if total else math.nan

        return statistic

    return Measure(name, prepare, form, better, group, applies, detail=detail, least=least)


def share(
    name: str,
    holds: Callable[[Facts], bool],
    *,
    better: Better = Better.HIGHER,
    group: str = "",
    applies: Callable[[Facts], bool] = lambda facts: True,
    detail: bool = False,
    weight: Callable[[Facts], float] | None = None,
) -> Measure:
    """Return a measure: the (weighted) share of records that satisfy a condition."""
    if weight is None:
        counted = mean(name, lambda facts: float(holds(facts)))
    else:
        counted = mean(name, lambda facts: weight(facts) * holds(facts), weight)
    return Measure(
        name, counted.prepare, FigureFormat.SHARE, better, group, applies, binary=True, detail=detail, weight=weight
    )


class _Units:
    """Maps units to records: a resampled unit includes all records of the unit."""

    def __init__(self, units: Sequence[str]) -> None:
        order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        numbers = np.array([order[unit] for unit in units], dtype=np.int64)
        self.count = len(order)
        self.numbers = np.arange(self.count)
        self._members = np.argsort(numbers, kind="stable")
        self._sizes = np.bincount(numbers, minlength=self.count)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def rows(self, drawn: NDArray[np.float64]) -> Rows:
        units = drawn.astype(np.int64)
        if self.count == len(self._members):
            return self._members[units]
        sizes = self._sizes[units]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        rows: Rows = self._members[np.repeat(self._starts[units], sizes) + within]
        return rows
