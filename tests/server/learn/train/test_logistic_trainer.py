"""Tests of logistic regression, which learns from all positions, reproducibly."""

from __future__ import annotations

import pytest
import torch

from pellucid.engine.decoders.byte_window_model import BYTES, histories
from pellucid.learn.train import logistic_trainer
from pellucid.learn.train.bits_per_byte import bits_per_byte
from pellucid.learn.train.logistic_trainer import LogisticPlan
from pellucid.system.progress import Silent
from support.learn.training_texts import as_bytes, text_of
from support.models.recording_progress import Following

PLAN = LogisticPlan(reach=4, bits=12, passes=2)
TRAIN, TEST = [as_bytes(text_of(20_000, seed=1)), as_bytes(text_of(900, seed=2))], [as_bytes(text_of(2000, seed=3))]


@pytest.mark.slow
def test_it_learns() -> None:
    """The regression is far better than byte frequencies, and reports the number of positions."""
    following = Following()
    fitted = logistic_trainer.fit(TRAIN, PLAN, 0, following)

    assert fitted.seen == 2 * sum(map(len, TRAIN))
    assert following.bars[-1].done == following.bars[-1].total == fitted.seen
    assert bits_per_byte(fitted.model, TEST) < 1.9
    one = LogisticPlan(reach=1, bits=12, passes=2)
    assert bits_per_byte(logistic_trainer.fit(TRAIN, one, 0, Silent()).model, TEST) > 2.0


@pytest.mark.slow
def test_a_seed_repeats() -> None:
    """The same seed has the same weights, and a different seed has different weights."""
    first, second, other = (logistic_trainer.fit(TRAIN, PLAN, seed, Silent()).model.weights for seed in (3, 3, 4))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.slow
def test_most_places() -> None:
    """Training stops at the plan's positions, except for the rest of a piece."""
    fitted = logistic_trainer.fit(TRAIN, LogisticPlan(reach=2, bits=10, most=5000), 0, Silent())
    assert 5000 <= fitted.seen < 5000 + logistic_trainer.PIECE_POSITIONS


def test_a_text_of_two_bytes() -> None:
    """A text of two different bytes has a single classifier for both probabilities."""
    text = as_bytes("ab" * 2000)
    model = logistic_trainer.fit([text], LogisticPlan(reach=2, bits=8), 0, Silent()).model
    probabilities = model.logits(histories(torch.from_numpy(text[:10]), 2)).softmax(-1)
    assert probabilities[5, ord("b")] > 0.95
    assert probabilities[6, ord("a")] > 0.95
    assert 0 < probabilities[5, :BYTES].min() < 1e-3


def test_a_shorter_plan() -> None:
    """A share of the time takes a share of the positions and steps."""
    plan = LogisticPlan().shortened(0.1)
    assert (plan.most, plan.steps) == (250_000, 100)
    assert LogisticPlan().shortened(1.0) == LogisticPlan()


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C within a piece ends training without a result."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn.neural_network._multilayer_perceptron.gen_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        logistic_trainer.fit(TRAIN, PLAN, 0, Silent())
