"""Keys and values in int8: rounded once, and independent of the way into the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig, Floats
from pellucid.engine.kv_cache import parked_prefixes, slot_cache
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.native import native_decoder
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.request import Request
from pellucid.engine.weight_packing import pack
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.vocabulary.query import SamplingParams
from support.models.flat_batches import layers_of, new_storage
from support.models.tiny_decoders import QWEN2, VARIED, batch, checkpoint, distance, in_blocks, random_text
from support.models.worker_driver import WorkerDriver

SETTINGS = EngineSettings(slots=1, context=256, chunk=48, prefix_memory=2**20)


@pytest.fixture(params=["qwen2", "varied"])
def exact(request: pytest.FixtureRequest, built: Kernels) -> NativeDecoder:
    config = {"qwen2": QWEN2, "varied": VARIED}[request.param]
    return NativeDecoder(config, pack(config, in_blocks(config).items(), "int8-native"), built)


def dequantized(model: NativeDecoder, index: int, rows: NDArray[np.int8]) -> Floats:
    """Return the numbers (kv_heads, tokens, head_dim) of rows (kv_heads, tokens, head_dim + 4)."""
    scale = np.ascontiguousarray(rows[..., -4:]).view(np.float32)
    numbers: Floats = rows[..., :-4].astype(np.float32) * scale
    if f"layers.{index}.key_balance.weight" in model._packed:  # Values have larger indices.
        numbers *= model._packed[f"layers.{index}.key_balance.weight"][:, None]
    return numbers


def test_numbers_are_the_nearest_multiples(exact: NativeDecoder) -> None:
    """A scale is a 127th of a row's largest balanced number; numbers are rounded to nearest."""
    model, part = exact.with_int8_cache(), batch([(1, 0, random_text(exact.config, 40))])
    kv, exact_kv = new_storage(model), new_storage(exact)
    model.forward(part, kv)
    exact.forward(part, exact_kv)
    for index in (0, exact.config.layers):  # Keys and values of the first layer, whose inputs are equal.
        rows, expected = layers_of(kv)[index][1, :, :40], layers_of(exact_kv)[index][1, :, :40].astype(np.float32)
        balance = 1.0 if index else model._packed["layers.0.key_balance.weight"][:, None]
        step = np.abs(expected / balance).max(-1, keepdims=True) / 127 * balance
        assert (np.abs(rows[..., :-4].astype(int)).max(-1) == 127).all()
        assert (np.abs(dequantized(model, index, rows) - expected) <= 0.5 * step + np.abs(expected) * 2**-10).all()
        assert (layers_of(kv)[index][1, :, 40:] == -1).all()


def test_attends_to_the_rounded_numbers(exact: NativeDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token has the result of a cache in half precision with the numbers of the bytes."""
    monkeypatch.setattr(native_decoder, "key_balances", lambda *_: {})  # Rounding of queries would hide small errors.
    model, ids = exact.with_int8_cache(), random_text(exact.config, 201)
    kv, halves = new_storage(model, capacity=256), new_storage(exact, capacity=256)
    model.forward(batch([(1, 0, ids[:200])]), kv)
    exact.forward(batch([(1, 0, ids[:200])]), halves)
    last = batch([(1, 200, ids[200:])])
    for index, (rows, numbers) in enumerate(zip(layers_of(kv), layers_of(halves), strict=True)):
        numbers[1, :, :200] = dequantized(model, index, rows[1, :, :200])
    limit = 1e-4 if exact.config is QWEN2 else 0.03  # Rounding of activations multiplies differences layer by layer.
    assert distance(model.forward(last, kv), exact.forward(last, halves)) < limit


@pytest.mark.parametrize("config", [QWEN2, VARIED], ids=["biases", "norms"])
def test_balance_changes_no_product(config: DecoderConfig, built: Kernels) -> None:
    """Keys with large dimensions have the result of the exact cache, to the rounding of numbers."""
    tensors = checkpoint(config)
    for name in tensors:
        if name.endswith(("k_proj.bias", "k_norm.weight")):
            tensors[name] = tensors[name] * np.where(np.arange(len(tensors[name])) % 5, 1, 10).astype(np.float32)
    exact, ids = NativeDecoder(config, pack(config, tensors.items(), "int8-native"), built), random_text(config, 200)
    part = batch([(1, 0, ids)])
    hidden = [model.forward(part, new_storage(model, capacity=256)) for model in (exact.with_int8_cache(), exact)]
    assert distance(*hidden) < 0.03


def test_extreme_numbers(built: Kernels) -> None:
    """Keys above the range of halves keep their size, and values of zero stay zero."""
    tensors = checkpoint(QWEN2)
    tensors["layers.0.self_attn.k_proj.bias"] = tensors["layers.0.self_attn.k_proj.bias"] * 1e6
    for kind in ("weight", "bias"):
        tensors[f"layers.0.self_attn.v_proj.{kind}"] = tensors[f"layers.0.self_attn.v_proj.{kind}"] * 0
    model = NativeDecoder(QWEN2, pack(QWEN2, tensors.items(), "int8-native"), built).with_int8_cache()
    kv = new_storage(model)
    assert np.isfinite(model.forward(batch([(0, 0, random_text(QWEN2, 20))]), kv)).all()
    keys, values = (dequantized(model, index, layers_of(kv)[index][0, :, :20]) for index in (0, QWEN2.layers))
    assert 1e5 < np.abs(keys).max() < 1e7
    assert not values.any()


def test_reused_prefixes_change_no_bit(exact: NativeDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logprobs are equal alone, after a continued, a parked and a saved prefix, and in company."""
    monkeypatch.setattr(parked_prefixes, "MIN_PARKED_TOKENS", 4)
    monkeypatch.setattr(slot_cache, "MIN_GAIN_TOKENS", 1)
    model = exact.with_int8_cache()
    text, other = random_text(exact.config, 150, 1).tolist(), random_text(exact.config, 90, 2).tolist()
    request = Request(text, SamplingParams(max_tokens=8, top_logprobs=5), score_from=120)
    stem, rival = (Request(ids, SamplingParams(max_tokens=1)) for ids in (text[:110], other))
    alone = WorkerDriver(model, SETTINGS).run(request)
    assert alone.finish is not None
    assert alone.finish.usage.cached == 0

    file = PrefixFile(tmp_path / "prefixes", "key", model.cache_shape, Path(__file__))
    first = WorkerDriver(model, SETTINGS)
    first.worker.saved = file
    continued = [first.run(each) for each in (stem, request)][-1]
    parked = [first.run(each) for each in (rival, request)][-1]
    first.worker.save()
    later = WorkerDriver(model, SETTINGS)
    later.worker.cache.parked.fill(file.read())
    company = WorkerDriver(model, replace(SETTINGS, slots=3, chunk=31))
    jobs = [company.submit(each) for each in (stem, rival, request)]
    company.finish()

    for job in (continued, parked, later.run(request), jobs[-1]):
        assert job.scores == alone.scores
        assert job.finish is not None
        assert job.finish.usage.cached >= 110
