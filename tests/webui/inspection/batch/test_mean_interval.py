"""Tests the intervals of means and shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pellucid.learn.metrics import wilson
from pellucid_webui.inspection.batch.mean_interval import mean_interval, share_interval, student_quantile
from support.trial_counts import trial_count

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50)


@settings(max_examples=trial_count(300))
@given(st.integers(1, 5000))
def test_quantile(freedom: int) -> None:
    """The quantile equals SciPy's; beyond 1,000 degrees of freedom to 0.2 %."""
    assert student_quantile(freedom) == pytest.approx(
        float(stats.t.ppf(0.975, freedom)), rel=1e-6 if freedom <= 1000 else 2e-3
    )


@settings(max_examples=trial_count(300))
@given(VALUES)
def test_mean(values: list[float]) -> None:
    """The interval of a mean equals SciPy's, with the mean in the middle."""
    found = mean_interval(values)
    assert found is not None
    error = stats.sem(values)
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-6, abs=1e-4)


@settings(max_examples=trial_count(300))
@given(st.lists(st.floats(0, 1), min_size=1), st.floats(-2, 0), st.floats(1, 2))
def test_bounds(values: list[float], least: float, most: float) -> None:
    """An interval includes the mean, within the bounds; a single value gives the bounds."""
    found = mean_interval(values, least, most)
    assert found is not None
    assert least <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= most
    if len(values) == 1:
        assert (found.low, found.high) == (least, most)


@settings(max_examples=trial_count(300))
@given(VALUES, st.floats(0.1, 10), st.floats(-100, 100))
def test_units(values: list[float], scale: float, shift: float) -> None:
    """An interval does not depend on the unit or the zero of the values."""
    one, other = mean_interval(values), mean_interval([scale * value + shift for value in values])
    assert one is not None
    assert other is not None
    expected = [scale * value + shift for value in (one.value, one.low, one.high)]
    assert [other.value, other.low, other.high] == pytest.approx(expected, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("count", [3, 40])
def test_coverage(count: int) -> None:
    """Of many samples of a normal distribution, 95 % of the intervals have the true mean."""
    samples = np.random.default_rng(7).normal(3.0, 2.0, size=(2000, count))
    found = [mean_interval([float(one) for one in row]) for row in samples]
    covered = sum(one is not None and one.low <= 3.0 <= one.high for one in found)
    assert covered / len(samples) == pytest.approx(0.95, abs=0.015)


@settings(max_examples=trial_count(300))
@given(st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_share(counts: tuple[int, int]) -> None:
    """The interval of a share equals the interval in the evaluation's metrics."""
    found, expected = share_interval(*counts), wilson(*counts)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_no_values() -> None:
    """No values have no mean."""
    assert mean_interval([]) is None
    assert math.isinf(student_quantile(1)) is False
