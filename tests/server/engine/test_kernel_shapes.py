"""The native kernels are correct and stay within memory on the smallest and oddest shapes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.engine.decoders.torch_model import score_rows
from pellucid.engine.model import Interrupt, InterruptedStepError
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_layout import FORMS, Form
from pellucid.engine.native.native_decoder import NativeDecoder, supports
from pellucid.engine.token_scores import MOST_PROBABLE
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import layers_of, new_storage
from support.models.tiny_adapters import random_adapter
from support.models.tiny_decoders import (
    EXPERTS,
    QWEN2,
    QWEN3,
    VARIED,
    batch,
    dequantized,
    distance,
    in_blocks,
    largest_products,
    random_text,
)

CAPACITY = 67
"""Positions of a slot: a block of 64 keys and three more."""

SHAPES: Mapping[str, DecoderConfig] = {
    "the smallest": replace(
        QWEN3, hidden_size=32, intermediate_size=32, layers=1, heads=2, kv_heads=1, head_dim=16, vocab_size=1
    ),
    "a token more than a block": replace(
        QWEN2, hidden_size=96, intermediate_size=160, heads=6, kv_heads=2, head_dim=16, vocab_size=17
    ),
    "an odd number of heads, a window": replace(
        VARIED,
        hidden_size=160,
        intermediate_size=96,
        heads=5,
        kv_heads=1,
        head_dim=32,
        vocab_size=131,
        layers=1,
        kinds=(LayerKind(7),),
        rotated_dims=16,
    ),
    "experts": replace(EXPERTS, intermediate_size=32),
    "a head wider than the rest": replace(
        QWEN3, hidden_size=32, intermediate_size=224, heads=2, kv_heads=2, head_dim=112, vocab_size=3
    ),
}
CHUNKS = (1, 3, 4, 5, 9, 12, 13, 20)
"""Sizes around the size of a tile of 4 or 12 tokens; the sum fills a slot."""


@pytest.fixture(params=SHAPES)
def config(request: pytest.FixtureRequest) -> DecoderConfig:
    assert supports(SHAPES[request.param])
    return SHAPES[request.param]


@pytest.mark.parametrize("rank", [0, 1, 17])
def test_a_slot_is_filled_to_its_last_position(config: DecoderConfig, built: Kernels, rank: int) -> None:
    """Chunks up to the end of the last slot agree with torch, with and without an adapter."""
    model, reference = (
        NativeDecoder(config, pack(config, in_blocks(config).items(), "half-native"), built),
        dequantized(config, in_blocks(config)),
    )
    if rank:
        adapter = random_adapter(config, rank)
        model, reference = model.adapted(adapter), reference.adapted(adapter)
    kv, reference_kv = (new_storage(each, slots=2, capacity=CAPACITY) for each in (model, reference))
    ids, start = random_text(config, CAPACITY), 0
    assert sum(CHUNKS) == CAPACITY
    for count in CHUNKS:
        part = batch([(1, start, ids[start : start + count])])
        actual, expected = model.forward(part, kv), reference.forward(part, reference_kv)
        assert distance(actual, expected) < 0.06
        assert model.logits(actual).values.shape == (count, config.vocab_size)
        start += count
    for layer in layers_of(kv):
        assert np.isnan(layer[0]).all(), "another slot was written to"
        assert not np.isnan(layer[1]).any()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_largest_products(built: Kernels, form: Form) -> None:
    """Sums of the largest numbers and activations do not overflow, for any number of tokens."""
    config, tensors, hidden = largest_products(form)
    head = tensors["lm_head.weight"]
    assert isinstance(head, Blocks)
    model = NativeDecoder(config, pack(config, tensors.items(), "int8-native"), built)
    expected = hidden @ head.dequantized().T
    for count in range(1, 6):
        assert np.array_equal(model.logits(hidden[:count].copy()).values, expected[:count])


def test_the_smallest_activations(built: Kernels) -> None:
    """Activations with a scale that has no finite inverse count as zeros."""
    model = NativeDecoder(QWEN2, pack(QWEN2, in_blocks(QWEN2).items(), "half-native"), built)
    for size in (1e-45, 1e-38, -1e-37):
        logits = model.logits(np.full((1, QWEN2.hidden_size), size, np.float32)).values
        assert np.abs(logits).max() < 1e-33


def test_an_interrupted_batch(config: DecoderConfig, built: Kernels) -> None:
    """An interrupted batch raises an error, and has unchanged results when repeated."""
    model = NativeDecoder(config, pack(config, in_blocks(config).items(), "half-native"), built)
    kv, interrupt = new_storage(model), Interrupt()
    part = replace(batch([(0, 0, random_text(config, 13))]), interrupt=interrupt)
    interrupt.set()
    with pytest.raises(InterruptedStepError):
        model.forward(part, kv)
    interrupt.clear()
    assert np.array_equal(model.forward(part, kv), model.forward(replace(part, interrupt=None), new_storage(model)))


def test_nothing_to_compute(config: DecoderConfig, built: Kernels) -> None:
    """A batch without tokens, and logits of no rows, are empty."""
    model = NativeDecoder(config, pack(config, in_blocks(config).items(), "half-native"), built)
    hidden = model.forward(batch([(0, 0, np.empty(0, np.int64))]), new_storage(model))
    assert hidden.shape == (0, config.hidden_size)
    assert model.logits(hidden).values.shape == (0, config.vocab_size)


def test_figures_of_vocabularies_of_any_size(built: Kernels) -> None:
    """Figures equal torch's for sizes around a vector, a stride and a piece, at the end of memory.

    A row may also be followed by other numbers.
    """
    for vocab, beyond in itertools.product((1, 2, 15, 17, 127, 129, 4095, 4097, 12289), (0, 16)):
        generator = torch.Generator().manual_seed(vocab)
        logits = (torch.randn(5, vocab + beyond, generator=generator) * 6)[:, :vocab]
        ids = torch.tensor([0, vocab - 1, MOST_PROBABLE, vocab // 2, MOST_PROBABLE])
        expected, actual = score_rows(logits.double(), ids, 20), built.score_rows(logits.numpy(), ids.numpy(), 20)
        assert (actual.ids, actual.ranks, actual.top_ids) == (expected.ids, expected.ranks, expected.top_ids)
        assert actual.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert actual.entropies == pytest.approx(expected.entropies, abs=1e-4)
        assert torch.tensor(actual.top_logprobs) == pytest.approx(torch.tensor(expected.top_logprobs), abs=1e-4)
        assert built.score_rows(logits.numpy(), ids.numpy(), 0).top_ids == [[]] * 5
