"""Packing of weights in the order of the native kernels: sixteen interleaved rows.

native/weights.h reads this layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.lora_matrices import LowRank
from pellucid.engine.decoders.quantized_blocks import Blocks

BLOCK = 16  # Interleaved rows.
DEPTH = 4  # Columns per dot product instruction.
GROUP = 32  # Adjacent columns; also, activations that share a scale.
TABLE_BYTES = 64


class Form(NamedTuple):
    """Bits of a number, columns that share a scale, presence of minima and of a table."""

    bits: int
    shared: int
    has_minimum: bool
    has_table: bool = False


FORMS = (
    *(Form(2, 16, True), Form(3, 16, False), Form(4, 32, False), Form(4, 32, True)),
    *(Form(4, 16, False, True), Form(4, 32, False, True)),
    *(Form(5, 32, False), Form(5, 32, True), Form(6, 16, False), Form(8, 32, False)),
)
"""The forms of integers supported by the kernels."""

HALF_DTYPES: tuple[np.dtype[Any], ...] = (np.dtype(np.float16), np.dtype(np.uint16))
"""The floats of matrices supported by the kernels; numpy has no bfloat16, whose bits are uint16."""

Array = NDArray[Any]

_ROWS_AT_ONCE = 8192  # Keeps temporary copies small while packing.


def pack_matrices(parts: Sequence[Blocks | Array], *, interleaved: bool) -> dict[str, Array]:
    """Pack matrices with the same input as ``0.number``, ``0.scale``, ``1.number`` ...

    If ``interleaved``, blocks of sixteen rows alternate, so a gate is computed with the gated rows.
    Parts of the same form become one matrix, because memory is read faster in order; otherwise the
    kernels alternate between parts.
    """
    if interleaved and len({_form_of(part) for part in parts}) == 1:
        parts = [_interleaved(parts)]
    return {f"{index}.{field}": array for index, part in enumerate(parts) for field, array in pack_matrix(part).items()}


def pack_matrix(matrix: Blocks | Array) -> dict[str, Array]:
    """Pack a matrix (out, in) into ``number``, ``scale``, ``minimum`` and ``table``.

    ``number`` is uint8 (out / 16, in / 32, bytes). Scales and minima are float16 (out / 16, in /
    32, scales of a group, 16). The last block is padded with zeros. A table is repeated up to the
    width of the widest vector, 64 bytes. Of a matrix of floats, ``number`` is (out / 16, in / 32,
    32, 16), and there is no scale. See native/weights.h.
    """
    if not isinstance(matrix, Blocks):
        rows = _whole_blocks(matrix).reshape(-1, BLOCK, matrix.shape[1] // GROUP, GROUP)
        return {"number": np.ascontiguousarray(rows.transpose(0, 2, 3, 1))}
    slices = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, matrix.shape[0], _ROWS_AT_ONCE)]
    parts = [_pack_rows(matrix.of_rows(itemgetter(rows))) for rows in slices]
    packed = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return packed if matrix.table is None else packed | {"table": np.tile(matrix.table, TABLE_BYTES // 16)}


def stored_bits(number: Array) -> int:
    """Return the bits of a weight in a packed ``number``."""
    return number.nbytes * 8 // (math.prod(number.shape[:2]) * BLOCK * GROUP)


def _form_of(part: Blocks | Array) -> tuple[object, ...]:
    if not isinstance(part, Blocks):
        return (part.dtype,)
    return part.bits, part.shared, part.minimum is None, None if part.table is None else part.table.tobytes()


def _interleaved(parts: Sequence[Blocks | Array]) -> Blocks | Array:
    if halves := [part for part in parts if not isinstance(part, Blocks)]:
        return interleave(*halves)
    blocks = [part for part in parts if isinstance(part, Blocks)]
    minima = [part.minimum for part in blocks if part.minimum is not None]
    numbers, scale = interleave(*(part.numbers for part in blocks)), interleave(*(part.scale for part in blocks))
    return Blocks(numbers, scale, interleave(*minima) if minima else None, blocks[0].bits, blocks[0].table)


def _pack_rows(matrix: Blocks) -> dict[str, Array]:
    matrix = matrix.of_rows(_whole_blocks)
    rows, columns = matrix.shape
    strips = matrix.numbers.reshape(rows // BLOCK, BLOCK, columns // GROUP, GROUP // DEPTH, DEPTH)
    strips = strips.transpose(0, 2, 3, 1, 4).reshape(rows // BLOCK, columns // GROUP, GROUP // DEPTH, BLOCK * DEPTH)
    packed = {
        "number": _squeeze(strips, matrix.bits).reshape(rows // BLOCK, columns // GROUP, -1),
        "scale": _interleaved_scales(matrix.scale, columns),
    }
    if matrix.minimum is not None:
        packed["minimum"] = _interleaved_scales(matrix.minimum, columns)
    return packed


def _whole_blocks(rows: Array) -> Array:
    missing = -len(rows) % BLOCK
    return np.concatenate((rows, np.zeros((missing, *rows.shape[1:]), rows.dtype))) if missing else rows


def _squeeze(strips: Array, bits: int) -> Array:
    """Squeeze bytes (blocks, groups, 8, 64) to ``bits``; see load_strip() in native/weights.h."""
    if bits == 8:
        return strips
    base = 4 if bits >= 4 else 2
    low = _share_bytes(strips & ((1 << base) - 1), base)
    return np.concatenate((low, _share_bytes(strips >> base, bits - base)), axis=2) if bits > base else low


def _share_bytes(strips: Array, width: int) -> Array:
    """Put the numbers of ``width`` bits of several strips in turn into common bytes."""
    blocks, groups, count, bytes_ = strips.shape
    sharing, shifts = 8 // width, np.arange(0, 8, width, dtype=np.uint8)[:, None]
    together = strips.reshape(blocks, groups, count // sharing, sharing, bytes_) << shifts
    shared: Array = together.sum(axis=3, dtype=np.uint8)
    return shared


def _interleaved_scales(scale: Array, columns: int) -> Array:
    rows, count = scale.shape
    groups = columns // GROUP
    return np.ascontiguousarray(scale.reshape(rows // BLOCK, BLOCK, groups, count // groups).transpose(0, 2, 3, 1))


def interleave(*parts: Array) -> Array:
    """Interleave parts of equal shape (out, ...): sixteen rows of each in turn."""
    blocks = np.stack([part.reshape(-1, BLOCK, *part.shape[1:]) for part in parts], axis=1)
    return blocks.reshape(-1, *parts[0].shape[1:])


def pack_low_rank(parts: Sequence[LowRank | None], rows: Sequence[int], *, interleaved: bool) -> dict[str, Array]:
    """Pack an adapter's changes of matrix parts with ``rows`` rows each; see native/adapter.h.

    ``down`` (ranks / 16, in, 16) and ``up`` (out / 16, rank, 16) are float16. ``factor`` (ranks,)
    float32 holds powers of two that scale each rank into the float16 range. Missing parts and lower
    ranks are padded with zeros.
    """
    present = [part for part in parts if part is not None]
    rank, columns = max(part.rank for part in present), present[0].down.shape[1]
    padded = -(-rank // BLOCK) * BLOCK
    down = np.zeros((len(parts), padded, columns), np.float32)
    factor = np.ones((len(parts), padded), np.float32)
    ups = [np.zeros((count, rank), np.float32) for count in rows]
    for index, part in enumerate(parts):
        if part is not None:
            below, above = np.frexp(np.abs(part.down).max(axis=1))[1], np.frexp(np.abs(part.up).max(axis=0))[1]
            down[index, : part.rank] = np.ldexp(part.down, -below[:, None])
            ups[index][:, : part.rank] = np.ldexp(part.up, -above)
            factor[index, : part.rank] = np.ldexp(np.ones(part.rank, np.float32), below + above)
    whole = interleave(*ups) if interleaved else np.concatenate(ups)
    return {
        "down": _halves(down.reshape(-1, BLOCK, columns)),
        "up": _halves(whole.reshape(-1, BLOCK, rank)),
        "factor": factor.reshape(-1),
    }


def _halves(rows: Array) -> Array:
    """Return float16 (blocks, columns, 16) of rows (blocks, 16, columns)."""
    return np.ascontiguousarray(rows.transpose(0, 2, 1).astype(np.float16))
