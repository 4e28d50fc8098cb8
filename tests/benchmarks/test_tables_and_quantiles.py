"""Quantiles and rows of tables."""

from __future__ import annotations

import pytest

from common.markdown_tables import table
from common.quantiles import quantile


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (0.99, 4), (0.01, 1)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    """A quantile is the smallest value with at least the given share of values at or below."""
    assert quantile([4, 1, 3, 2], share) == value


def test_a_short_row_is_filled() -> None:
    """Missing last columns are filled with empty cells."""
    assert table(["a", "b"], [["1"]]) == "| a | b |\n|---|---|\n| 1 |  |"
