"""GGUF's tensors of one to three bits, whose numbers are in grids, as bytes of a table.

A weight is half * unit * factor * value: a half of 256 columns, a unit of the type, an odd factor
of 16 or 32 columns, and one of at most sixteen whole values. The gguf library knows the grids, and
reads exact values where the half is 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_BLOCKS_AT_ONCE = 1024
"""A quarter of a million weights, which a thread keeps as floats."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A type: bytes of a block, unit, values without a sign, factors, and the byte of the half.

    Without a byte, the half is in the upper four bits of the last four pairs of bytes.
    """

    size: int
    unit: float
    values: tuple[int, ...]
    factors: Callable[[Bytes], npt.NDArray[np.uint16]]
    at: int | None = 0

    @property
    def table(self) -> Bytes:
        """All values, increased by 128."""
        table = np.full(16, 128, np.uint8)
        for place, value in enumerate(self.values):
            table[[7 - place, 8 + place]] = 128 - value, 128 + value
        return table

    def read(self, kind: str, block: Bytes) -> tuple[Bytes, Floats]:
        """Return numbers (blocks, 256) in the table, and scales, of blocks of a ggml type."""
        parts = np.array_split(block, -(-len(block) // _BLOCKS_AT_ONCE))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Numpy releases the interpreter's lock while computing.
            numbers = np.concatenate(list(pool.map(lambda part: self._numbers(kind, part), parts)))
        if self.at is None:
            nibbles = (block[:, 49::2] >> 4).astype(np.uint16) << np.arange(0, 16, 4, dtype=np.uint16)
            half = nibbles.sum(axis=1, dtype=np.uint16, keepdims=True).view(np.float16)
        else:
            half = np.ascontiguousarray(block[:, self.at : self.at + 2]).view(np.float16)
        return numbers, half.astype(np.float32) * np.float32(self.unit) * self.factors(block)

    def _numbers(self, kind: str, block: Bytes) -> Bytes:
        from gguf.constants import GGMLQuantizationType  # The import takes 0.1 s.
        from gguf.quants import dequantize

        one, factors = block.copy(), self.factors(block)
        if self.at is None:
            one[:, 49::2] = one[:, 49::2] & 15 | np.array((0, 0, 0xC0, 0x30), np.uint8)
        else:
            one[:, self.at : self.at + 2] = 0, 0x3C
        exact = dequantize(one, GGMLQuantizationType[kind]).reshape(*factors.shape, -1)
        values = (exact / (np.float32(self.unit) * factors[..., None])).astype(np.int16) + 128
        number_of = np.zeros(256, np.uint8)
        number_of[self.table] = np.arange(16)
        numbers: Bytes = number_of[values].reshape(len(block), -1)
        return numbers


def _whole(block: Bytes) -> npt.NDArray[np.uint16]:
    return np.ones((len(block), 8), np.uint16)


def _odd(block: Bytes, shifts: tuple[int, ...], mask: int) -> npt.NDArray[np.uint16]:
    """Return odd numbers of some bits (blocks, n) of words (blocks, bytes of words)."""
    words = np.ascontiguousarray(block).view(np.uint16)[..., None] >> np.array(shifts, np.uint16) & mask
    return (2 * words + 1).reshape(len(block), -1).astype(np.uint16)


_NIBBLES, _TOP, _THREES = ((0, 4, 8, 12), 15), ((12,), 15), ((0, 3, 6, 9), 7)
_TWO, _THREE, _ONE = (8, 25, 43), (4, 12, 20, 28, 36, 44, 52, 62), (1, 7, 9)

GRIDS = {
    "IQ1_S": Grid(50, 1 / 8, _ONE, lambda b: _odd(b[:, 34:], (12,), 7)),
    "IQ1_M": Grid(56, 1 / 8, _ONE, lambda b: _odd(b[:, 48:], *_THREES), None),
    "IQ2_XXS": Grid(66, 1 / 8, _TWO, lambda b: _odd(b[:, 2:], *_TOP)[:, 3::4]),
    "IQ2_XS": Grid(74, 1 / 8, _TWO, lambda b: _odd(b[:, 66:], *_NIBBLES)),
    "IQ2_S": Grid(82, 1 / 8, _TWO, lambda b: _odd(b[:, 74:], *_NIBBLES)),
    "IQ3_XXS": Grid(98, 1 / 4, _THREE, lambda b: _odd(b[:, 66:], *_TOP)[:, 1::2]),
    "IQ3_S": Grid(110, 1.0, (1, 3, 5, 7, 9, 11, 13, 15), lambda b: _odd(b[:, 106:], *_NIBBLES)),
    "TQ1_0": Grid(54, 1.0, (0, 1, 2), _whole, 52),
    "TQ2_0": Grid(66, 1.0, (0, 1, 2), _whole, 64),
}
"""By ggml type."""
