"""Speed estimates for the catalog's models before download, by some layers with random weights.

All layers of a decoder cost the same. The measured layers exceed any processor cache, because a
real model reads its weights from memory. The head is measured with fewer rows, as its time grows
linearly. The sampler, the tokenizer and HTTP are not included: a few milliseconds per answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pellucid.engine import weight_packing
from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import round_to_blocks
from pellucid.engine.model import Batch, BatchSpan, KVStorage, Model
from pellucid.engine.weight_packing import Weight
from pellucid.models.catalog import ModelShape
from pellucid.models.load import find_device

STACK_WEIGHTS, HEAD_WEIGHTS = 1 << 28, 1 << 26
"""The minimum weights in the measured layers, and the maximum in the measured head."""

WINDOW = 1_024
"""Tokens in the cache at a keystroke: the text around the cursor."""

NEW_TOKENS, ANSWER_TOKENS = 16, 12
"""Prompt tokens per keystroke (the rest is cached), and generated tokens of a line."""

PASSES = 3


DRAWN_ROWS = 64
"""Number of random rows, repeated to fill a matrix."""


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """The memory in bytes, and the seconds of a keystroke and of the first keystroke in a file."""

    memory: int
    keystroke: float
    first: float


@torch.inference_mode()
def estimate(shape: ModelShape, device: str = "auto", quant: str = "auto") -> SpeedEstimate:
    """Estimate a model's cost from some layers and a part of the head."""
    target = find_device(device)
    config = _config(shape)
    scheme = weight_packing.choose_scheme(quant, target, config)
    packed = weight_packing.pack(config, _random_weights(config, shape, blocks=scheme.endswith("-native")), scheme)
    model = weight_packing.build(config, packed, scheme, target)
    storage = _storage(model)
    layers = shape.layers / config.layers
    window, few, one = (
        layers * _fastest(partial(model.forward, _batch(model, count), storage)) for count in (WINDOW, NEW_TOKENS, 1)
    )
    share = shape.vocab_size / config.vocab_size
    token = one + share * _fastest(partial(model.logits, model.forward(_batch(model, 1), storage)))
    vocabulary = sum(tensor.nbytes for name, tensor in packed.items() if name.startswith(("embedding.", "head.")))
    stack = model.weight_bytes - vocabulary + WINDOW * model.cache_shape.bytes_per_token
    return SpeedEstimate(
        memory=round(layers * stack + share * vocabulary),
        keystroke=few + ANSWER_TOKENS * token,
        first=window + ANSWER_TOKENS * token,
    )


def _config(shape: ModelShape) -> DecoderConfig:
    one = DecoderConfig(
        vocab_size=min(shape.vocab_size, HEAD_WEIGHTS // shape.hidden_size),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        layers=1,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.hidden_size // shape.heads,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        context=2 * WINDOW,
    )
    return replace(one, layers=min(shape.layers, -(-STACK_WEIGHTS // one.body_parameters)))


def _random_weights(config: DecoderConfig, shape: ModelShape, *, blocks: bool) -> Iterator[tuple[str, Weight]]:
    """Yield a checkpoint's tensors. With ``blocks``, matrices are rounded as in a quantized file.

    A small random block is repeated: drawing hundreds of millions of numbers would take longer than
    the measurement.
    """
    for name, size in weight_packing.checkpoint_shapes(config).items():
        if name.endswith((".bias", ".q_norm.weight", ".k_norm.weight")) or (name == "lm_head.weight" and shape.tied):
            continue
        if len(size) < 2:
            yield name, torch.ones(size)
            continue
        rows, columns = size
        matrix = torch.randn(min(rows, DRAWN_ROWS), columns).repeat(-(-rows // DRAWN_ROWS), 1)[:rows] / columns**0.5
        yield name, round_to_blocks(matrix, shape.bits) if blocks else matrix


def _storage(model: Model) -> KVStorage:
    shape = model.cache_shape
    size = (1, shape.kv_heads, 2 * WINDOW, shape.head_dim)
    keys, values = (
        [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)] for _ in range(2)
    )
    return KVStorage(keys, values)


def _batch(model: Model, count: int) -> Batch:
    """Return a batch of ``count`` tokens: at position 0 for a full window, else behind it."""
    device, start = model.cache_shape.device, 0 if count == WINDOW else WINDOW
    ids = torch.arange(count, device=device)
    return Batch(ids, ids + start, (BatchSpan(0, start, count, 0),), torch.tensor([count - 1], device=device))


def _fastest(run: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        run().sum().item()
        times.append(time.perf_counter() - start)
    return min(times[1:])
