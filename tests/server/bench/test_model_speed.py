"""The estimate of a model from one of its layers adds up to the whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pellucid.bench import model_speed
from pellucid.bench.model_speed import ANSWER_TOKENS, HEAD_ROWS, WINDOW, estimate
from pellucid.engine import weight_packing
from pellucid.models.catalog import ModelShape

pytestmark = pytest.mark.slow

SHAPE = ModelShape(vocab_size=4 * HEAD_ROWS, hidden_size=128, intermediate_size=256, layers=5, heads=2, kv_heads=1, bits=8, tied=True)


def test_times_of_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystroke reads its tokens in every layer, and each token of its answer passes all layers and the whole head."""
    monkeypatch.setattr(model_speed, "_fastest", lambda run: 0.001 if run().numel() == SHAPE.hidden_size else 0.01)

    found = estimate(SHAPE, "cpu")

    assert found.keystroke == pytest.approx(5 * 0.001 + ANSWER_TOKENS * (5 * 0.001 + 4 * 0.01))


def test_memory_of_the_whole() -> None:
    """The memory is that of the whole model's weights and of one window in its KV cache."""
    config = replace(model_speed._config(SHAPE), layers=SHAPE.layers, vocab_size=SHAPE.vocab_size)
    scheme = weight_packing.choose_scheme("auto", torch.device("cpu"), config)
    weights = model_speed._random_weights(config, SHAPE.bits, blocks=scheme.endswith("-native"))
    whole = weight_packing.build(config, weight_packing.pack(config, weights, scheme), scheme, torch.device("cpu"))

    expected = whole.weight_bytes + WINDOW * whole.cache_shape.bytes_per_token

    assert estimate(SHAPE, "cpu").memory == pytest.approx(expected, rel=0.01)


def test_untied_head_is_counted() -> None:
    """A model whose head is not its embedding takes the memory of both."""
    tied, untied = (estimate(replace(SHAPE, tied=tied), "cpu").memory for tied in (True, False))

    assert untied - tied > SHAPE.vocab_size * SHAPE.hidden_size
