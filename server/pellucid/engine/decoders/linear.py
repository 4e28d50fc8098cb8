"""Weight matrices in several forms, multiplied by torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.lora_matrices import LowRank

DEQUANTIZE_ROWS = 32  # from so many rows on a matrix is dequantized: torch's weight-only kernels are made for few rows
INT4_GROUP = 32  # columns that share a scale and a minimum in int4
VECTOR_BYTES = 64
_ROWS_AT_ONCE = 8192  # of a matrix that is quantized, so that the float32 copies stay small


class Linear(Protocol):
    """A matrix (out, in) in some form, with an optional bias."""

    @property
    def nbytes(self) -> int:
        """Memory of the weights in bytes."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply x (T, in), and return (T, out) in x's dtype."""
        ...


class DenseLinear:
    """A matrix in the dtype of its input."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Int8Linear:
    """A matrix of int8 with one scale a row: weight (out, in) int8, scale (out,) in the dtype of the input."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        self.weight = aligned(weight)
        self.scale = scale
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes + self.scale.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) < DEQUANTIZE_ROWS:
            out = torch._weight_int8pack_mm(aligned(x), self.weight, self.scale)
        else:
            out = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return out if self.bias is None else out + self.bias


class Int4Linear:
    """A matrix of int4 in groups of 32 columns, in the layout of torch's CPU kernel.

    ``weight`` (out, in / 2) uint8; ``scales`` (in / 32, out, 2): scale and middle of each group, w
    = q * scale + middle - 8 * scale.
    """

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        self.weight = aligned(weight)
        self.scales = aligned(scales)
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes + self.scales.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(aligned(x), self.weight, INT4_GROUP, self.scales)
        return out if self.bias is None else out + self.bias


class LowRankLinear:
    """Another linear with an adapter: ``changes`` are added to its parts, which have ``rows`` each, from top to bottom."""

    def __init__(
        self,
        base: Linear,
        changes: Sequence[LowRank | None],
        rows: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.base = base
        self._parts: list[tuple[slice, Tensor, Tensor]] = []
        at = 0
        for change, count in zip(changes, rows, strict=True):
            if change is not None:
                self._parts.append((slice(at, at + count), change.down.to(device, dtype), change.up.to(device, dtype)))
            at += count

    @property
    def nbytes(self) -> int:
        return self.base.nbytes + sum(down.nbytes + up.nbytes for _, down, up in self._parts)

    def __call__(self, x: Tensor) -> Tensor:
        out = self.base(x)
        for rows, down, up in self._parts:
            out[:, rows] += F.linear(F.linear(x, down), up)
        return out


def aligned(x: Tensor) -> Tensor:
    """Return the tensor contiguous and aligned to 64 bytes, copied where it is not.

    Torch's integer kernels (those of 2.15, say) may load whole aligned vectors, and crash on
    unaligned tensors of a mapped file.
    """
    x = x.contiguous()
    return x.clone() if x.data_ptr() % VECTOR_BYTES else x


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a float matrix (out, in) to int8 and scales (out,) in float32: w = q * scale, symmetric, rounded to nearest."""
    q = torch.empty(weight.shape, dtype=torch.int8)
    scale = torch.empty(len(weight), dtype=torch.float32)
    for start in range(0, len(weight), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        wide = weight[rows].float()
        largest = wide.abs().amax(dim=1)
        scale[rows] = torch.where(
            largest > 0, largest / 127, torch.ones_like(largest)
        )  # the scale of a zero row must not be 0
        q[rows] = (wide / scale[rows, None]).round_().clamp_(-127, 127).to(torch.int8)
    return q, scale


def quantize_int4(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantize a float matrix (out, in) to the weight and scales of Int4Linear; ``in`` is a multiple of 32, ``out`` of 16."""
    out, columns = weight.shape
    groups = weight.float().reshape(out, columns // INT4_GROUP, INT4_GROUP)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    # The scale is rounded to its final dtype before it divides, so that its rounding adds no error.
    scale = ((high - low) / 15).clamp_min(1e-6).to(dtype)
    middle = (low + 8 * scale.float()).to(dtype)
    q = ((groups - middle.float()[..., None]) / scale.float()[..., None] + 8).round_().clamp_(0, 15)
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.reshape(out, columns).to(torch.int32), 1)
    scales = torch.stack((scale, middle), dim=-1).transpose(0, 1).contiguous()
    return packed, scales
