"""Quality figures are right on cases with known values."""

from __future__ import annotations

import math

import pytest
import torch

from common.divergence import Divergence, Paired
from common.text_windows import LEAST_WINDOW, windows

HALVES = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
LEANING = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
TARGETS = torch.tensor([0, 1])


def test_a_model_does_not_diverge_from_itself() -> None:
    """Perplexity follows from the probabilities of the actual tokens, and a model has no divergence from itself."""
    found = Divergence()
    found.add(LEANING, LEANING, TARGETS)

    assert found.perplexity == pytest.approx(1 / 0.75)
    assert (found.kl, found.same_first) == (0, 1)


def test_divergence_is_of_the_candidate_from_the_reference() -> None:
    """The log ratios are weighted by the reference's probabilities; the reverse divergence is a different number."""
    found, other = Divergence(), Divergence()
    found.add(LEANING, HALVES, TARGETS)
    other.add(HALVES, LEANING, TARGETS)

    assert found.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert other.kl == pytest.approx(0.5 * math.log(1 / 1.5) + 0.5 * math.log(2))
    assert found.perplexity == pytest.approx(2)
    assert found.same_first == 0.5


def test_sums_do_not_depend_on_blocks() -> None:
    """Rows that are added one by one give the same sums as rows added together."""
    together, apart = Divergence(), Divergence()
    together.add(LEANING, HALVES, TARGETS)
    for row in range(2):
        apart.add(LEANING[row : row + 1], HALVES[row : row + 1], TARGETS[row : row + 1])

    assert apart.tokens == together.tokens == 2
    assert apart.kl == pytest.approx(together.kl)


def test_tasks_are_compared_in_pairs() -> None:
    """Only tasks that one of the two got right count; McNemar's exact p and Wald's interval have their textbook values."""
    reference = [True] * 90 + [False] * 10
    candidate = [True] * 84 + [False] * 6 + [True] * 2 + [False] * 8
    found = Paired.of(reference, candidate)

    assert (found.only_reference, found.only_candidate, found.tasks) == (6, 2, 100)
    assert found.difference == pytest.approx(-0.04)
    assert found.interval == pytest.approx((-0.0949, 0.0149), abs=1e-4)
    assert found.p == pytest.approx(2 * (1 + 8 + 28) / 256)


def test_the_same_answers_are_no_difference() -> None:
    """Two models that got the same tasks right have no difference."""
    found = Paired.of([True, False], [True, False])

    assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)


def test_windows_do_not_overlap() -> None:
    """Each token is in at most one window, no window spans texts, and all windows together keep to the token limit."""
    texts = [list(range(250)), list(range(1000, 1030)), list(range(2000, 2500))]
    found = [list(window) for window in windows(texts, 100, 500)]

    assert [(window[0], len(window)) for window in found] == [(0, 100), (100, 100), (2000, 100), (2100, 100), (2200, 100)]
    assert all(len(window) >= LEAST_WINDOW for window in found)
    assert [len(window) for window in windows(texts, 100, 270)] == [100, 100, 70]
