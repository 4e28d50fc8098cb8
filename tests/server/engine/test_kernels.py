"""The kernels, also with an adapter: results that no company, thread or target changes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.engine.decoders.decoder_config import DecoderConfig, Floats, LayerKind
from pellucid.engine.decoders.lora_matrices import Adapter, LowRank
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.model import NO_STATE, Batch, BatchSpan, Indices, KVStorage, Model, TokenCost
from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_layout import HALF_DTYPES
from pellucid.engine.native.native_decoder import NativeDecoder, supports
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import layers_of, new_storage, states_of
from support.models.quick_compiler import QUICK
from support.models.tiny_adapters import ATTENTION, EVERYTHING, random_adapter
from support.models.tiny_decoders import (
    CONVOLUTIONS,
    DELTA,
    EXPERTS,
    QWEN2,
    TILED,
    VARIED,
    batch,
    checkpoint,
    dequantized,
    distance,
    in_blocks,
    random_text,
)

CONFIGS = {
    "qwen2": QWEN2,
    "varied": VARIED,
    "experts": EXPERTS,
    "convolutions": CONVOLUTIONS,
    "delta net": DELTA,
    "tiled delta net": TILED,
}
SHAPES = {
    "plain": (0, EVERYTHING),
    "rank 1, queries and values": (1, ATTENTION),
    "rank 20": (20, EVERYTHING),
    "rank 16, outputs and ups": (16, ("o_proj", "up_proj")),
}
"""Ranks and matrices of adapters; rank 0 is no adapter."""

each_form = pytest.mark.parametrize(("rank", "int8"), [(0, False), (5, False), (5, True)])
"""Without an adapter, with an adapter, and also with a KV cache in int8."""


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> DecoderConfig:
    return CONFIGS[request.param]


def storage(model: Model) -> KVStorage:
    return new_storage(model, capacity=320)


def native_of(config: DecoderConfig, tensors: Mapping[str, Weight], kernels: Kernels) -> NativeDecoder:
    return NativeDecoder(config, pack(config, tensors.items(), "half-native"), kernels)


def native(
    config: DecoderConfig, kernels: Kernels, rank: int = 0, seed: int = 0, *, int8: bool = False
) -> NativeDecoder:
    """Return a decoder, adapted unless the rank is 0."""
    plain = native_of(config, in_blocks(config), kernels)
    plain = plain.with_int8_cache() if int8 else plain
    return plain.adapted(random_adapter(config, rank, seed=seed)) if rank else plain


def rounding_of(config: DecoderConfig) -> float:
    """Return the largest distance that rounding causes; a recurrence multiplies rounded numbers."""
    return 0.03 if config.recurrence is None else 0.05


def run_in_chunks(model: NativeDecoder, kv: KVStorage, slot: int, ids: Indices, sizes: list[int]) -> Floats:
    """Return hidden states of all tokens, computed in chunks of these sizes, cyclically."""
    out: list[Floats] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(ids):
            return np.concatenate(out)
        part = ids[start : start + size]
        out.append(model.forward(batch([(slot, start, part)]), kv))
        start += len(part)
    raise AssertionError


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_torch_decoder(config: DecoderConfig, built: Kernels, shape: str) -> None:
    """The kernels agree with decoder.py on dequantized weights, to the rounding of activations.

    In a first layer with attention, cached keys and values equal torch's after a single rounding.
    """
    rank, targets = SHAPES[shape]
    rounding = rounding_of(config)
    plain = native(config, built)
    model, reference = plain, dequantized(config, in_blocks(config))
    if rank:
        adapter = random_adapter(config, rank, targets)
        model, reference = model.adapted(adapter), reference.adapted(adapter)
    kv, reference_kv, plain_kv = storage(model), storage(reference), storage(plain)
    first = [(2, 0, random_text(config, 131, 1)), (0, 0, random_text(config, 5, 2))]
    second = [
        (0, 5, random_text(config, 1, 3)),
        (2, 131, random_text(config, 77, 4)),
        (3, 0, random_text(config, 70, 5)),
    ]
    for parts, wanted in ((first, None), (second, np.array([0, 3, 77, 147]))):
        expected = reference.forward(batch(parts, wanted), reference_kv)
        actual = model.forward(batch(parts, wanted), kv)
        assert distance(actual, expected) < rounding
        # The adapter has an effect.
        without = distance(plain.forward(batch(parts, wanted), plain_kv), expected)
        assert (without > 1.5 * distance(actual, expected)) == bool(rank)
        assert distance(model.logits(actual).values, reference.logits(expected).values) < rounding
        assert model.logits(actual).values.shape == (len(expected), config.vocab_size)
    for index in (0, config.attention_layers):
        ours, theirs = layers_of(kv)[index], layers_of(reference_kv)[index]
        limit = rounding if config.layer_kinds[0].recurrent else 0.02
        assert distance(ours[2, :, :208].astype(np.float32), theirs[2, :, :208]) < limit
        assert np.isnan(ours[2, :, 208:]).all()
        assert np.isnan(ours[1]).all()


def test_is_what_merged_weights_give(config: DecoderConfig, built: Kernels) -> None:
    """An adapted model differs from merged weights in eight bits by rounding alone."""
    adapter, tensors = random_adapter(config, 8), checkpoint(config)
    sums = {
        name: tensor + adapter.changes[key].product
        if (key := name.removesuffix(".weight")) in adapter.changes
        else tensor
        for name, tensor in tensors.items()
    }
    plain, merged = (
        NativeDecoder(config, pack(config, each.items(), "int8-native"), built) for each in (tensors, sums)
    )
    part = batch([(0, 0, random_text(config, 100))])
    base, adapted, expected = (model.forward(part, storage(model)) for model in (plain, plain.adapted(adapter), merged))
    assert distance(adapted, expected) < min(0.08, distance(base, expected) / 8)


@each_form
def test_chunks_change_no_bit(config: DecoderConfig, built: Kernels, rank: int, int8: bool) -> None:
    """A text gives the same bits in a single pass and in chunks, hidden states and cache alike."""
    model, ids = native(config, built, rank, int8=int8), random_text(config, 200)
    whole = storage(model)
    expected = run_in_chunks(model, whole, 1, ids, [200])
    for sizes in ([1], [7], [64], [1, 50, 13]):
        parts = storage(model)
        assert np.array_equal(run_in_chunks(model, parts, 1, ids, sizes), expected), sizes
        for a, b in zip(layers_of(whole), layers_of(parts), strict=True):
            assert np.array_equal(a[1, :, :200], b[1, :, :200]), sizes


def test_threads_may_share_a_sequence(config: DecoderConfig, built: Kernels) -> None:
    """Long sequences, shared by threads in steps of up to 8 tokens, have a single pass's bits."""
    long = replace(config, context=1040)
    model, reference, ids = native(long, built), dequantized(long, in_blocks(long)), random_text(long, 1040)
    whole, parts, reference_kv = (new_storage(each, capacity=len(ids)) for each in (model, model, reference))
    expected = run_in_chunks(model, whole, 1, ids, [len(ids)])
    assert np.array_equal(run_in_chunks(model, parts, 1, ids, [508, 8, 1, 500, 5, 1, 8, 9]), expected)
    assert distance(expected, reference.forward(batch([(1, 0, ids)]), reference_kv)) < rounding_of(config)
    if config.recurrence is not None:  # Tokens cannot be computed twice.
        return
    step = [(1, 1038, ids[1038:]), (0, 0, ids[:3]), (2, 0, ids[:3])]
    together = np.concatenate((expected[1038:], expected[:3], expected[:3]))
    assert np.array_equal(model.forward(batch(step), whole), together)


