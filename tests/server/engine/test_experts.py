"""The experts of an MLP on the kernels, and their choice by a router."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.engine.decoders.decoder_config import DecoderConfig, Experts
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.model import ExpertChoices
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import new_storage
from support.models.tiny_decoders import EXPERTS, batch, dequantized, distance, in_blocks, random_text

CHOICES = {
    "2 of 6": Experts(6, 2),
    "3 of 7, not normalized": Experts(7, 3, normalized=False),
    "1 of 33": Experts(33, 1),
}


@pytest.fixture(params=CHOICES)
def config(request: pytest.FixtureRequest) -> DecoderConfig:
    return replace(EXPERTS, layers=1, experts=CHOICES[request.param])


def native(config: DecoderConfig, tensors: dict[str, Weight], kernels: Kernels) -> NativeDecoder:
    return NativeDecoder(config, pack(config, tensors.items(), "half-native"), kernels)


def test_the_experts_with_the_highest_scores(config: DecoderConfig, built: Kernels) -> None:
    """Each token is computed by torch's choice of experts.

    Attention adds nothing here, so the router's input is not rounded.
    """
    tensors = in_blocks(config)
    tensors["layers.0.self_attn.o_proj.weight"] = np.zeros((128, 960), np.float32)
    model, reference = native(config, tensors, built), dequantized(config, tensors)
    part = batch([(0, 0, random_text(config, 90)), (1, 0, random_text(config, 7, 1))])
    expected = reference.forward(part, new_storage(reference, capacity=90)).numpy()
    for actual, row in zip(model.forward(part, new_storage(model, capacity=90)), expected, strict=True):
        assert distance(actual, row) < 0.03


def test_company_changes_no_bit(config: DecoderConfig, built: Kernels) -> None:
    """A token has the same bits alone, in a text and among other texts."""
    model, ids = native(config, in_blocks(config), built), random_text(config, 60)
    kv, others = new_storage(model, capacity=100), random_text(config, 100, 1)
    expected = model.forward(batch([(0, 0, ids)]), kv)
    alone = [model.forward(batch([(1, i, ids[i : i + 1])]), kv)[0] for i in range(60)]
    assert np.array_equal(alone, expected)
    together = model.forward(batch([(2, 0, others), (3, 0, ids)]), kv)
    assert np.array_equal(together[100:], expected)


def test_only_the_chosen_experts_matter(built: Kernels) -> None:
    """Other numbers in an expert change the tokens of this expert, and no bit of other tokens."""
    config = replace(EXPERTS, layers=1, experts=Experts(6, 2))
    tensors, part = in_blocks(config), batch([(0, 0, random_text(config, 60))])
    first, down = native(config, tensors, built), tensors["layers.0.mlp.down_proj.weight"]
    assert isinstance(down, Blocks)
    down.scale[:128] *= 2  # The first expert has the rows of the residual stream.
    second = native(config, tensors, built)
    rows = [model.forward(part, new_storage(model, capacity=60)) for model in (first, second)]
    is_same = (rows[0] == rows[1]).all(axis=1)
    assert 20 < is_same.sum() < 60


def test_invalid_scores(built: Kernels) -> None:
    """A router with invalid scores gives invalid hidden states, and no access out of bounds."""
    config = replace(EXPERTS, layers=1, experts=Experts(6, 2))
    tensors = in_blocks(config)
    tensors["layers.0.mlp.router.weight"] = np.full((6, 128), np.nan, np.float32)
    model = native(config, tensors, built)
    assert np.isnan(model.forward(batch([(0, 0, random_text(config, 20))]), new_storage(model))).all()


def test_report_of_the_choice(built: Kernels) -> None:
    """Rows report the router's experts with their weights, as in torch, whatever the other rows."""
    config = replace(EXPERTS, layers=2, experts=Experts(6, 2))
    tensors = in_blocks(config)
    model, reference = native(config, tensors, built), dequantized(config, tensors)
    ids, others = random_text(config, 40), random_text(config, 9, 1)
    expected, found = ExpertChoices(), ExpertChoices()
    alone = replace(batch([(0, 0, ids)]), choices=expected)
    reference.forward(alone, new_storage(reference, capacity=40))
    together = batch([(1, 0, others), (0, 0, ids)])
    wanted = replace(together, rows=np.asarray([20, 48]), choices=found)  # Row 9 + i is token i.
    model.forward(wanted, new_storage(model, capacity=40))
    for row, token in enumerate([11, 39]):
        for layer, layer_expected in zip(found.of(row), expected.of(token), strict=True):
            assert [expert for expert, _ in layer] == [expert for expert, _ in layer_expected]
            assert np.allclose([weight for _, weight in layer], [weight for _, weight in layer_expected], atol=0.02)
            assert sum(weight for _, weight in layer) == pytest.approx(1)
