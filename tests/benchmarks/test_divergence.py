"""Next-token distributions diverge as in cases with known values."""

from __future__ import annotations

import math

import pytest
import torch

from common.divergence import Divergence

HALVES = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()


LEANING = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()


TARGETS = torch.tensor([0, 1])


def test_a_model_does_not_diverge_from_itself() -> None:
    """Perplexity follows from the actual tokens, and a model does not diverge from itself."""
    found = Divergence()
    found.add(LEANING, LEANING, TARGETS)

    assert found.perplexity == pytest.approx(1 / 0.75)
    assert (found.kl, found.same_first) == (0, 1)


def test_divergence_is_of_the_candidate_from_the_reference() -> None:
    """Log ratios are weighted by the reference's probabilities, so the order of models matters."""
    found, other = Divergence(), Divergence()
    found.add(LEANING, HALVES, TARGETS)
    other.add(HALVES, LEANING, TARGETS)

    assert found.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert other.kl == pytest.approx(0.5 * math.log(1 / 1.5) + 0.5 * math.log(2))
    assert found.perplexity == pytest.approx(2)
    assert found.same_first == 0.5


def test_sums_do_not_depend_on_blocks() -> None:
    """Rows added separately give the same sums as rows added together."""
    together, apart = Divergence(), Divergence()
    together.add(LEANING, HALVES, TARGETS)
    for row in range(2):
        apart.add(LEANING[row : row + 1], HALVES[row : row + 1], TARGETS[row : row + 1])

    assert apart.tokens == together.tokens == 2
    assert apart.kl == pytest.approx(together.kl)
