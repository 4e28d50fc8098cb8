"""The native kernels' results do not change with batches, chunks, threads or instruction sets."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.engine.model import KVStorage, Model, TokenCost
from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.native_decoder import NativeDecoder, supports
from pellucid.engine.sampler import MOST_PROBABLE, score_rows
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import new_storage
from support.models.tiny_decoders import QWEN2, QWEN3, batch, checkpoint, dequantized, distance, in_blocks, random_text

CONFIGS = {"qwen2": QWEN2, "qwen3": QWEN3}


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


def test_agrees_with_the_torch_decoder_on_the_same_weights(config: DecoderConfig, built: Kernels) -> None:
    """The kernels agree with decoder.py on dequantized weights, to the rounding of activations."""
    model, reference = native(config, built), dequantized(config, in_blocks(config))
    kv, reference_kv = storage(model), storage(reference)
    first = [(2, 0, random_text(config, 131, 1)), (0, 0, random_text(config, 5, 2))]
    second = [
        (0, 5, random_text(config, 1, 3)),
        (2, 131, random_text(config, 77, 4)),
        (3, 0, random_text(config, 70, 5)),
    ]
    rows = torch.tensor([0, 3, 77, 147])
    for parts, wanted in ((first, None), (second, rows)):
        expected = reference.forward(batch(parts, wanted), reference_kv)
        actual = model.forward(batch(parts, wanted), kv)
        assert distance(actual, expected) < 0.03
        assert distance(model.logits(actual), reference.logits(expected)) < 0.03
        assert model.logits(actual).shape == (len(expected), config.vocab_size)


def test_what_is_cached_is_keys_and_values(config: DecoderConfig, built: Kernels) -> None:
    """The first layer's cached keys and values equal torch's after a single rounding."""
    model, reference = native(config, built), dequantized(config, in_blocks(config))
    kv, reference_kv = storage(model), storage(reference)
    parts = [(1, 0, random_text(config, 40))]
    model.forward(batch(parts), kv)
    reference.forward(batch(parts), reference_kv)
    for actual, expected in ((kv.keys[0], reference_kv.keys[0]), (kv.values[0], reference_kv.values[0])):
        assert distance(actual[1, :, :40].float(), expected[1, :, :40]) < 0.02
        assert actual[1, :, 40:].isnan().all()
        assert actual[0].isnan().all()


@pytest.mark.parametrize("sizes", [[1], [7], [64], [1, 50, 13]], ids=str)
def test_chunks_change_no_bit(config: DecoderConfig, built: Kernels, sizes: list[int]) -> None:
    """A text gives the same bits in a single pass and in chunks, hidden states and cache alike."""
    model, ids = native(config, built), random_text(config, 200)
    whole, parts = storage(model), storage(model)
    expected = run_in_chunks(model, whole, 1, ids, [200])
    assert torch.equal(run_in_chunks(model, parts, 1, ids, sizes), expected)
    for a, b in zip((*whole.keys, *whole.values), (*parts.keys, *parts.values), strict=True):
        assert torch.equal(a[1, :, :200], b[1, :, :200])


def test_company_changes_no_bit(config: DecoderConfig, built: Kernels) -> None:
    """A token has the same bits alone and in a batch with sequences of different lengths."""
    model = native(config, built)
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
        model = native(config, Kernels(threads=threads, folder=folder))
        results.append(model.logits(model.forward(batch([(0, 0, ids)]), storage(model))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_targets_agree(config: DecoderConfig, built: Kernels, folder: Path) -> None:
    """Every instruction set gives the portable code's results, to the rounding of activations."""
    ids, hidden, keys = random_text(config, 100), [], []
    for each in (built, Kernels("portable", folder=folder)):
        model = native(config, each)
        kv = storage(model)
        hidden.append(model.forward(batch([(0, 0, ids)]), kv))
        keys.append(kv.keys[0][0, :, :100].float())
    assert distance(keys[0], keys[1]) < 1e-3
    assert distance(hidden[0], hidden[1]) < 0.02


def test_only_wanted_rows_are_given(built: Kernels) -> None:
    """Any selected rows equal the same rows of a full pass."""
    model, ids = native(QWEN2, built), random_text(QWEN2, 30)
    everything = model.forward(batch([(0, 0, ids)]), storage(model))
    for wanted in ([29], [4, 4, 0], []):
        rows = torch.tensor(wanted, dtype=torch.int64)
        assert torch.equal(model.forward(batch([(0, 0, ids)], rows), storage(model)), everything[rows])