@each_form
def test_company_changes_no_bit(config: DecoderConfig, built: Kernels, rank: int, int8: bool) -> None:
    """A token has the same bits alone and in a batch with sequences of different lengths."""
    model = native(config, built, rank, int8=int8)
    texts = [random_text(config, count, seed) for seed, count in enumerate((150, 64, 1, 13))]
    alone, together = storage(model), storage(model)
    for slot, text in enumerate(texts):
        model.forward(batch([(slot, 0, text)]), alone)
    model.forward(batch([(slot, 0, text) for slot, text in enumerate(texts)]), together)
    step = [(slot, len(text), text[:1]) for slot, text in enumerate(texts)]
    expected = np.concatenate([model.forward(batch([part]), alone) for part in step])
    actual = model.forward(batch(step), together)
    assert np.array_equal(actual, expected)
    assert np.array_equal(
        model.logits(actual).values, np.concatenate([model.logits(row[None]).values for row in expected])
    )


@pytest.mark.process
@each_form
def test_threads_change_no_bit(config: DecoderConfig, folder: Path, rank: int, int8: bool) -> None:
    """One, two, five and seventeen threads give the same bits."""
    long, results = replace(config, context=540), []
    ids = random_text(long, long.context)
    for threads in (1, 2, 5, 17):
        model = native(long, Kernels(threads=threads, folder=folder), rank, int8=int8)
        hidden = run_in_chunks(model, new_storage(model, capacity=len(ids)), 0, ids, [530, 7, 3])
        results.append(model.logits(hidden).values)
    assert all(np.array_equal(results[0], each) for each in results[1:])


