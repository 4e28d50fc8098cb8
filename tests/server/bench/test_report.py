"""Figures have a median, a spread, a better direction and a readable format."""

from __future__ import annotations

import pytest

from pellucid.bench.report import Figure, Unit


def test_figure_of_samples() -> None:
    """A figure is the median of the samples, between the smallest and the largest sample."""
    figure = Figure.of("decode", "one stream", Unit.RATE, [30, 50, 31])

    assert (figure.value, figure.low, figure.high, figure.samples, figure.limit) == (31, 30, 50, 3, None)
    assert figure.reached is None


@pytest.mark.parametrize(
    ("unit", "value", "limit", "reached"),
    [(Unit.RATE, 30, 40, 0.75), (Unit.MILLISECONDS, 40, 30, 0.75), (Unit.RATE, 44, 40, 1.1)],
)
def test_how_much_of_the_limit_is_reached(unit: Unit, value: float, limit: float, reached: float) -> None:
    """A rate reaches the limit from below, a time from above, and larger values are shown."""
    assert Figure.of("s", "n", unit, [value], limit).reached == pytest.approx(reached)


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        (Unit.RATE, 1461.4, "1,461 tok/s"),
        (Unit.RATE, 43.21, "43.2 tok/s"),
        (Unit.MILLISECONDS, 7.949, "7.95 ms"),
        (Unit.SECONDS, 0.0, "0.00 s"),
        (Unit.BYTES, 632_838_632, "633 MB"),
        (Unit.READING, 20.6e9, "20.6 GB/s"),
        (Unit.MULTIPLYING, 0.68e12, "680 Gop/s"),
        (Unit.TOKENS, 1, "1.00 tokens"),
    ],
)
def test_values_for_people(unit: Unit, value: float, shown: str) -> None:
    """Values have three digits and a unit."""
    assert unit.show(value) == shown


@pytest.mark.parametrize(
    ("unit", "low", "high", "shown"),
    [
        (Unit.RATE, 544, 847, "544 - 847 tok/s"),
        (Unit.BYTES, 900e6, 1.2e9, "900 MB - 1.2 GB"),
        (Unit.READING, 16.5e9, 17e9, "16.5 - 17.0 GB/s"),
        (Unit.SECONDS, 2, 2, ""),
    ],
)
def test_ranges_for_people(unit: Unit, low: float, high: float, shown: str) -> None:
    """A shared unit appears once, and a point has no range."""
    assert unit.show_between(low, high) == shown
