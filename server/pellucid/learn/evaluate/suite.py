"""The nouns of an evaluation: a suite asks a model questions, keeps a record of each, and sums the records up in measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.metrics import Bin, Interval, bootstrap, wilson

Facts = dict[str, Any]
"""What is noted of one question and its answer: JSON."""

Rows = NDArray[np.int64]
Statistic = Callable[[Rows], float]
"""A figure of the records with these numbers, some of them several times."""

AT_ONCE = 4
"""Questions that are asked at the same time."""


class FigureFormat(StrEnum):
    """How a figure is written."""

    SHARE = "share"
    NUMBER = "number"
    RATE = "tok/s"
    BYTES = "bytes"
    COUNT = "count"


class Better(StrEnum):
    """Which of two figures is the better one; of a probe of preferences neither is."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """One question that was asked: its name, the unit that it belongs to (a file, a problem), what was found, and what it cost.

    Units are what could have been others: intervals come from drawing them anew.
    """

    id: str
    unit: str
    facts: Facts
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a suite: ``prepare`` takes what was found, and gives the figure of any draw of it.

    ``applies`` says which records it is of (a category, say). ``binary``: it is a share of records, each of which says yes or no.
    A figure of ``detail`` is left out of short tables. None is below ``least``.
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

    def of(self, records: Sequence[SuiteRecord]) -> Metric | None:
        """The figure with its 95 % interval; None where no record has it. Wilson's interval for shares of units, else the bootstrap's."""
        own = [record for record in records if self.applies(record.facts)]
        if not own:
            return None
        statistic, value = self._value(own)
        units = _Units([record.unit for record in own])
        if self.form in (FigureFormat.BYTES, FigureFormat.COUNT):  # counted, not sampled
            return Metric(self, Interval(value, value, value), len(own), units.count)
        if self.binary and units.count == len(own):
            return Metric(self, wilson(round(value * len(own)), len(own)), len(own), units.count)
        most = 1.0 if self.form is FigureFormat.SHARE else math.inf
        interval = bootstrap([units.numbers], lambda drawn: statistic(units.rows(drawn)), bounds=(self.least, most))
        if self.form is FigureFormat.SHARE and value in (0.0, 1.0):  # no draw differs, but that does not make it sure
            interval = wilson(value * units.count, units.count)
        return Metric(self, interval, len(own), units.count)

    def value(self, records: Sequence[SuiteRecord]) -> float | None:
        """The figure alone, which is quick; None where no record has it."""
        own = [record for record in records if self.applies(record.facts)]
        return self._value(own)[1] if own else None

    def _value(self, own: Sequence[SuiteRecord]) -> tuple[Statistic, float]:
        statistic = self.prepare([record.facts for record in own])
        return statistic, statistic(np.arange(len(own)))

    def difference(self, before: Sequence[SuiteRecord], after: Sequence[SuiteRecord]) -> Interval | None:
        """How much more it is afterwards, by pairs: the two hold the same questions in the same order. None where no pair has it."""
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
    """A measure's figure for one model: of how many records, in how many units."""

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
    """One thing to ask a model."""

    @property
    def id(self) -> str:
        """Its name in the suite, the same in every run."""
        ...

    @property
    def unit(self) -> str:
        """What it belongs to."""
        ...

    async def ask(self, session: ModelSession) -> Facts:
        """Ask it, and judge the answer."""
        ...


class Suite(Protocol):
    """A benchmark: what it is called, what it needs of a model, and which settings decide its answers."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Ability]]
    at_once: ClassVar[int] = AT_ONCE
    derived: ClassVar[bool] = False
    """Whether it asks nothing, but judges what other suites were answered: then it is done anew in every run."""
    timed: ClassVar[bool] = False
    """Whether it measures the machine beside the model: what was measured with other versions or on another machine is of no use."""
    protocol: ClassVar[int] = 1
    """Raised when the code comes to ask or judge in another way (prompts, stops, most tokens): earlier records are of another run then."""

    @property
    def header(self) -> dict[str, Any]:
        """What records and results must have in common to be of one run."""
        return {"protocol": self.protocol, **self.settings}

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its answers beside the protocol, as JSON, but for how many there are."""
        ...

    async def questions(self, session: ModelSession, earlier: Mapping[str, Sequence[SuiteRecord]]) -> Sequence[Question]:
        """What it asks a model. ``earlier`` are the records of suites that ran before, for those that judge what others were answered."""
        ...

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        """What one has to know to read the figures, in sentences."""
        ...

    def diagrams(self, facts: Sequence[Facts]) -> list[Diagram]:
        """Reliability diagrams, where there are probabilities to judge."""
        return []


def having(kind: str, name: str) -> Callable[[Facts], bool]:
    """Whether a record's fact of this kind has this name."""
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
    """The sum of values by the sum of weights, converted: a mean where no weight is given. NaN for a sum of weights of 0."""

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
) -> Measure:
    """The share of records of which something holds."""
    counted = mean(name, lambda facts: float(holds(facts)))
    return Measure(name, counted.prepare, FigureFormat.SHARE, better, group, applies, binary=True, detail=detail)


class _Units:
    """Which records belong to which unit, for drawing units with all that belongs to them."""

    def __init__(self, units: Sequence[str]) -> None:
        order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        numbers = np.array([order[unit] for unit in units], dtype=np.int64)
        self.count = len(order)
        self.numbers = np.arange(self.count)
        self._members = np.argsort(numbers, kind="stable")
        self._sizes = np.bincount(numbers, minlength=self.count)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def rows(self, drawn: NDArray[np.float64]) -> Rows:
        """The numbers of the records of the units drawn."""
        units = drawn.astype(np.int64)
        if self.count == len(self._members):
            return self._members[units]
        sizes = self._sizes[units]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        rows: Rows = self._members[np.repeat(self._starts[units], sizes) + within]
        return rows
