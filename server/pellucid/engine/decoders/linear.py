"""Weight matrices on torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.lora_matrices import LowRank
from pellucid.engine.decoders.quantized_blocks import INT4_GROUP

DEQUANTIZE_ROWS = 32  # Minimum rows to dequantize: torch's weight-only kernels suit few rows.
VECTOR_BYTES = 64
_ROWS_AT_ONCE = 8192  # Keeps float32 copies small while quantizing.


class Linear(Protocol):
    """A matrix (out, in) with an optional bias."""

    @property
    def nbytes(self) -> int: ...

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply x (T, in); return (T, out) in x's dtype."""
        ...


class DenseLinear:
    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Int8Linear:
    """An int8 matrix (out, in) with one scale per row: (out,) in the dtype of the input."""

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
    """An int4 matrix in groups of 32 columns, in the layout of torch's CPU kernel.

    ``weight`` (out, in / 2) uint8; ``scales`` (in / 32, out, 2): scale and middle of each group,
    with w = q * scale + middle - 8 * scale.
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
    """An adapted linear: ``changes`` for consecutive parts of ``rows`` rows."""

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
                down, up = (torch.from_numpy(side).to(device, dtype) for side in (change.down, change.up))
                self._parts.append((slice(at, at + count), down, up))
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
    """Return the tensor contiguous and aligned to 64 bytes; copy only if needed.

    Torch's integer kernels (2.15) may load aligned vectors, and crash on unaligned mapped tensors.
    """
    x = x.contiguous()
    return x.clone() if x.data_ptr() % VECTOR_BYTES else x


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a float matrix (out, in) to int8 and float32 scales (out,): w = q * scale."""
    q = torch.empty(weight.shape, dtype=torch.int8)
    scale = torch.empty(len(weight), dtype=torch.float32)
    for start in range(0, len(weight), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        wide = weight[rows].float()
        largest = wide.abs().amax(dim=1)
        # A zero row needs a nonzero scale.
        scale[rows] = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        q[rows] = (wide / scale[rows, None]).round_().clamp_(-127, 127).to(torch.int8)
    return q, scale


def quantize_int4(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantize a float matrix (out, in) for Int4Linear; ``in`` % 32 and ``out`` % 16 must be 0."""
    out, columns = weight.shape
    groups = weight.float().reshape(out, columns // INT4_GROUP, INT4_GROUP)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    # Dividing by the already rounded scale avoids an extra error.
    scale = ((high - low) / 15).clamp_min(1e-6).to(dtype)
    middle = (low + 8 * scale.float()).to(dtype)
    q = ((groups - middle.float()[..., None]) / scale.float()[..., None] + 8).round_().clamp_(0, 15)
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.reshape(out, columns).to(torch.int32), 1)
    scales = torch.stack((scale, middle), dim=-1).transpose(0, 1).contiguous()
    return packed, scales
