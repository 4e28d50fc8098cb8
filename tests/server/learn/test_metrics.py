"""Tests of metrics, compared with published or independently computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.learn import metrics

CHANCES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50)


def test_wilson() -> None:
    """The interval is Wilson's (1927; R's prop.test without correction), within 0 and 1."""
    found = metrics.wilson(8, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    assert metrics.wilson(0, 5).low == 0.0
    assert metrics.wilson(5, 5).high == 1.0


class TestReliability:
    @pytest.mark.parametrize("by", ["width", "mass"])
    @given(chances=CHANCES)
    def test_all_are_counted(self, by: metrics.Bins, chances: list[tuple[float, bool]]) -> None:
        """Every prediction is in one bin, and the bins preserve the means."""
        p, y = np.array(chances, dtype=float).T
        bars = metrics.reliability(p, y, 7, by)
        assert sum(bar.count for bar in bars) == len(p)
        assert sum(bar.count * bar.confidence for bar in bars) == pytest.approx(p.sum())
        assert sum(bar.count * bar.accuracy.value for bar in bars) == pytest.approx(y.sum())

    def test_equal_mass(self) -> None:
        """Bins of equal mass differ by at most one prediction, whatever the probabilities."""
        p = np.linspace(0, 1, 100) ** 5
        assert {bar.count for bar in metrics.reliability(p, p > 0.5, 15, "mass")} == {6, 7}

    def test_the_error(self) -> None:
        """Predictions of 0.8 and 0.2, half true, have an error of 0.3, and the base rate has 0."""
        p, y = [0.8] * 10 + [0.2] * 10, [1, 0] * 10
        assert metrics.calibration_error(p, y) == pytest.approx(0.3)
        assert metrics.calibration_error([0.5] * 20, y) == pytest.approx(0)
        assert metrics.brier_skill([0.5] * 20, y) == pytest.approx(0)


@pytest.mark.parametrize("decimals", [1, 15])
def test_against_scikit_learn(decimals: int) -> None:
    """Brier score, log loss and area under the curve are scikit-learn's, also with ties."""
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    generator = np.random.default_rng(0)
    p = generator.random(200).round(decimals)
    y = (generator.random(200) < p).astype(int)
    assert metrics.brier(p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert metrics.auroc(p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert metrics.log_loss(p, y) == pytest.approx(log_loss(y, np.clip(p, 1e-6, 1 - 1e-6)), abs=1e-12)


def test_weights() -> None:
    """Weights count rows like repetitions, with ties, and equal weights change nothing."""
    dice = np.random.default_rng(1)
    p, y, w = dice.integers(0, 6, 60) / 5, dice.integers(0, 2, 60), dice.integers(1, 5, 60)
    assert metrics.auroc(p, y, w) == pytest.approx(metrics.auroc(np.repeat(p, w), np.repeat(y, w)), abs=1e-12)
    for metric in (metrics.calibration_error, metrics.log_loss):
        assert metric(p, y, weights=w) == pytest.approx(metric(np.repeat(p, w), np.repeat(y, w)), abs=1e-12)
    assert metrics.auroc(p, y, np.full(60, 0.5)) == pytest.approx(metrics.auroc(p, y), abs=1e-12)
    assert math.isnan(metrics.auroc([0.1, 0.9], [1, 1], [1, 2]))


def test_one_kind_of_outcome() -> None:
    """If all outcomes are equal, the metrics are NaN."""
    assert math.isnan(metrics.auroc([0.1, 0.9], [1, 1]))
    assert math.isnan(metrics.brier_skill([0.1, 0.9], [1, 1]))


class TestPassAtK:
    def test_by_drawing(self) -> None:
        """pass@k is the share of draws of k answers with a right answer."""
        from itertools import combinations

        answers = [1, 1, 0, 0, 0, 0, 0]
        for k in range(1, 8):
            draws = list(combinations(answers, k))
            assert metrics.pass_at_k(7, 2, k) == pytest.approx(sum(max(draw) for draw in draws) / len(draws))

    def test_too_few_samples(self) -> None:
        """pass@k needs at least k answers."""
        with pytest.raises(ValueError, match="pass@3 needs 3 samples of each task, and there are 2"):
            metrics.pass_at_k(2, 1, 3)


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def difference(before: np.ndarray, after: np.ndarray) -> float:
    return float(after.mean() - before.mean())


class TestBootstrap:
    def test_a_mean(self) -> None:
        """The interval of a mean is close to the normal interval, and reproducible."""
        values = np.random.default_rng(1).normal(3, 2, 400)
        found = metrics.bootstrap([values], mean)
        half = 1.959963984540054 * values.std() / math.sqrt(len(values))
        assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
        assert metrics.bootstrap([values], mean) == found

    def test_pairs(self) -> None:
        """A small change in all pairs is significant, although pairs differ far more."""
        before = np.random.default_rng(2).normal(0, 10, 100)
        found = metrics.bootstrap([before, before + 0.1], difference)
        assert found.excludes_zero
        assert found.value == pytest.approx(0.1)
        assert not metrics.bootstrap([before, before[::-1]], difference).excludes_zero

    @pytest.mark.parametrize("rows", [2, 5, 20])
    def test_few_rows(self, rows: int) -> None:
        """Few pairs without a difference show a difference in little more than 5 % of cases."""
        generator = np.random.default_rng(rows)
        wrong = sum(
            metrics.bootstrap(
                [generator.normal(size=rows), generator.normal(size=rows)], difference, resamples=200
            ).excludes_zero
            for _ in range(200)
        )
        assert wrong <= 22

    def test_never_below_nothing(self) -> None:
        """Widening does not make a share of few tasks negative."""
        found = metrics.bootstrap([np.array([0.0, 0.0, 0.1, 0.4])], mean)
        assert found.low == 0 < found.value < found.high

    def test_bounds(self) -> None:
        """An interval ends at the statistic's bounds."""
        found = metrics.bootstrap([np.array([1.0, 1.0, 0.9, 0.1])], mean, bounds=(0.5, 1.0))
        assert (found.low, found.high) == (0.5, 1.0)
        assert metrics.bootstrap([np.array([0.7])], mean, bounds=(0.0, 1.0)).high == 1.0

    def test_sums(self) -> None:
        """A ratio is of sums: a file counts by its length."""
        found = metrics.ratio_difference([1, 300], [2, 299], [1, 100])
        assert found.value == pytest.approx(0)
        assert metrics.ratio_difference([1, 300], [1, 401], [1, 100]).value == pytest.approx(1)

    def test_one_row(self) -> None:
        """A single row has an infinite interval."""
        found = metrics.bootstrap([np.array([4.0])], mean)
        assert (found.value, found.low, found.high) == (4.0, -math.inf, math.inf)
        assert not found.excludes_zero


def test_mean_of_units() -> None:
    """The interval is Student's t over units, and repeating values within units changes nothing."""
    found = metrics.mean_of_units([1.0, 3.0, 2.0, 4.0, 6.0], [1.0] * 5, [0, 1, 2, 3, 4])
    assert found.value == pytest.approx(3.2)
    assert found.high - found.value == pytest.approx(2.776445 * math.sqrt(3.7 / 5), rel=1e-6)
    twice = metrics.mean_of_units([1.0, 3.0, 2.0, 4.0, 6.0] * 2, [0.5] * 10, [0, 1, 2, 3, 4] * 2)
    assert (twice.low, twice.high) == pytest.approx((found.low, found.high))
