"""Weights as whole numbers of a few bits, some columns of a row with a scale of their own: what GGUF files hold.

The native kernels compute with them as they are; everything else turns them into floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHARED = 32
"""Columns that share a scale where we round ourselves."""

_ROWS_AT_ONCE = 8192  # of a matrix that is rounded, so that the float32 copies stay small


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix: ``numbers`` uint8 (rows, columns), ``scale`` and ``minimum`` float16 (rows, columns / shared).

    A weight is number * scale + minimum, or, where there is no minimum, (number - 2^(bits - 1)) * scale.
    """

    numbers: Tensor
    scale: Tensor
    minimum: Tensor | None
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return tuple(self.numbers.shape)

    @property
    def shared(self) -> int:
        """Columns that share a scale."""
        return self.numbers.shape[1] // self.scale.shape[1]

    def dequantized(self) -> Tensor:
        """The weights in float32 (rows, columns)."""
        numbers = self.numbers.view(*self.scale.shape, self.shared).float()
        if self.minimum is None:
            numbers -= 1 << (self.bits - 1)
        weights = numbers.mul_(self.scale.float()[..., None])
        if self.minimum is not None:
            weights += self.minimum.float()[..., None]
        return weights.view(self.numbers.shape)

    def of_rows(self, change: Callable[[Tensor], Tensor]) -> Blocks:
        """The matrix after a change to the order of rows, which ``change`` makes to a tensor (rows, ...)."""
        minimum = None if self.minimum is None else change(self.minimum)
        return Blocks(change(self.numbers), change(self.scale), minimum, self.bits)


def round_to_blocks(weight: Tensor, bits: int) -> Blocks:
    """A float matrix (rows, columns), columns a multiple of 32, as numbers of 8 bits, symmetric, or of 4 with a minimum.

    The scale is rounded to half precision before it divides, so that its rounding is not an error of its own.
    """
    parts = [_rounded(weight[start : start + _ROWS_AT_ONCE].float(), bits) for start in range(0, len(weight), _ROWS_AT_ONCE)]
    minima = [part.minimum for part in parts if part.minimum is not None]
    return Blocks(
        torch.cat([part.numbers for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(minima) if minima else None,
        bits,
    )


def _rounded(weight: Tensor, bits: int) -> Blocks:
    groups = weight.reshape(len(weight), -1, SHARED)
    if bits == 8:
        scale = _divisor(groups.abs().amax(dim=2) / 127)
        numbers = (groups / scale.float()[..., None]).round_().clamp_(-127, 127) + 128
        return Blocks(numbers.to(torch.uint8).view(weight.shape), scale, None, bits)
    assert bits == 4, bits
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    scale, minimum = _divisor((high - low) / 15), low.to(torch.float16)
    numbers = ((groups - minimum.float()[..., None]) / scale.float()[..., None]).round_().clamp_(0, 15)
    return Blocks(numbers.to(torch.uint8).view(weight.shape), scale, minimum, bits)


def _divisor(scale: Tensor) -> Tensor:
    """Scales in half precision, none of them zero: what they divide is zero then, or too small to be told from it."""
    return scale.to(torch.float16).clamp_min(torch.finfo(torch.float16).smallest_normal)