def test_targets_agree(config: DecoderConfig, built: Kernels, folder: Path) -> None:
    """Every instruction set gives the portable code's results, to the rounding of activations."""
    ids, hidden, keys = random_text(config, 100), [], []
    for each in (built, Kernels("portable", folder=folder)):
        model = native(config, each)
        kv = storage(model)
        hidden.append(model.forward(batch([(0, 0, ids)]), kv))
        keys.append(layers_of(kv)[0][0, :, :100].astype(np.float32))
    is_first = not config.layer_kinds[0].recurrent  # Otherwise, activations were rounded before.
    assert distance(keys[0], keys[1]) < (1e-3 if is_first else 0.02)
    assert distance(hidden[0], hidden[1]) < 0.02


def test_the_base_is_unchanged(config: DecoderConfig, built: Kernels) -> None:
    """A base and two variants in turn, on the same weights, have the bits of separate models."""
    base, part, variants = native(config, built), batch([(0, 0, random_text(config, 60))]), ((4, 1), (16, 2))
    models = [base, *(base.adapted(random_adapter(config, rank, seed=seed)) for rank, seed in variants)]
    alone = [native(config, built, rank, seed).forward(part, storage(base)) for rank, seed in ((0, 0), *variants)]
    for _ in range(2):
        for model, expected in zip(models, alone, strict=True):
            assert np.array_equal(model.forward(part, storage(model)), expected)


def test_nothing_is_copied(built: Kernels) -> None:
    """A variant takes only the memory of the adapter's halves and factors; a token reads both."""
    base = native(VARIED, built)
    adapter = random_adapter(VARIED, 16)
    model = base.adapted(adapter)
    assert model.weight_bytes == 2 * adapter.parameters + 4 * 7 * 16 * VARIED.layers
    assert model.cost is not None
    assert base.cost is not None
    assert model.cost.read_bytes == base.cost.read_bytes + model.weight_bytes


def test_factors_of_any_size(built: Kernels) -> None:
    """Factors outside of half precision lose nothing; an untrained adapter changes no bit."""
    adapter, part = random_adapter(QWEN2, 4), batch([(0, 0, random_text(QWEN2, 50))])
    base = native(QWEN2, built)
    plain, expected = (model.forward(part, storage(model)) for model in (base, base.adapted(adapter)))
    for down, up, same in ((2.0**-30, 2.0**30, expected), (2.0**30, 2.0**-30, expected), (1.0, 0.0, plain)):
        changes = {name: LowRank(each.down * down, each.up * up) for name, each in adapter.changes.items()}
        assert np.array_equal(base.adapted(Adapter(changes)).forward(part, storage(base)), same)


def test_only_wanted_rows_are_given(config: DecoderConfig, built: Kernels) -> None:
    """Any selected rows equal the same rows of a full pass, and the text continues the same."""
    model, ids = native(config, built), random_text(config, 30)
    everything = model.forward(batch([(0, 0, ids)]), storage(model))
    for wanted in ([25], [4, 4, 0], []):
        rows, kv = np.array(wanted, np.int64), storage(model)
        assert np.array_equal(model.forward(batch([(0, 0, ids[:26])], rows), kv), everything[rows])
        assert np.array_equal(model.forward(batch([(0, 26, ids[26:])]), kv), everything[26:])


