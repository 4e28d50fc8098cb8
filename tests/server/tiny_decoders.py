"""Tiny decoders with random weights, in the form of a checkpoint, and what the plain torch decoder says of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.engine.decoder import Decoder, DecoderConfig
from pellucid.engine.kernels import BLOCK, DEPTH
from pellucid.engine.model import Batch, Span
from pellucid.engine.packing import build, checkpoint_shapes

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
"""Biases on queries, keys and values, a tied head; a vocabulary that is no multiple of sixteen."""

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
"""Norms on queries and keys, a head of its own; heads of 80, which no wide vector divides, three to a key head."""


def checkpoint(config: DecoderConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the checkpoint's names, large enough that every part matters."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in checkpoint_shapes(config).items():
        absent = ("q_norm", "k_norm", "lm_head") if config is QWEN2 else (".bias",)
        if any(part in name for part in absent) or (
            name.endswith(".bias") and not any(part in name for part in ("q_proj", "k_proj", "v_proj"))
        ):
            continue
        noise = torch.randn(shape, generator=generator)
        tensors[name] = noise / shape[1] ** 0.5 if len(shape) == 2 else 0.3 * noise + ("norm" in name)
    return tensors


def dequantized(config: DecoderConfig, packed: Mapping[str, Tensor]) -> Decoder:
    """The float32 decoder of weights that are packed as int8-native, each as the kernels read it."""
    tensors = {}
    for name, tensor in packed.items():
        stem = name.removesuffix(".weight")
        if name.endswith(".scale"):
            continue
        if f"{stem}.scale" in packed and name.endswith(".weight"):
            tensor = _dequantized(tensor, packed[f"{stem}.scale"])
        if stem.split(".")[-1] in ("gate_up", "gate_up.bias"):
            tensor = tensor.reshape(-1, 2, BLOCK, *tensor.shape[1:]).transpose(0, 1).flatten(0, 2)
        tensors[name] = tensor[: config.vocab_size] if stem in ("embedding", "head") else tensor
    model = build(config, tensors, "float32", torch.device("cpu"))
    assert isinstance(model, Decoder)
    return model


def _dequantized(weight: Tensor, scale: Tensor) -> Tensor:
    blocks, fours = weight.shape[:2]
    rows = weight.transpose(1, 2).reshape(blocks * BLOCK, fours * DEPTH)
    return (rows.float() - 128) * scale[:, None]


def batch(parts: list[tuple[int, int, Tensor]], rows: Tensor | None = None) -> Batch:
    """A flat batch of (slot, start, ids); all its rows are wanted unless ``rows`` says which."""
    spans, positions, offset = [], [], 0
    for slot, start, ids in parts:
        spans.append(Span(slot, start, len(ids), offset))
        positions.append(torch.arange(start, start + len(ids)))
        offset += len(ids)
    wanted = torch.arange(offset) if rows is None else rows
    return Batch(torch.cat([ids for _, _, ids in parts]), torch.cat(positions), tuple(spans), wanted)


def random_text(config: DecoderConfig, count: int, seed: int = 0) -> Tensor:
    """Ids (count,) of random tokens."""
    return torch.randint(config.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


def distance(a: Tensor, b: Tensor) -> float:
    """How far a is from b, as a share of b."""
    return float((a - b).norm() / b.norm())