def test_large_keys_stay_finite(built: Kernels) -> None:
    """Keys above the range of half precision are cached as the largest number, not as infinity."""
    tensors = checkpoint(QWEN2)
    tensors["layers.0.self_attn.k_proj.bias"] = tensors["layers.0.self_attn.k_proj.bias"] * 1e6
    model = NativeDecoder(QWEN2, pack(QWEN2, tensors.items(), "int8-native"), built)
    kv = storage(model)
    hidden = model.forward(batch([(0, 0, random_text(QWEN2, 20))]), kv)
    assert hidden.isfinite().all()
    assert kv.keys[0][0, :, :20].abs().max() == 65504


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


@pytest.mark.parametrize("vocab", [3, 99, 4096, 9000])
def test_figures_are_those_of_torch(built: Kernels, vocab: int) -> None:
    """Logprobs, ranks, entropies and top ids equal torch's, even for strided rows."""
    logits = (torch.randn(5, vocab + 16, generator=torch.Generator().manual_seed(vocab)) * 6)[:, :vocab]
    ids = torch.tensor([0, vocab - 1, MOST_PROBABLE, vocab // 2, MOST_PROBABLE])
    expected, actual = score_rows(logits.double(), ids, 20), built.score_rows(logits, ids, 20)
    assert (actual.ids, actual.ranks, actual.top_ids) == (expected.ids, expected.ranks, expected.top_ids)
    assert actual.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert actual.entropies == pytest.approx(expected.entropies, abs=1e-4)
    assert torch.tensor(actual.top_logprobs) == pytest.approx(torch.tensor(expected.top_logprobs), abs=1e-4)
    assert built.score_rows(logits, ids, 0).top_ids == [[]] * 5


def test_extreme_logits_have_figures(built: Kernels) -> None:
    """Entropies and ranks are exact for a certain token, for equal and for very distant logits."""
    logits = torch.zeros(3, 5000)
    logits[0, 4321] = 1e4
    logits[1, :4500] = -1e30
    figures = built.score_rows(logits, torch.tensor([4321, 17, 4999]), 2)
    assert figures.entropies == pytest.approx([0, math.log(500), math.log(5000)], abs=1e-4)
    assert figures.ranks == [1, 501, 1]
    # The first of equal ids is chosen.
    assert figures.top_ids == [[4321, 0], [4500, 4501], [0, 1]]
    assert figures.logprobs == pytest.approx([0, -1e30, -math.log(5000)], abs=1e-5, rel=1e-5)


@pytest.mark.process
def test_figures_do_not_depend_on_threads_or_company(folder: Path) -> None:
    """Scores have the same bits with any number of threads and rows."""
    logits, ids = torch.randn(7, 20000, generator=torch.Generator().manual_seed(3)), torch.arange(7) * 100
    first, second = (Kernels(threads=threads, folder=folder).score_rows(logits, ids, 5) for threads in (1, 3))
    assert first == second
    alone = [Kernels(threads=2, folder=folder).score_rows(logits[i : i + 1], ids[i : i + 1], 5) for i in range(7)]
    assert [figures.logprobs[0] for figures in alone] == first.logprobs
    assert [figures.entropies[0] for figures in alone] == first.entropies


def test_cost_of_a_token(config: DecoderConfig, built: Kernels) -> None:
    """A step reads all packed weights except a separate embedding, and multiplies in int8."""
    model, tensors = native(config, built), in_blocks(config)
    body = sum(
        tensor.numbers.numel()
        for name, tensor in tensors.items()
        if name.startswith("layers.") and isinstance(tensor, Blocks)
    )
    embedding = tensors["embed_tokens.weight"]
    assert isinstance(embedding, Blocks)
    looked_up = 0 if config is QWEN2 else embedding.numbers.numel() * embedding.bits // 8 + embedding.scale.nbytes
    assert model.cost == TokenCost(
        model.weight_bytes - looked_up, body, config.vocab_size * config.hidden_size, torch.int8
    )


def test_shapes_that_are_supported() -> None:
    """A model with a sliding window, or with widths not divisible by a group, uses torch."""
    base = {name: getattr(QWEN2, name) for name in DecoderConfig.__slots__}
    assert supports(QWEN2)
    for change in ({"sliding_window": 8}, {"hidden_size": 48}, {"intermediate_size": 80}, {"head_dim": 24}):
        assert not supports(DecoderConfig(**(base | change)))


@pytest.mark.process
def test_libraries_are_kept_where_they_are_asked_to_be(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder, kernels use the process's folder."""
    monkeypatch.setattr(calls, "_folder", folder)  # Monkeypatch restores the folder in the end.
    calls.keep_in(tmp_path)
    Kernels()
    assert len(list(tmp_path.glob("*.so"))) == 1
