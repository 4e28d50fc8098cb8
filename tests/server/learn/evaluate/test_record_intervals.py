"""Tests of shares and means of records, with their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.learn.evaluate.suite_protocol import FigureFormat, SuiteRecord, mean, share
from pellucid.learn.metrics import wilson


def records(values: list[float], units: list[str] | None = None) -> list[SuiteRecord]:
    return [
        SuiteRecord(str(number), units[number] if units else str(number), {"value": value})
        for number, value in enumerate(values)
    ]


def test_share_of_independent_records() -> None:
    """A share has Wilson's interval, which is wide even if all records agree."""
    found = share("right", lambda one: bool(one["value"])).of(records([1, 1, 0, 1]))
    assert found is not None
    assert found.interval == wilson(3, 4)
    assert (found.records, found.units) == (4, 4)
    assert share("right", lambda one: bool(one["value"])).value(records([1, 1, 0, 1])) == found.interval.value
    assert share("right", lambda one: True, applies=lambda one: False).value(records([1])) is None


def test_units_are_drawn() -> None:
    """Ten records of a problem are a single unit in the interval."""
    values, units = [1.0] * 10 + [0.0] * 10, ["a"] * 10 + ["b"] * 10
    found = share("right", lambda one: bool(one["value"])).of(records(values, units))
    assert found is not None
    assert (found.interval.value, found.interval.low, found.interval.high) == (0.5, 0.0, 1.0)
    assert found.units == 2


def test_agreeing_units_are_not_sure() -> None:
    """If all units agree, the interval is Wilson's for as many trials as units."""
    found = share("right", lambda one: bool(one["value"])).of(records([1.0] * 6, ["a", "a", "b", "b", "c", "c"]))
    assert found is not None
    assert found.interval == wilson(3, 3)


def test_unequal_units() -> None:
    """A resample takes all records of a unit, and the mean is a ratio of sums."""
    values, units = [3.0, 1.0, 1.0, 1.0, 8.0], ["a", "b", "b", "b", "c"]
    found = mean("value", lambda one: one["value"], form=FigureFormat.NUMBER).of(records(values, units))
    assert found is not None
    assert found.interval.value == pytest.approx(14 / 5)
    # Resamples are between 1 and 8. For three units, the interval is widened by Student's t with
    # two degrees of freedom.
    assert found.interval.low == 0
    assert found.interval.high == pytest.approx(2.8 + (8 - 2.8) * 4.303 / 1.96 * math.sqrt(3 / 2), rel=1e-3)


def test_ratio_of_sums() -> None:
    """Weights make a ratio of sums; without any weight the figure is undefined."""
    facts = [{"n": 2.0, "d": 4.0}, {"n": 0.0, "d": 1.0}]
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    found = mean("ratio", lambda one: one["n"], lambda one: one["d"]).of(rows)
    assert found is not None
    assert found.interval.value == pytest.approx(0.4)
    none = mean("ratio", lambda one: one["n"], lambda one: 0.0).of(rows)
    assert none is not None
    assert math.isnan(none.interval.value)
    assert mean("ratio", lambda one: one["n"], applies=lambda one: False).of(rows) is None


def test_difference_of_pairs() -> None:
    """Common difficulty of pairs cancels, so a small gain in each pair is significant."""
    before = list(np.random.default_rng(0).normal(10, 5, 50))
    after = [value + 0.1 for value in before]
    measure = mean("value", lambda one: one["value"], form=FigureFormat.NUMBER)
    found = measure.difference(records(before), records(after))
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert found.excludes_zero
    same = measure.difference(records(before), records(before))
    assert same is not None
    assert not same.excludes_zero


def test_weighted_share() -> None:
    """Records count by weight, and the interval is Wilson's for the effective number."""
    weights = [9.0, 1.0, 1.0, 1.0]
    rows = [SuiteRecord(str(n), str(n), {"weight": weight, "right": n == 0}) for n, weight in enumerate(weights)]
    found = share("right", lambda one: one["right"], weight=lambda one: one["weight"]).of(rows)
    assert found is not None
    effective = 12**2 / (81 + 3)
    assert found.interval == wilson(0.75 * effective, effective)

    together = [SuiteRecord(row.id, "a" if row.id == "0" else "b", {**row.facts, "right": True}) for row in rows]
    found = share("right", lambda one: one["right"], weight=lambda one: one["weight"]).of(together)
    assert found is not None
    effective = 12**2 / (9**2 + 3**2)  # The units weigh 9 and 3.
    assert found.interval == wilson(effective, effective)
