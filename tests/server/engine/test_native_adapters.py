"""Adapters on the native kernels: results that no batch, chunk, thread or target changes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.lora_matrices import Adapter, LowRank
from pellucid.engine.model import KVStorage, Model
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import new_storage
from support.models.tiny_adapters import ATTENTION, EVERYTHING, random_adapter
from support.models.tiny_decoders import QWEN2, QWEN3, batch, checkpoint, dequantized, distance, in_blocks, random_text

CONFIGS = {"qwen2": QWEN2, "qwen3": QWEN3}
SHAPES = {
    "rank 1": (1, EVERYTHING),
    "rank 8, queries and values": (8, ATTENTION),
    "rank 20": (20, EVERYTHING),
    "ups": (16, ("up_proj",)),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> DecoderConfig:
    return CONFIGS[request.param]


def storage(model: Model) -> KVStorage:
    return new_storage(model, capacity=320)


def native(config: DecoderConfig, built: Kernels) -> NativeDecoder:
    return NativeDecoder(config, pack(config, in_blocks(config).items(), "int8-native"), built)


def run_in_chunks(model: NativeDecoder, kv: KVStorage, slot: int, ids: Tensor, sizes: list[int]) -> Tensor:
    """Return hidden states of all tokens, computed in chunks of these sizes, cyclically."""
    out: list[Tensor] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(ids):
            return torch.cat(out)
        part = ids[start : start + size]
        out.append(model.forward(batch([(slot, start, part)]), kv))
        start += len(part)
    raise AssertionError


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_torch_decoder(config: DecoderConfig, built: Kernels, shape: str) -> None:
    """The kernels agree with an adapted decoder on dequantized weights, up to rounding."""
    rank, targets = SHAPES[shape]
    adapter = random_adapter(config, rank, targets)
    plain = native(config, built)
    model, reference = plain.adapted(adapter), dequantized(config, in_blocks(config)).adapted(adapter)
    kv, reference_kv, plain_kv = storage(model), storage(reference), storage(plain)
    first = [(2, 0, random_text(config, 131, 1)), (0, 0, random_text(config, 5, 2))]
    second = [
        (0, 5, random_text(config, 1, 3)),
        (2, 131, random_text(config, 77, 4)),
        (3, 0, random_text(config, 70, 5)),
    ]
    for parts, wanted in ((first, None), (second, torch.tensor([0, 3, 77, 147]))):
        expected = reference.forward(batch(parts, wanted), reference_kv)
        actual = model.forward(batch(parts, wanted), kv)
        assert distance(actual, expected) < 0.03
        # The adapter has an effect.
        assert distance(plain.forward(batch(parts, wanted), plain_kv), expected) > 0.05
        assert distance(model.logits(actual), reference.logits(expected)) < 0.03


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


@pytest.mark.parametrize("sizes", [[1], [7], [64], [1, 50, 13], [3, 4, 5]], ids=str)
def test_chunks_change_no_bit(config: DecoderConfig, built: Kernels, sizes: list[int]) -> None:
    """A text gives the same bits in a single pass and in chunks, hidden states and cache alike."""
    model, ids = native(config, built).adapted(random_adapter(config)), random_text(config, 200)
    whole, parts = storage(model), storage(model)
    expected = run_in_chunks(model, whole, 1, ids, [200])
    assert torch.equal(run_in_chunks(model, parts, 1, ids, sizes), expected)
    for a, b in zip((*whole.keys, *whole.values), (*parts.keys, *parts.values), strict=True):
        assert torch.equal(a[1, :, :200], b[1, :, :200])


def test_company_changes_no_bit(config: DecoderConfig, built: Kernels) -> None:
    """A token has the same bits alone and in a batch with sequences of different lengths."""
    model = native(config, built).adapted(random_adapter(config, 5))
    texts = [random_text(config, count, seed) for seed, count in enumerate((150, 64, 1, 13))]
    alone, together = storage(model), storage(model)
    for slot, text in enumerate(texts):
        model.forward(batch([(slot, 0, text)]), alone)
    model.forward(batch([(slot, 0, text) for slot, text in enumerate(texts)]), together)
    step = [(slot, len(text), text[:1]) for slot, text in enumerate(texts)]
    expected = torch.cat([model.forward(batch([part]), alone) for part in step])
    actual = model.forward(batch(step), together)
    assert torch.equal(actual, expected)
    assert torch.equal(model.logits(actual), torch.cat([model.logits(row[None]) for row in expected]))


@pytest.mark.process
def test_threads_change_no_bit(config: DecoderConfig, folder: Path) -> None:
    """One, two and five threads give the same bits."""
    ids, results = random_text(config, 90), []
    for threads in (1, 2, 5):
        model = native(config, Kernels(threads=threads, folder=folder)).adapted(random_adapter(config))
        results.append(model.logits(model.forward(batch([(0, 0, ids)]), storage(model))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_base_is_unchanged(config: DecoderConfig, built: Kernels) -> None:
    """A base and two variants in turn, on the same weights, have the bits of separate models."""
    base, part = native(config, built), batch([(0, 0, random_text(config, 60))])
    models = [base, base.adapted(random_adapter(config, 4, seed=1)), base.adapted(random_adapter(config, 16, seed=2))]
    alone = [native(config, built).forward(part, storage(base))]
    alone += [
        native(config, built).adapted(random_adapter(config, rank, seed=seed)).forward(part, storage(base))
        for rank, seed in ((4, 1), (16, 2))
    ]
    for _ in range(2):
        for model, expected in zip(models, alone, strict=True):
            assert torch.equal(model.forward(part, storage(model)), expected)


def test_nothing_is_copied(built: Kernels) -> None:
    """A variant takes only the memory of the adapter's halves and factors; a token reads both."""
    base = native(QWEN3, built)
    adapter = random_adapter(QWEN3, 16)
    model = base.adapted(adapter)
    assert model.weight_bytes == 2 * adapter.parameters + 4 * 7 * 16 * QWEN3.layers
    assert model.cost.read_bytes == base.cost.read_bytes + model.weight_bytes


def test_numbers_of_any_size(built: Kernels) -> None:
    """Factors outside of half precision lose nothing if the product has a normal size."""
    adapter, part = random_adapter(QWEN2, 4), batch([(0, 0, random_text(QWEN2, 50))])
    base = native(QWEN2, built)
    expected = base.adapted(adapter).forward(part, storage(base))
    for scale in (2.0**-30, 2.0**30):
        skewed = Adapter(
            {name: LowRank(change.down * scale, change.up / scale) for name, change in adapter.changes.items()}
        )
        assert torch.equal(base.adapted(skewed).forward(part, storage(base)), expected)


def test_an_adapter_of_zeros_changes_no_bit(config: DecoderConfig, built: Kernels) -> None:
    """An untrained adapter, with a second factor of zeros, gives the base's results."""
    fresh = Adapter(
        {
            name: LowRank(change.down, torch.zeros_like(change.up))
            for name, change in random_adapter(config).changes.items()
        }
    )
    base, part = native(config, built), batch([(0, 0, random_text(config, 50))])
    assert torch.equal(base.adapted(fresh).forward(part, storage(base)), base.forward(part, storage(base)))
