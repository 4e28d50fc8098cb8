"""The nouns of an evaluation: a suite asks a model questions, keeps a record of each, and summarizes the records by measures."""

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
"""The record of one question and its answer, as JSON."""

Rows = NDArray[np.int64]
Statistic = Callable[[Rows], float]
"""Computes a figure from the records with these numbers, which may repeat."""

AT_ONCE = 4
"""Questions that are asked concurrently."""


class FigureFormat(StrEnum):
    """Formats of a figure."""

    SHARE = "share"
    NUMBER = "number"
    RATE = "tok/s"
    BYTES = "bytes"
    COUNT = "count"


class Better(StrEnum):
    """Direction in which a figure improves; a probe of preferences has none."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """One question that was asked: its name, its unit (a file or a problem), what was observed, and its cost.

    Intervals come from resampling units.
    """

    id: str
    unit: str
    facts: Facts
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a suite: ``prepare`` takes the facts of all records and returns the figure's value for any resample of them.

    ``applies`` selects the records that the figure is about, such as those of a category. A
    ``binary`` figure is the share of records with a yes. A figure with ``detail`` is left out of
    short tables. No value is below ``least`` or above ``most``. ``weight`` is the number of cases
    that a record represents; ``prepare`` has to use it, too, and Wilson's intervals are then those
    of the effective number of records or units.
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
        """Return the figure with its 95 % interval: Wilson's for shares of units, else the bootstrap's. None if no record has it."""
        own = [record for record in records if self.applies(record.facts)]
        if not own:
            return None
        statistic, value = self._value(own)
        units = _Units([record.unit for record in own])
        if self.form in (FigureFormat.BYTES, FigureFormat.COUNT):  # counted, not sampled
            return Metric(self, Interval(value, value, value), len(own), units.count)
        if self.binary and units.count == len(own):
            count = self._effective(own)
            successes = round(value * count) if self.weight is None else value * count
            return Metric(self, wilson(successes, count), len(own), units.count)
        most = 1.0 if self.form is FigureFormat.SHARE else self.most
        interval = bootstrap([units.numbers], lambda drawn: statistic(units.rows(drawn)), bounds=(self.least, most))
        if self.form is FigureFormat.SHARE and value in (
            0.0,
            1.0,
        ):  # all resamples are equal, but that does not make the figure certain
            count = self._effective(own)
            interval = wilson(value * count, count)
        return Metric(self, interval, len(own), units.count)

    def value(self, records: Sequence[SuiteRecord]) -> float | None:
        """Return the figure without an interval, which is fast. None if no record has it."""
        own = [record for record in records if self.applies(record.facts)]
        return self._value(own)[1] if own else None

    def _value(self, own: Sequence[SuiteRecord]) -> tuple[Statistic, float]:
        statistic = self.prepare([record.facts for record in own])
        return statistic, statistic(np.arange(len(own)))

    def _effective(self, own: Sequence[SuiteRecord]) -> float:
        """Return the number of units, less if some stand for more cases than others (Kish 1965)."""
        sizes: defaultdict[str, float] = defaultdict(float)
        for record in own:
            sizes[record.unit] += 1 if self.weight is None else self.weight(record.facts)
        if self.weight is None:
            return len(sizes)
        return sum(sizes.values()) ** 2 / sum(size * size for size in sizes.values())

    def difference(self, before: Sequence[SuiteRecord], after: Sequence[SuiteRecord]) -> Interval | None:
        """Return the change from ``before`` to ``after``, which hold the same questions in the same order. None if no pair has it."""
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
    """The value of a measure for one model, with the number of records and units."""

    measure: Measure
    interval: Interval
    records: int
    units: int


@dataclass(frozen=True, slots=True)
class Diagram:
    """A reliability diagram."""

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
        """The unit that the question belongs to."""
        ...

    async def ask(self, session: ModelSession) -> Facts:
        """Ask the model and judge its answer."""
        ...


class Suite(Protocol):
    """A benchmark: its name, the abilities it needs of a model, and the settings that decide its answers."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Ability]]
    at_once: ClassVar[int] = AT_ONCE
    derived: ClassVar[bool] = False
    """True if it asks nothing and judges the answers of other suites.
    It is then recomputed in every run.
    """
    timed: ClassVar[bool] = False
    """True if it measures the machine too.
    Records from other versions or another machine are then discarded.
    """
    protocol: ClassVar[int] = 1
    """Increased when prompts, stops, limits or judging change.
    Earlier records then belong to another run.
    """

    @property
    def header(self) -> dict[str, Any]:
        """The facts that records and results must share to belong to one run."""
        return {"protocol": self.protocol, **self.settings}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything other than the protocol that decides the answers, as JSON, except their number."""
        ...

    async def questions(
        self, session: ModelSession, earlier: Mapping[str, Sequence[SuiteRecord]]
    ) -> Sequence[Question]:
        """Return the questions.

        ``earlier`` holds the records of suites that ran before, for suites that judge their
        answers.
        """
        ...

    def gate(self, subject: Subject) -> Mapping[str, float]:
        """Return the coefficients by which the records are judged.

        Another gate changes the figures, but nothing is asked again.
        """
        return {}

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        """Return what a reader must know to interpret the figures, in sentences."""
        ...

    def diagrams(self, facts: Sequence[Facts]) -> list[Diagram]:
        """Return reliability diagrams, if there are probabilities to judge."""
        return []


def having(kind: str, name: str) -> Callable[[Facts], bool]:
    """Return a predicate: the record's fact ``kind`` is ``name``."""
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
    """Return a measure: the sum of values divided by the sum of weights, converted.

    Without weights it is a mean. NaN for no weight.
    """

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
    """Return a measure: the share of records that satisfy a condition, each counted as often as its ``weight`` says."""
    if weight is None:
        counted = mean(name, lambda facts: float(holds(facts)))
    else:
        counted = mean(name, lambda facts: weight(facts) * holds(facts), weight)
    return Measure(
        name, counted.prepare, FigureFormat.SHARE, better, group, applies, binary=True, detail=detail, weight=weight
    )


class _Units:
    """Maps units to their records, so that resampling a unit takes all of its records."""

    def __init__(self, units: Sequence[str]) -> None:
        order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        numbers = np.array([order[unit] for unit in units], dtype=np.int64)
        self.count = len(order)
        self.numbers = np.arange(self.count)
        self._members = np.argsort(numbers, kind="stable")
        self._sizes = np.bincount(numbers, minlength=self.count)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def rows(self, drawn: NDArray[np.float64]) -> Rows:
        """Return the numbers of the records of the resampled units."""
        units = drawn.astype(np.int64)
        if self.count == len(self._members):
            return self._members[units]
        sizes = self._sizes[units]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        rows: Rows = self._members[np.repeat(self._starts[units], sizes) + within]
        return rows