@pytest.mark.parametrize("name", ["convolutions", "delta net"])
def test_a_span_continues_from_an_earlier_span(name: str, built: Kernels) -> None:
    """Spans of a text in one batch have the bits of a whole text, and each leaves a state."""
    model, ids = native(CONFIGS[name], built), random_text(CONFIGS[name], 40)
    whole, parts, kept = (new_storage(model) for _ in range(3))
    expected = model.forward(batch([(0, 0, ids)]), whole)
    spans = [BatchSpan(1, 0, 1, 0, NO_STATE, 3), BatchSpan(1, 1, 30, 1, 3, 2), BatchSpan(1, 31, 9, 31, 2, 1)]
    actual = model.forward(Batch(ids, np.arange(40), tuple(spans), np.arange(40)), parts)
    assert np.array_equal(actual, expected)
    model.forward(batch([(0, 0, ids[:31])]), kept)
    assert np.array_equal(states_of(whole)[0], states_of(parts)[1])
    assert np.array_equal(states_of(kept)[0], states_of(parts)[2])
    assert np.isnan(states_of(parts)[0]).all()


def test_a_state_is_read_but_not_changed(built: Kernels) -> None:
    """Two spans may continue from one state, and a span may overwrite the state it began with."""
    model, ids = native(DELTA, built), random_text(DELTA, 40)
    kv = storage(model)
    model.forward(batch([(0, 0, ids[:30])]), kv)
    before = states_of(kv)[0].copy()
    kv.copy(0, 1, 30)
    spans = (BatchSpan(0, 30, 10, 0, 0, 2), BatchSpan(1, 30, 10, 10, 0, 3))
    positions = np.tile(np.arange(30, 40), 2)
    hidden = model.forward(Batch(np.tile(ids[30:], 2), positions, spans, np.arange(20)), kv)
    assert np.array_equal(hidden[:10], hidden[10:])
    assert np.array_equal(states_of(kv)[0], before)
    in_place = Batch(ids[30:], positions[:10], (BatchSpan(0, 30, 10, 0, 0, 0),), np.arange(10))
    assert np.array_equal(model.forward(in_place, kv), hidden[:10])
    for state in (0, 3):
        assert np.array_equal(states_of(kv)[state], states_of(kv)[2])


def test_extreme_gates(built: Kernels) -> None:
    """States that are forgotten or kept whole, and never or fully corrected, are as torch's."""
    tensors = in_blocks(DELTA)
    tensors["layers.0.mixing.decay_bias.weight"] = np.array([1e4, -1e4, 88, 0], np.float32)
    tensors["layers.0.mixing.beta.weight"] = 1000 * checkpoint(DELTA)["layers.0.mixing.beta.weight"]
    model, reference = native_of(DELTA, tensors, built), dequantized(DELTA, tensors)
    kv, reference_kv, part = storage(model), storage(reference), batch([(0, 0, random_text(DELTA, 20))])
    model.forward(part, kv)
    reference.forward(part, reference_kv)
    ours, theirs = (states_of(each)[0][: DELTA.layer_state_size] for each in (kv, reference_kv))
    assert distance(ours, theirs) < rounding_of(DELTA)


def test_large_keys_stay_finite(built: Kernels) -> None:
    """Keys above the range of half precision are cached as the largest number, not as infinity."""
    tensors = checkpoint(QWEN2)
    tensors["layers.0.self_attn.k_proj.bias"] = tensors["layers.0.self_attn.k_proj.bias"] * 1e6
    model = NativeDecoder(QWEN2, pack(QWEN2, tensors.items(), "int8-native"), built)
    kv = storage(model)
    hidden = model.forward(batch([(0, 0, random_text(QWEN2, 20))]), kv)
    assert np.isfinite(hidden).all()
    assert np.abs(layers_of(kv)[0][0, :, :20]).max() == 65504


@pytest.mark.process
def test_out_of_bounds_is_refused(folder: Path) -> None:
    """Input that would make C read or write out of bounds raises IndexError."""
    model = native(QWEN2, Kernels(folder=folder))
    kv = new_storage(model, slots=2, capacity=16)
    ids = random_text(QWEN2, 4)
    for parts in (
        [(2, 0, ids)],
        [(0, 13, ids)],
        [(0, 0, ids + 99)],
        [(0, 0, ids - 99)],
        [(-1, 0, ids)],
        [(0, -1, ids)],
    ):
        with pytest.raises(IndexError):
            model.forward(batch(parts), kv)
    narrow = np.zeros((1, model.config.hidden_size - 1), np.float32)
    with pytest.raises(IndexError):
        model.forward(replace(batch([(0, 0, ids)]), embedded=narrow), kv)
    recurrent = native(DELTA, Kernels(folder=folder))
    kv = new_storage(recurrent, slots=2, capacity=16)
    for before, after in ((2, 0), (-2, 0), (NO_STATE, 2), (NO_STATE, NO_STATE)):
        with pytest.raises(IndexError):
            recurrent.forward(replace(batch([(0, 0, ids)]), spans=(BatchSpan(0, 0, 4, 0, before, after),)), kv)


