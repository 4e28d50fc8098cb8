"""Two models' right answers to the same tasks."""

from __future__ import annotations

import pytest

from common.paired_answers import Paired


def test_tasks_are_compared_in_pairs() -> None:
    """Only tasks with different outcomes count, and p and the interval have textbook values."""
    reference = [True] * 90 + [False] * 10
    candidate = [True] * 84 + [False] * 6 + [True] * 2 + [False] * 8
    found = Paired.of(reference, candidate)

    assert (found.only_reference, found.only_candidate, found.tasks) == (6, 2, 100)
    assert found.difference == pytest.approx(-0.04)
    assert found.interval == pytest.approx((-0.0949, 0.0149), abs=1e-4)
    assert found.p == pytest.approx(2 * (1 + 8 + 28) / 256)


def test_the_same_answers_are_no_difference() -> None:
    """Two models with the same right tasks have no difference."""
    found = Paired.of([True, False], [True, False])

    assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)
