"""Tests of logistic regression, which learns from all positions, reproducibly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pellucid.engine.decoders.byte_window_model import BYTES, histories
from pellucid.learn.train import logistic_trainer
from pellucid.learn.train.bits_per_byte import bits_per_byte
from pellucid.learn.train.logistic_trainer import LogisticPlan
from pellucid.system.progress import Silent
from support.learn.training_texts import as_bytes, text_of
from support.models.recording_progress import Following

PLAN = LogisticPlan(reach=4, bits=10, passes=2, steps=100, rate=0.1)
TRAIN, TEST = [as_bytes(text_of(8000, seed=1)), as_bytes(text_of(900, seed=2))], [as_bytes(text_of(2000, seed=3))]


def test_it_learns() -> None:
    """A seed repeats weights far better than byte frequencies, from all positions or the most."""
    following = Following()
    fitted = logistic_trainer.fit(TRAIN, PLAN, 0, following)

    assert fitted.seen == 2 * sum(map(len, TRAIN))
    assert following.bars[-1].done == following.bars[-1].total == fitted.seen
    assert bits_per_byte(fitted.model, TEST) < 1.3
    one = logistic_trainer.fit(TRAIN, replace(PLAN, reach=1), 0, Silent()).model
    assert bits_per_byte(one, TEST) > 1.8

    again, other = (logistic_trainer.fit(TRAIN, PLAN, seed, Silent()).model.weights for seed in (0, 1))
    assert torch.equal(fitted.model.weights.weight, again.weight)
    assert torch.equal(fitted.model.weights.bias, again.bias)
    assert not torch.equal(fitted.model.weights.weight, other.weight)


def test_most_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training stops at the plan's positions, except for the rest of a piece."""
    monkeypatch.setattr(logistic_trainer, "PIECE_POSITIONS", 700)
    assert 1000 <= logistic_trainer.fit(TRAIN, replace(PLAN, most=1000), 0, Silent()).seen < 1700


def test_a_text_of_two_bytes() -> None:
    """A text of two different bytes has a single classifier for both probabilities."""
    text = as_bytes("ab" * 2000)
    model = logistic_trainer.fit([text], replace(PLAN, reach=2), 0, Silent()).model
    probabilities = model.logits(histories(torch.from_numpy(text[:10]), 2)).softmax(-1)
    assert probabilities[5, ord("b")] > 0.95
    assert probabilities[6, ord("a")] > 0.95
    assert 0 < probabilities[5, :BYTES].min() < 1e-3


def test_a_shorter_plan() -> None:
    """A share of the time takes a share of the positions and steps."""
    plan = LogisticPlan().shortened(0.1)
    assert (plan.most, plan.steps) == (250_000, 100)
    assert LogisticPlan().shortened(1.0) == LogisticPlan()
