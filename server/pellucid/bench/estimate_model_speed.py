"""Speed estimates for the catalog's models before download, by some layers with random weights.

All layers of a decoder cost the same. The measured layers exceed any processor cache, because a
real model reads its weights from memory. The head is measured with fewer rows, as its time grows
linearly. The sampler, the tokenizer and HTTP are not included: a few milliseconds per answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from pellucid.engine import weight_packing
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import Weight, round_to_blocks
from pellucid.engine.model import Batch, BatchSpan, Logits
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
    """The seconds of a keystroke and of the first keystroke in a file.

    ``scheme`` is the form of the weights.
    """

    scheme: str
    keystroke: float
    first: float


@cache
def estimate(shape: ModelShape, device: str = "auto", quant: str = "auto") -> SpeedEstimate:
    """Estimate a model's speed from some layers and a part of the head.

    Models of the same shape are measured once.
    """
    target = find_device(device)
    config = _config(shape)
    scheme = weight_packing.choose_scheme(quant, target, config)
    packed = weight_packing.pack(config, _random_weights(config, shape, blocks=scheme.endswith("-native")), scheme)
    model = weight_packing.build(config, packed, scheme, target)
    storage = model.new_storage(1, 2 * WINDOW)
    layers = shape.layers / config.layers

    def run(count: int) -> Logits:
        return model.logits(model.forward(_batch(count), storage))

    head = _fastest(partial(model.logits, model.forward(_batch(1), storage)))
    window, few, one = (layers * (_fastest(partial(run, count)) - head) for count in (WINDOW, NEW_TOKENS, 1))
    share = shape.vocab_size / config.vocab_size
    token = one + share * head
    return SpeedEstimate(
        scheme=scheme,
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
            yield name, np.ones(size, np.float32)
            continue
        rows, columns = size
        drawn = np.random.default_rng(0).standard_normal((min(rows, DRAWN_ROWS), columns), np.float32) / columns**0.5
        matrix = np.tile(drawn.astype(np.float32), (-(-rows // DRAWN_ROWS), 1))[:rows]
        yield name, round_to_blocks(matrix, shape.bits) if blocks else matrix


def _batch(count: int) -> Batch:
    """Return a batch of ``count`` tokens: at position 0 for a full window, else behind it."""
    start = 0 if count == WINDOW else WINDOW
    ids = np.arange(count)
    return Batch(ids, ids + start, (BatchSpan(0, start, count, 0),), np.array([count - 1]))


def _fastest(run: Callable[[], Logits]) -> float:
    times = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        run().row(0)  # Waits for a GPU.
        times.append(time.perf_counter() - start)
    return min(times[1:])
