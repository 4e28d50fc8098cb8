"""GGUF's quantized tensors as :class:`Blocks`, with the file's own numbers and scales.

Layouts as in ggml's ggml-common.h. The scales of K-quants are products of a half and a small
integer, rounded to halves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from pellucid.engine.decoders.quantized_blocks import Blocks, Halves
from pellucid.models.formats.gguf_grids import GRIDS, Bytes, Floats, Grid

Parts = tuple[Bytes, Floats, Floats | None]
"""Numbers (blocks, columns of a block), and scales and minima (blocks, scales of a block)."""


def as_blocks(rows: Bytes, kind: str) -> Blocks | None:
    """Read stored rows (rows, bytes) of ggml type ``kind``; None for an unsupported type."""
    if kind not in READERS:
        return None
    bits, size, read = READERS[kind]
    numbers, scale, minimum = read(rows.reshape(-1, size))
    count = len(rows)
    return Blocks(
        numbers.reshape(count, -1),
        _halves(scale.reshape(count, -1)),
        None if minimum is None else _halves(minimum.reshape(count, -1)),
        bits,
        _TABLES.get(kind),
    )


def _halves(values: Floats) -> Halves:
    with np.errstate(over="ignore"):  # A damaged file may have any scale.
        return values.astype(np.float16)


def _half(block: Bytes, at: int) -> Floats:
    """Return the half at a byte of each block (blocks, 1)."""
    return np.ascontiguousarray(block[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Unpack (blocks, n) to (blocks, 2 n): all low nibbles, then all high nibbles."""
    return np.concatenate((packed & 15, packed >> 4), axis=1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Unpack (blocks, 4) to (blocks, 32), each bit as 0 or 16."""
    return np.left_shift(np.unpackbits(packed, axis=1, bitorder="little"), 4, dtype=np.uint8)


def _k_scales(block: Bytes) -> tuple[Floats, Floats]:
    """Return eight scales and minima of Q4_K or Q5_K blocks: six bits each, in bytes 4 to 16."""
    packed = block[:, 4:16].reshape(-1, 3, 4)
    first, second, rest = packed[:, 0], packed[:, 1], packed[:, 2]
    scales = np.concatenate((first & 63, (rest & 15) | (first >> 6) << 4), axis=1)
    minima = np.concatenate((second & 63, (rest >> 4) | (second >> 6) << 4), axis=1)
    return _half(block, 0) * scales, -_half(block, 2) * minima


def _q2_k(block: Bytes) -> Parts:
    scales = block[:, :16]
    return _twos(block[:, 16:80]), _half(block, 80) * (scales & 15), -_half(block, 82) * (scales >> 4)


def _q3_k(block: Bytes) -> Parts:
    # Bit i of the 32 bytes belongs to the i-th 32 columns.
    third = np.unpackbits(block[:, :32, None], axis=2, bitorder="little").transpose(0, 2, 1).reshape(-1, 256)
    low, high = block[:, 96:104], block[:, 104:108]
    fours = np.concatenate((low & 15, low >> 4), axis=1)
    twos = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    scales = (fours | twos << 4).astype(np.float32) - 32
    return _twos(block[:, 32:96]) | np.left_shift(third, 2, dtype=np.uint8), _half(block, 108) * scales, None


def _iq4_xs(block: Bytes) -> Parts:
    high = np.ascontiguousarray(block[:, 2:4]).view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = np.stack((block[:, 4:8] & 15, block[:, 4:8] >> 4), axis=2).reshape(-1, 8)
    numbers = _nibbles(block[:, 8:].reshape(-1, 16)).reshape(-1, 256)
    return numbers, _half(block, 0) * ((low | high << 4).astype(np.float32) - 32), None


def _twos(packed: Bytes) -> Bytes:
    """Unpack (blocks, 64) to (blocks, 256): the lowest two bits of 32 bytes, then the next."""
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    numbers: Bytes = packed.reshape(-1, 2, 1, 32) >> shifts & np.uint8(3)
    return numbers.reshape(-1, 256)


def _k_nibbles(packed: Bytes) -> Bytes:
    """Unpack (blocks, 128) to (blocks, 256): for each 32 bytes the low, then the high nibbles."""
    return _nibbles(packed.reshape(-1, 32)).reshape(-1, 256)


def _q5_k(block: Bytes) -> Parts:
    # Bit i of the 32 bytes belongs to the i-th 32 columns.
    fifth = np.unpackbits(block[:, 16:48, None], axis=2, bitorder="little").transpose(0, 2, 1).reshape(-1, 256)
    return _k_nibbles(block[:, 48:]) | np.left_shift(fifth, 4, dtype=np.uint8), *_k_scales(block)


def _q6_k(block: Bytes) -> Parts:
    low, high = block[:, :128].reshape(-1, 2, 64), block[:, 128:192].reshape(-1, 2, 1, 32)
    nibbles = np.concatenate((low & 15, low >> 4), axis=2)  # (blocks, 2, 128)
    twos = high >> np.arange(0, 8, 2, dtype=np.uint8)[:, None] & 3  # (blocks, 2, 4, 32)
    numbers = nibbles | (twos << 4).reshape(-1, 2, 128)
    scales = block[:, 192:208].view(np.int8).astype(np.float32)
    return numbers.reshape(-1, 256), _half(block, 208) * scales, None


_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # Twice the numbers of four bits.
_TABLES = dict.fromkeys(("IQ4_NL", "IQ4_XS"), (np.array(_IQ4) + 128).astype(np.uint8))
_TABLES["MXFP4"] = (np.array(_FP4) + 128).astype(np.uint8)
_TABLES |= {kind: grid.table for kind, grid in GRIDS.items()}


def _of_grid(kind: str, grid: Grid, block: Bytes) -> Parts:
    return *grid.read(kind, block), None


READERS: dict[str, tuple[int, int, Callable[[Bytes], Parts]]] = {
    "Q4_0": (4, 18, lambda b: (_nibbles(b[:, 2:]), _half(b, 0), None)),
    "Q4_1": (4, 20, lambda b: (_nibbles(b[:, 4:]), _half(b, 0), _half(b, 2))),
    "Q5_0": (5, 22, lambda b: (_nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6]), _half(b, 0), None)),
    "Q5_1": (5, 24, lambda b: (_nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8]), _half(b, 0), _half(b, 2))),
    "Q8_0": (8, 34, lambda b: (np.bitwise_xor(b[:, 2:], 128, dtype=np.uint8), _half(b, 0), None)),
    "Q2_K": (2, 84, _q2_k),
    "Q3_K": (3, 110, _q3_k),
    "IQ4_NL": (4, 18, lambda b: (_nibbles(b[:, 2:]), _half(b, 0), None)),
    "IQ4_XS": (4, 136, _iq4_xs),
    "MXFP4": (4, 17, lambda b: (_nibbles(b[:, 1:]), np.ldexp(np.float32(1), b[:, :1].astype(np.int32) - 128), None)),
    "Q4_K": (4, 144, lambda b: (_k_nibbles(b[:, 16:]), *_k_scales(b))),
    "Q5_K": (5, 176, _q5_k),
    "Q6_K": (6, 210, _q6_k),
    **{kind: (4, grid.size, partial(_of_grid, kind, grid)) for kind, grid in GRIDS.items()},
}
"""By ggml type: bits of a number, bytes of a block, reader."""
