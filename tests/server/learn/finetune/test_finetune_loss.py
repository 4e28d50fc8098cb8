"""Tests of the loss of finetuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from pellucid.learn.finetune.training import loss
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.loss import batch_loss, capped, head_scale_and_cap, label_weights
from pellucid.learn.finetune.training.samples import Sample
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from support.models.tiny_models import random_ids, tiny_gemma2, tiny_granite

SAMPLES = [
    Sample(tuple(random_ids(30, seed=1)), 1, "text"),
    Sample(tuple(random_ids(21, seed=2)), 15, "infill"),
    Sample(tuple(random_ids(12, seed=3)), 11, "infill"),
]


def test_loss_and_gradient_are_those_of_cross_entropy(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A padded batch, with logits of a few rows at a time, has the samples' loss and gradient."""
    monkeypatch.setattr(loss, "LOGIT_ROWS", 7)
    adapter = TrainableAdapter(base, rank=4, seed=0)
    for parameter in adapter.parameters.values():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(5))
    weights = label_weights(SAMPLES)

    total, parts = batch_loss(adapter.model, SAMPLES, weights)
    total.backward()  # type: ignore[no-untyped-call]
    found = {
        name: parameter.grad.clone() for name, parameter in adapter.parameters.items() if parameter.grad is not None
    }
    for parameter in adapter.parameters.values():
        parameter.grad = None
    plain = torch.zeros(())
    for sample, weight, part in zip(SAMPLES, weights, parts, strict=True):
        ids = torch.tensor(sample.ids)
        logits = base.model(input_ids=ids[None], use_cache=False).logits[0, sample.labelled - 1 : -1]
        nats = F.cross_entropy(logits, ids[sample.labelled :], reduction="sum")
        assert part == pytest.approx(float(nats.detach()), rel=1e-4)
        plain = plain + weight * nats
    plain.backward()  # type: ignore[no-untyped-call]

    assert float(total.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert set(found) == set(adapter.parameters)
    for name, parameter in adapter.parameters.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_granite, tiny_gemma2])
def test_scale_and_cap_of_logits(make: Callable[[], PreTrainedModel]) -> None:
    """Loss, gradient and scores include what the library does to logits after the head."""
    model, ids = make(), torch.tensor(SAMPLES[0].ids)
    weight: Any = model.get_parameter("model.layers.0.mlp.down_proj.weight")

    batch_loss(model, SAMPLES[:1], [1.0])[0].backward()  # type: ignore[no-untyped-call]
    found, weight.grad = weight.grad, None
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    F.cross_entropy(logits, ids[1:], reduction="sum").backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(found, weight.grad, rtol=1e-3, atol=1e-5)
    scale, cap = head_scale_and_cap(model.config)
    hidden = model.model(input_ids=ids[None], use_cache=False).last_hidden_state[0, :-1]
    torch.testing.assert_close(capped(model.lm_head(hidden * scale), cap), logits)


def test_each_kind_counts_by_its_samples() -> None:
    """Two infills of seven labels weigh two thirds of a step, however many labels the text has."""
    text, first, second = label_weights(SAMPLES)

    assert text * 29 == pytest.approx(1 / 3)
    assert first == second
    assert first * 7 == pytest.approx(2 / 3)
