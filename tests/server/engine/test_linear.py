"""Weight matrices in several forms multiply by the same matrix, up to rounding."""

from __future__ import annotations

import pytest
import torch

from pellucid.engine.decoders.linear import (
    DEQUANTIZE_ROWS,
    DenseLinear,
    Int4Linear,
    Int8Linear,
    Linear,
    quantize_int4,
    quantize_int8,
)
from support.models.tiny_decoders import distance

WEIGHT = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
BIAS = torch.randn(96, generator=torch.Generator().manual_seed(1))


def held(kind: str, dtype: torch.dtype, bias: torch.Tensor | None) -> Linear:
    if kind == "dense":
        return DenseLinear(WEIGHT.to(dtype), bias)
    if kind == "int8":
        q, scale = quantize_int8(WEIGHT)
        return Int8Linear(q, scale.to(dtype), bias)
    return Int4Linear(*quantize_int4(WEIGHT, dtype), bias)


@pytest.mark.parametrize("rows", [1, DEQUANTIZE_ROWS - 1, DEQUANTIZE_ROWS, 3 * DEQUANTIZE_ROWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "tolerance"), [("dense", 1e-6), ("int8", 0.01), ("int4", 0.1)])
def test_multiplies_by_the_matrix(kind: str, tolerance: float, dtype: torch.dtype, rows: int) -> None:
    """Each form multiplies by the same matrix, for few and many rows, up to rounding."""
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(2)).to(dtype)
    out = held(kind, dtype, BIAS.to(dtype))(x)
    assert out.dtype == dtype
    assert distance(out.float(), x.float() @ WEIGHT.T + BIAS) < tolerance + (0.01 if dtype == torch.bfloat16 else 0)
    plain = held(kind, dtype, None)(x)
    assert distance(plain.float(), x.float() @ WEIGHT.T) < tolerance + (0.01 if dtype == torch.bfloat16 else 0)


def test_memory_shrinks_with_the_bits() -> None:
    """int8 takes 8 bits a weight and a scale a row; int4 takes 4 bits, and 2 numbers a group."""
    assert held("dense", torch.float32, None).nbytes == 96 * 64 * 4
    assert held("int8", torch.float32, None).nbytes == 96 * 64 + 96 * 4
    assert held("int4", torch.bfloat16, None).nbytes == 96 * 64 // 2 + 96 * 64 // 32 * 2 * 2


def test_quantizing_leaves_its_input_alone() -> None:
    """Quantizing keeps the input unchanged, because a tied head is quantized from the embedding."""
    before = WEIGHT.clone()
    quantize_int8(WEIGHT)
    quantize_int4(WEIGHT, torch.bfloat16)
    assert torch.equal(WEIGHT, before)


def test_zeros_stay_zeros() -> None:
    """A row of zeros, without a valid scale, multiplies to zero."""
    weight = WEIGHT.clone()
    weight[3] = 0
    q, scale = quantize_int8(weight)
    x = torch.ones(2, 64)
    assert Int8Linear(q, scale)(x)[:, 3].eq(0).all()
    assert Int4Linear(*quantize_int4(weight, torch.float32))(x)[:, 3].eq(0).all()


def test_int8_is_never_off_by_more_than_half_a_step() -> None:
    """Weights are rounded to the nearest step of their row."""
    q, scale = quantize_int8(WEIGHT)
    assert q.abs().max() == 127
    assert ((q * scale[:, None] - WEIGHT).abs() <= scale[:, None] * 0.5001).all()


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("offset", [1, 8, 32])
def test_memory_may_begin_anywhere(kind: str, offset: int) -> None:
    """Weights at any address and rows of a larger batch are multiplied correctly."""
    linear = held(kind, torch.bfloat16, None)
    assert isinstance(linear, Int8Linear | Int4Linear)
    room = torch.empty(linear.weight.nbytes + offset, dtype=torch.uint8)
    elsewhere = room[offset:].view(linear.weight.dtype).view(linear.weight.shape)
    elsewhere.copy_(linear.weight)
    scales = linear.scale if isinstance(linear, Int8Linear) else linear.scales
    x = torch.randn(9, 64, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)

    assert torch.equal(type(linear)(elsewhere, scales)(x[1:]), linear(x)[1:])