def test_extreme_logits_have_figures(built: Kernels) -> None:
    """Entropies and ranks are exact for a certain token, for equal and for very distant logits."""
    logits = np.zeros((3, 5000), np.float32)
    logits[0, 4321] = 1e4
    logits[1, :4500] = -1e30
    figures = built.score_rows(logits, np.array([4321, 17, 4999]), 2)
    assert figures.entropies == pytest.approx([0, math.log(500), math.log(5000)], abs=1e-4)
    assert figures.ranks == [1, 501, 1]
    # The first of equal ids is chosen.
    assert figures.top_ids == [[4321, 0], [4500, 4501], [0, 1]]
    assert figures.logprobs == pytest.approx([0, -1e30, -math.log(5000)], abs=1e-5, rel=1e-5)


@pytest.mark.process
def test_figures_do_not_depend_on_threads_or_company(folder: Path) -> None:
    """Scores have the same bits with any number of threads and rows."""
    logits, ids = torch.randn(7, 20000, generator=torch.Generator().manual_seed(3)).numpy(), np.arange(7) * 100
    first, second = (Kernels(threads=threads, folder=folder).score_rows(logits, ids, 5) for threads in (1, 3))
    assert first == second
    alone = [Kernels(threads=2, folder=folder).score_rows(logits[i : i + 1], ids[i : i + 1], 5) for i in range(7)]
    assert [figures.logprobs[0] for figures in alone] == first.logprobs
    assert [figures.entropies[0] for figures in alone] == first.entropies


def test_cost_of_a_token(config: DecoderConfig, built: Kernels) -> None:
    """A step reads all packed weights except a separate embedding, and multiplies also in float32.

    The cost of a token of experts depends on the token.
    """
    model, tensors = native(config, built), in_blocks(config)
    if config.experts is not None:
        assert model.cost is None
        return
    body = sum(
        math.prod(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith("layers.") and (isinstance(tensor, Blocks) or tensor.dtype in HALF_DTYPES)
    )
    embedding = tensors["embed_tokens.weight"]
    assert isinstance(embedding, Blocks)
    rest = sum(array.nbytes for array in (embedding.scale, embedding.minimum) if array is not None)
    looked_up = 0 if config is QWEN2 else embedding.numbers.size * embedding.bits // 8 + rest
    head = config.vocab_size * config.hidden_size
    assert model.cost == TokenCost(model.weight_bytes - looked_up, body, head, "float32")


@pytest.mark.parametrize("window", [2**31 - 1, 2**31, 2**32, 2**40])
def test_a_window_longer_than_all_positions(built: Kernels, window: int) -> None:
    """A huge window, which some files state for no window, changes no bit."""
    part = batch([(0, 0, random_text(VARIED, 90))])
    plain, wide = (
        native(replace(VARIED, kinds=(kind,) * VARIED.layers), built) for kind in (LayerKind(), LayerKind(window))
    )
    assert np.array_equal(wide.forward(part, storage(wide)), plain.forward(part, storage(plain)))


def test_shapes_that_are_supported() -> None:
    """A model with widths not divisible by a group uses torch."""
    base = {name: getattr(QWEN2, name) for name in DecoderConfig.__slots__}
    assert supports(QWEN2)
    for change in ({"hidden_size": 48}, {"intermediate_size": 80}, {"head_dim": 24}):
        assert not supports(DecoderConfig(**(base | change)))


@pytest.mark.process
def test_libraries_are_kept_where_they_are_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder, kernels use the process's folder."""
    monkeypatch.setattr(calls, "_folder", None)  # Monkeypatch restores the folder in the end.
    calls.keep_in(tmp_path)
    Kernels("portable", compiler=QUICK)
    assert len(list(tmp_path.glob("*.so"))) == 1
