"""Random tensors in the block types of GGUF, also in those that the gguf library cannot write."""

from __future__ import annotations

import gguf
import numpy as np
from numpy.typing import NDArray

_HALVES_AT = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,)}
"""Bytes of a block at which halves begin; usually the first byte, and possibly the third."""


def random_rows(kind: str, rows: int, columns: int, size: float = 1.0) -> NDArray[np.uint8]:
    """Return stored rows (rows, bytes) of a ggml type, with halves below ``size``."""
    draw = np.random.default_rng(0)
    block, bytes_ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    stored = draw.integers(0, 256, (rows, columns // block, bytes_), dtype=np.uint8)
    half = (size * draw.random((rows, columns // block, 1))).astype(np.float16)
    if kind == "MXFP4":  # A byte is the exponent of the scale.
        stored[:, :, 0] = draw.integers(120, 136, stored.shape[:2])
    elif kind == "IQ1_M":  # The half is in the upper bits of four bytes.
        nibbles = half.view(np.uint16) >> np.arange(0, 16, 4, dtype=np.uint16) & 15
        stored[:, :, 49::2] = stored[:, :, 49::2] & 15 | nibbles << 4
    else:
        for at in _HALVES_AT.get(kind, (0, 2)):
            stored[:, :, at : at + 2] = half.view(np.uint8)
    return stored.reshape(rows, -1)
