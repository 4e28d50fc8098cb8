"""Packing of weights in the order of the native kernels: sixteen interleaved rows.

native/weights.h reads this layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor

from pellucid.engine.decoders.lora_matrices import LowRank
from pellucid.engine.decoders.quantized_blocks import Blocks

BLOCK = 16  # Interleaved rows.
DEPTH = 4  # Columns per dot product instruction.
GROUP = 32  # Adjacent columns; also, activations that share a scale.
FORMS = ((4, 32, False), (4, 32, True), (5, 32, False), (5, 32, True), (6, 16, False), (8, 32, False))
"""The forms supported by the kernels: bits, columns that share a scale, presence of minima."""

_ROWS_AT_ONCE = 8192  # Keeps temporary copies small while packing.


def pack_matrices(parts: Sequence[Blocks], *, interleaved: bool) -> dict[str, Tensor]:
    """Pack matrices with the same input as ``0.number``, ``0.scale``, ``1.number`` ...

    If ``interleaved``, blocks of sixteen rows alternate, so a gate is computed with the gated rows.
    Parts of the same form become one matrix, because memory is read faster in order; otherwise the
    kernels alternate between parts.
    """
    if interleaved and len({(part.bits, part.shared, part.minimum is None) for part in parts}) == 1:
        minima = [part.minimum for part in parts if part.minimum is not None]
        numbers, scale = interleave(*(part.numbers for part in parts)), interleave(*(part.scale for part in parts))
        parts = [Blocks(numbers, scale, interleave(*minima) if minima else None, parts[0].bits)]
    return {
        f"{index}.{field}": tensor for index, part in enumerate(parts) for field, tensor in pack_matrix(part).items()
    }


def pack_matrix(matrix: Blocks) -> dict[str, Tensor]:
    """Pack a matrix (out, in) into ``number``, ``scale`` and ``minimum``.

    ``number`` is uint8 (out / 16, in / 32, bytes). Scales and minima are float16 (out / 16, in /
    32, scales of a group, 16). The last block is padded with zeros. See native/weights.h.
    """
    slices = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, matrix.shape[0], _ROWS_AT_ONCE)]
    parts = [_pack_rows(matrix.of_rows(itemgetter(rows))) for rows in slices]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _pack_rows(matrix: Blocks) -> dict[str, Tensor]:
    matrix = matrix.of_rows(_whole_blocks)
    rows, columns = matrix.shape
    strips = matrix.numbers.view(rows // BLOCK, BLOCK, columns // GROUP, GROUP // DEPTH, DEPTH).permute(0, 2, 3, 1, 4)
    packed = {
        "number": _squeeze(strips.flatten(3), matrix.bits).flatten(2),
        "scale": _interleaved_scales(matrix.scale, columns),
    }
    if matrix.minimum is not None:
        packed["minimum"] = _interleaved_scales(matrix.minimum, columns)
    return packed


def _whole_blocks(rows: Tensor) -> Tensor:
    missing = -len(rows) % BLOCK
    return torch.cat((rows, rows.new_zeros(missing, *rows.shape[1:]))) if missing else rows


def _squeeze(strips: Tensor, bits: int) -> Tensor:
    """Squeeze bytes (blocks, groups, 8, 64) to ``bits``; see load_strip() in native/weights.h."""
    if bits == 8:
        return strips
    low, high = strips & 15, strips >> 4
    nibbles = low[:, :, ::2] | low[:, :, 1::2] << 4
    if bits == 4:
        return nibbles
    sharing = 8 // (bits - 4)  # Strips with upper bits in a common byte.
    shifts = torch.arange(0, 8, bits - 4, dtype=torch.uint8)[:, None]
    blocks, groups, count, width = high.shape
    rest = (high.view(blocks, groups, count // sharing, sharing, width) << shifts).sum(dim=3, dtype=torch.uint8)
    return torch.cat((nibbles, rest), dim=2)


def _interleaved_scales(scale: Tensor, columns: int) -> Tensor:
    rows, count = scale.shape
    groups = columns // GROUP
    return scale.view(rows // BLOCK, BLOCK, groups, count // groups).permute(0, 2, 3, 1).contiguous()


def interleave(*parts: Tensor) -> Tensor:
    """Interleave parts of equal shape (out, ...): sixteen rows of each in turn."""
    return torch.stack([part.reshape(-1, BLOCK, *part.shape[1:]) for part in parts], dim=1).flatten(0, 2)


def pack_low_rank(parts: Sequence[LowRank | None], rows: Sequence[int], *, interleaved: bool) -> dict[str, Tensor]:
    """Pack an adapter's changes of matrix parts with ``rows`` rows each; see native/adapter.h.

    ``down`` (ranks / 16, in, 16) and ``up`` (out / 16, rank, 16) are float16. ``factor`` (ranks,)
    float32 holds powers of two that scale each rank into the float16 range. Missing parts and lower
    ranks are padded with zeros.
    """
    present = [part for part in parts if part is not None]
    rank, columns = max(part.rank for part in present), present[0].down.shape[1]
    down, factor = (
        torch.zeros(len(parts), -(-rank // BLOCK) * BLOCK, columns),
        torch.ones(len(parts), -(-rank // BLOCK) * BLOCK),
    )
    ups = [torch.zeros(count, rank) for count in rows]
    for index, part in enumerate(parts):
        if part is not None:
            below, above = (torch.frexp(peaks).exponent for peaks in (part.down.abs().amax(1), part.up.abs().amax(0)))
            down[index, : part.rank] = torch.ldexp(part.down, -below[:, None])
            ups[index][:, : part.rank] = torch.ldexp(part.up, -above)
            factor[index, : part.rank] = torch.ldexp(torch.ones(part.rank), below + above)
    whole = interleave(*ups) if interleaved else torch.cat(ups)
    return {
        "down": down.view(-1, BLOCK, columns).transpose(1, 2).half().contiguous(),
        "up": whole.view(-1, BLOCK, rank).transpose(1, 2).half().contiguous(),
        "factor": factor.flatten(),
    }
