"""Integer weights of a few bits, with scales shared by some columns of a row, as in GGUF files.

The native kernels compute with these blocks; all other code dequantizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

SHARED_COLUMNS = 32
"""Columns that share a scale after rounding by Pellucid."""

_ROWS_AT_ONCE = 4096  # Keeps float32 copies small while rounding.


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix: ``numbers`` uint8 (rows, columns), ``scale`` and ``minimum`` float16.

    Scales have shape (rows, columns / shared). A weight is number * scale + minimum, or without a
    minimum (number - 2^(bits - 1)) * scale. With a ``table`` uint8 (16,), numbers of 4 bits are
    indices of bytes in the table, and a weight is (byte - 128) * scale.
    """

    numbers: NDArray[np.uint8]
    scale: Halves
    minimum: Halves | None
    bits: int
    table: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape

    @property
    def shared(self) -> int:
        return int(self.numbers.shape[1] // self.scale.shape[1])

    def dequantized(self) -> Floats:
        stored = self.numbers if self.table is None else self.table[self.numbers]
        numbers = stored.reshape(*self.scale.shape, self.shared).astype(np.float32)
        if self.minimum is None:
            numbers -= 1 << ((self.bits if self.table is None else 8) - 1)
        numbers *= self.scale.astype(np.float32)[..., None]
        if self.minimum is not None:
            numbers += self.minimum.astype(np.float32)[..., None]
        return numbers.reshape(self.numbers.shape)

    def of_rows(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Blocks:
        """Return the matrix with ``change`` applied to the rows."""
        minimum = None if self.minimum is None else change(self.minimum)
        return Blocks(change(self.numbers), change(self.scale), minimum, self.bits, self.table)


Weight: TypeAlias = NDArray[Any] | Blocks
"""Floats, with the bits of bfloat16 as uint16, or a matrix in the blocks of its file."""


def floats(stored: NDArray[Any]) -> Floats:
    """Return float32 values; numpy has no bfloat16, whose bits are uint16."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def clipped_halves(weight: NDArray[Any]) -> Halves:
    """Round floats to the nearest float16; floats that do not fit become the largest."""
    limit = np.finfo(np.float16).max
    halves: Halves = np.clip(weight, -limit, limit).astype(np.float16)
    return halves


def round_to_blocks(weight: NDArray[Any], bits: int) -> Blocks:
    """Round a float matrix (rows, columns) to 8 bits (symmetric) or to 4 bits with a minimum.

    ``columns`` is a multiple of 32. Dividing by the already rounded scale avoids an extra error.
    """
    parts = [
        _rounded(floats(weight[start : start + _ROWS_AT_ONCE]), bits) for start in range(0, len(weight), _ROWS_AT_ONCE)
    ]
    minima = [part.minimum for part in parts if part.minimum is not None]
    return Blocks(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(minima) if minima else None,
        bits,
    )


def _rounded(weight: Floats, bits: int) -> Blocks:
    groups = weight.reshape(len(weight), -1, SHARED_COLUMNS)
    if bits == 8:
        scale = _divisor(np.abs(groups).max(axis=2) / np.float32(127))
        numbers = np.clip(np.rint(groups / scale.astype(np.float32)[..., None]), -127, 127) + 128
        return Blocks(numbers.astype(np.uint8).reshape(weight.shape), scale, None, bits)
    assert bits == 4, bits
    low, high = groups.min(axis=2), groups.max(axis=2)
    scale, minimum = _divisor((high - low) / np.float32(15)), low.astype(np.float16)
    numbers = np.rint((groups - minimum.astype(np.float32)[..., None]) / scale.astype(np.float32)[..., None])
    return Blocks(np.clip(numbers, 0, 15).astype(np.uint8).reshape(weight.shape), scale, minimum, bits)


def _divisor(scale: Floats) -> Halves:
    """Return nonzero float16 scales: weights with scale 0 are negligible."""
    return np.maximum(scale.astype(np.float16), np.finfo(np.float16).smallest_normal)
