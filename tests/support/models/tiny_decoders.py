"""Tiny decoders with random weights, as checkpoints, and the plain torch decoder's results."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.decoder_config import DecoderConfig, DeltaNet, Experts, LayerKind, ShortConvolution
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.decoders.torch_model import as_array
from pellucid.engine.model import NO_STATE, Batch, BatchSpan, Hidden, Indices, Logprobs
from pellucid.engine.native.kernel_layout import FORMS, Form
from pellucid.engine.weight_packing import build, checkpoint_shapes, pack

QWEN2 = DecoderConfig(
    vocab_size=99,
    hidden_size=64,
    intermediate_size=128,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    rms_norm_eps=1e-6,
    rope_theta=1e4,
    context=512,
)
"""Biases on queries, keys and values, a tied head; the vocabulary is not a multiple of sixteen."""

QWEN3 = DecoderConfig(
    vocab_size=96,
    hidden_size=128,
    intermediate_size=192,
    layers=3,
    heads=12,
    kv_heads=4,
    head_dim=80,
    rms_norm_eps=1e-5,
    rope_theta=1e6,
    context=512,
)
"""Norms on queries and keys, a separate head; heads of 80, indivisible by wide vectors, three to a
key head.
"""

VARIED = replace(
    QWEN3,
    rotated_dims=48,
    kinds=(LayerKind(), LayerKind(rotates=False), LayerKind(window=70, rope_theta=100.0)),
    norms=("input_norm", "post_norm", "attention_norm", "mlp_norm"),
    embedding_scale=1.5,
    attention_scale=0.1,
    residual_scale=0.8,
    logit_scale=0.7,
    query_growth=0.3,
    query_interval=50,
    score_cap=2.0,
    logit_cap=3.0,
    sinks=True,
    gate="gelu",
)
"""QWEN3 with what other families have: rotation of a part of a head, by two bases, or not at all, a
window, norms of outputs, four scales, queries that grow, two caps, sinks, a gelu.
"""

EXPERTS = replace(
    QWEN3,
    intermediate_size=96,
    layers=2,
    norms=("input_norm", "post_norm", "mlp_norm"),
    residual_scale=0.8,
    gate="limited",
    experts=Experts(3, 3, normalized=False),
)
"""Three experts that all compute every token: a choice of experts would turn on rounding."""

_RECURRENT = LayerKind(recurrent=True)

CONVOLUTIONS = replace(QWEN3, kinds=(_RECURRENT, LayerKind(), _RECURRENT), recurrence=ShortConvolution(3))

DELTA = replace(
    QWEN3,
    rotated_dims=48,
    kinds=(_RECURRENT, _RECURRENT, LayerKind()),
    gates_attention=True,
    recurrence=DeltaNet(key_heads=2, value_heads=4, key_dim=32, value_dim=48, taps=4),
)
"""A head's value columns are not a multiple of what the kernels compute together."""

TILED = replace(
    QWEN3,
    kinds=(_RECURRENT, LayerKind(), _RECURRENT),
    recurrence=DeltaNet(key_heads=2, value_heads=6, key_dim=16, value_dim=32, taps=5, tiled=True),
)

NOT_IN_BLOCKS = (".router.", ".convolution.", ".beta.", ".alpha.")
"""Parts of the names of matrices that stay floats."""


