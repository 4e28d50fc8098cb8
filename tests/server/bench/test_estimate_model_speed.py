"""The speed from some layers adds up to the whole model, and the memory is the whole model's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from pellucid.bench import estimate_model_speed
from pellucid.bench.estimate_model_speed import ANSWER_TOKENS, NEW_TOKENS, WINDOW, estimate
from pellucid.engine import weight_packing
from pellucid.engine.model import Logits
from pellucid.models.catalog import ModelShape

pytestmark = pytest.mark.slow

SHAPE = ModelShape(
    vocab_size=4096, hidden_size=128, intermediate_size=256, layers=6, heads=2, kv_heads=1, bits=8, tied=True
)


@pytest.fixture(autouse=True)
def a_third_of_the_layers_and_a_quarter_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(estimate_model_speed._config(SHAPE), layers=1)
    monkeypatch.setattr(estimate_model_speed, "STACK_WEIGHTS", 2 * one.body_parameters)
    monkeypatch.setattr(estimate_model_speed, "HEAD_WEIGHTS", 1024 * SHAPE.hidden_size)


def test_times_of_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystroke reads new tokens in every layer; answer tokens pass all layers and the head."""
    layers, head = {WINDOW: 4.0, NEW_TOKENS: 0.5, 1: 0.01}, 0.1

    def timed(run: partial[Logits]) -> float:
        return head if run.func.__name__ == "logits" else layers[run.args[0]] + head

    monkeypatch.setattr(estimate_model_speed, "_fastest", timed)

    found = estimate(SHAPE, "cpu")

    token = 3 * 0.01 + 4 * head
    assert found.keystroke == pytest.approx(3 * 0.5 + ANSWER_TOKENS * token)
    assert found.first == pytest.approx(3 * 4.0 + ANSWER_TOKENS * token)


@pytest.mark.parametrize(("quant", "tied"), [("auto", True), ("int4", False), ("none", True)])
def test_memory_of_the_whole(quant: str, tied: bool) -> None:
    """The catalog's estimate is near the memory of weights and cache, in any weight form."""
    shape = replace(SHAPE, tied=tied)
    config = replace(estimate_model_speed._config(shape), layers=shape.layers, vocab_size=shape.vocab_size)
    scheme = weight_packing.choose_scheme(quant, "cpu", config)
    weights = estimate_model_speed._random_weights(config, shape, blocks=scheme.endswith("-native"))
    whole = weight_packing.build(config, weight_packing.pack(config, weights, scheme), scheme, "cpu")

    assert estimate(shape, "cpu", quant).scheme == scheme
    assert shape.weight_bytes(scheme) == pytest.approx(whole.weight_bytes, rel=0.02)
    if scheme.endswith("-native"):
        assert shape.cache_bytes_per_token == whole.cache_shape.bytes_per_token
