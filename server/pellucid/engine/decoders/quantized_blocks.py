"""Integer weights of a few bits, with scales shared by some columns of a row, as in GGUF files.

The native kernels compute with these blocks; all other code dequantizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHARED_COLUMNS = 32
"""Columns that share a scale after rounding by Pellucid."""

_ROWS_AT_ONCE = 8192  # Keeps float32 copies small while rounding.


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix: ``numbers`` uint8 (rows, columns), ``scale`` and ``minimum`` float16.

    Scales have shape (rows, columns / shared). A weight is number * scale + minimum, or without a
    minimum (number - 2^(bits - 1)) * scale.
    """

    numbers: Tensor
    scale: Tensor
    minimum: Tensor | None
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.numbers.shape)

    @property
    def shared(self) -> int:
        return self.numbers.shape[1] // self.scale.shape[1]

    def dequantized(self) -> Tensor:
        numbers = self.numbers.view(*self.scale.shape, self.shared).float()
        if self.minimum is None:
            numbers -= 1 << (self.bits - 1)
        weights = numbers.mul_(self.scale.float()[..., None])
        if self.minimum is not None:
            weights += self.minimum.float()[..., None]
        return weights.view(self.numbers.shape)

    def of_rows(self, change: Callable[[Tensor], Tensor]) -> Blocks:
        """Return the matrix with ``change`` applied to the rows."""
        minimum = None if self.minimum is None else change(self.minimum)
        return Blocks(change(self.numbers), change(self.scale), minimum, self.bits)


def round_to_blocks(weight: Tensor, bits: int) -> Blocks:
    """Round a float matrix (rows, columns) to 8 bits (symmetric) or to 4 bits with a minimum.

    ``columns`` is a multiple of 32. Dividing by the already rounded scale avoids an extra error.
    """
    parts = [
        _rounded(weight[start : start + _ROWS_AT_ONCE].float(), bits) for start in range(0, len(weight), _ROWS_AT_ONCE)
    ]
    minima = [part.minimum for part in parts if part.minimum is not None]
    return Blocks(
        torch.cat([part.numbers for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(minima) if minima else None,
        bits,
    )


def _rounded(weight: Tensor, bits: int) -> Blocks:
    groups = weight.reshape(len(weight), -1, SHARED_COLUMNS)
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
    """Return nonzero float16 scales: weights with scale 0 are negligible."""
    return scale.to(torch.float16).clamp_min(torch.finfo(torch.float16).smallest_normal)