def checkpoint(config: DecoderConfig, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return random weights under a checkpoint's names, large enough to have an effect."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in checkpoint_shapes(config).items():
        biased = ("q_proj", "k_proj", "v_proj") if config is QWEN2 else ("mlp.",) if config.experts else ()
        if config is QWEN2 and any(part in name for part in ("q_norm", "k_norm", "lm_head")):
            continue
        if name.endswith(".bias") and not any(part in name for part in biased):
            continue
        noise = torch.randn(shape, generator=generator)
        weight = noise / shape[1] ** 0.5 if len(shape) == 2 else 0.3 * noise + ("norm" in name)
        weights[name] = (-weight.abs() if ".decay." in name else weight).numpy()
    return weights


def in_blocks(config: DecoderConfig, seed: int = 0) -> dict[str, Weight]:
    """Return the random checkpoint with blocks of all supported forms, and halves, in turn."""
    forms: Iterator[Form | torch.dtype] = itertools.cycle([*FORMS, torch.float16, torch.bfloat16])
    return {
        name: _random_matrix((weight.shape[0], weight.shape[1]), next(forms), index)
        if weight.ndim == 2 and not any(part in name for part in NOT_IN_BLOCKS)
        else weight
        for index, (name, weight) in enumerate(checkpoint(config, seed).items())
    }


def _random_matrix(shape: tuple[int, int], form: Form | torch.dtype, seed: int) -> Weight:
    if isinstance(form, Form):
        return random_blocks(shape, form, seed)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return as_array((noise / shape[1] ** 0.5).to(form))


def random_blocks(shape: tuple[int, int], form: Form, seed: int = 0) -> Blocks:
    """Return a matrix of random numbers and scales, about as large as a checkpoint's matrices."""
    (rows, columns), (bits, shared, with_minimum, with_table) = shape, form
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(1 << bits, (rows, columns), generator=generator, dtype=torch.uint8)
    scale = (0.5 + torch.rand(rows, columns // shared, generator=generator)) * 3 / ((1 << bits) * columns**0.5)
    minimum = (-scale * (1 << (bits - 1))).half().numpy() if with_minimum else None
    if not with_table:
        return Blocks(numbers.numpy(), scale.half().numpy(), minimum, bits)
    table = torch.randperm(256, generator=generator)[:16].byte().numpy()
    return Blocks(numbers.numpy(), (scale / 16).half().numpy(), None, bits, table)


def largest_products(form: Form) -> tuple[DecoderConfig, dict[str, Weight], Logprobs]:
    """Return a decoder with a head of extreme numbers, and hidden states for the largest sums."""
    (bits, shared, with_minimum, with_table), rows, columns = form, 48, QWEN3.hidden_size
    numbers = np.zeros((rows, columns), np.uint8)
    numbers[rows // 3 :] = (1 << bits) - 1
    numbers[2 * rows // 3 :, ::2] = 0
    scale = np.ones((rows, columns // shared), np.float16)
    table = np.linspace(0, 255, 16).astype(np.uint8) if with_table else None
    head = Blocks(numbers, scale, -scale if with_minimum else None, bits, table)
    config = replace(QWEN3, vocab_size=rows, layers=1)
    hidden = np.ones((5, columns), np.float32)
    hidden[1] = -1
    hidden[2, ::2] = -1
    hidden[3, ::4] = -1
    return config, in_blocks(config) | {"embed_tokens.weight": head, "lm_head.weight": head}, hidden


def dequantized(config: DecoderConfig, tensors: Mapping[str, Weight]) -> Decoder:
    """Return the float32 decoder of a checkpoint in blocks."""
    floats = (
        (name, weight.dequantized() if isinstance(weight, Blocks) else weight) for name, weight in tensors.items()
    )
    model = build(config, pack(config, floats, "float32"), "float32", "cpu")
    assert isinstance(model, Decoder)
    return model


def batch(parts: list[tuple[int, int, Indices]], rows: Indices | None = None) -> Batch:
    """Make a flat batch of (slot, start, ids); by default all rows are wanted.

    A slot's state has the slot's number.
    """
    spans, positions, offset = [], [], 0
    for slot, start, ids in parts:
        spans.append(BatchSpan(slot, start, len(ids), offset, slot if start else NO_STATE, slot))
        positions.append(np.arange(start, start + len(ids)))
        offset += len(ids)
    wanted = np.arange(offset) if rows is None else rows
    return Batch(np.concatenate([ids for _, _, ids in parts]), np.concatenate(positions), tuple(spans), wanted)


def random_text(config: DecoderConfig, count: int, seed: int = 0) -> Indices:
    """Return the ids (count,) of random tokens."""
    return torch.randint(config.vocab_size, (count,), generator=torch.Generator().manual_seed(seed)).numpy()


def distance(a: Hidden | Tensor, b: Hidden | Tensor) -> float:
    """Return the distance of a and b, relative to b."""
    x, y = torch.as_tensor(a), torch.as_tensor(b)
    return float((x - y).norm() / y.norm())
