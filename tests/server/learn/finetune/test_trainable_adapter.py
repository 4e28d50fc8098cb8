"""Tests of the adapter in training: gradients, and the folder for peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.low_rank_linear import LowRankLinear
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from support.models.tiny_models import random_ids, reference_logprobs


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_the_formula(bias: bool) -> None:
    """Output and gradients of input, A and B equal torch's own for W x + scale B A x."""
    generator = torch.Generator().manual_seed(3)
    frozen = nn.Linear(12, 7, bias=bias).requires_grad_(requires_grad=False)
    layer = LowRankLinear(frozen, 3, 6.0, generator)
    nn.init.normal_(layer.up, generator=generator)
    hidden = torch.randn(2, 5, 12, generator=generator, requires_grad=True)
    slope = torch.randn(2, 5, 7, generator=generator)
    inputs = (hidden, layer.down, layer.up)

    found = layer(hidden)
    expected = F.linear(hidden, frozen.weight, frozen.bias) + 2.0 * (hidden @ layer.down.T) @ layer.up.T

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, slope), torch.autograd.grad(expected, inputs, slope))


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # The library peft uses an attribute with a former name.
def test_peft_reads_what_is_saved(base: Base, model_folder: Path, tmp_path: Path) -> None:
    """A saved adapter has the same probabilities by peft, and is without effect when off."""
    plain = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    ids = random_ids(30)
    untrained = reference_logprobs(plain, ids)
    adapter = TrainableAdapter(base, rank=4, seed=0)
    torch.testing.assert_close(reference_logprobs(base.model, ids), untrained)
    for parameter in adapter.parameters.values():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(5))
    adapter.save(tmp_path)

    trained = reference_logprobs(base.model, ids)
    by_peft: Any = PeftModel.from_pretrained(plain, tmp_path)
    torch.testing.assert_close(reference_logprobs(by_peft, ids), trained)
    assert (trained - untrained).abs().max() > 0.01
    with adapter.off():
        torch.testing.assert_close(reference_logprobs(base.model, ids), untrained)
