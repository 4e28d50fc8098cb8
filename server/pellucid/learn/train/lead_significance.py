"""Tests the difference between two learners on the test part."""

from __future__ import annotations

import numpy as np

from pellucid.learn.metrics import Floats, Interval, ratio_difference
from pellucid.learn.score_text import TextReading

BLOCK_BYTES = 512
"""Bytes of a resampled block. Nearby tokens are not independent."""


def lead(one: TextReading, other: TextReading) -> Interval:
    """Return how many fewer bits per byte ``one`` needs, by resampling blocks."""
    # A tokenizer may add a space (a byte) before a text.
    size = max(one.bytes, other.bytes)
    blocks = -(-size // BLOCK_BYTES)
    sizes = np.full(blocks, float(BLOCK_BYTES))
    sizes[-1] = size - BLOCK_BYTES * (blocks - 1)
    return ratio_difference(_bits(one, blocks), _bits(other, blocks), sizes)


def describe_lead(name: str, found: Interval) -> str:
    interval = (
        f"95 % interval {found.low:+.3f} to {found.high:+.3f}, resampling blocks of {BLOCK_BYTES} bytes of this "
        "test part"
    )
    if not found.excludes_zero:
        return f"No difference is shown between the gpt and the {name}: {found.value:+.3f} bits/byte ({interval})."
    return (
        f"The gpt reads {'better' if found.value > 0 else 'worse'} than the {name}: by {found.value:+.3f} "
        f"bits/byte ({interval})."
    )


def _bits(reading: TextReading, blocks: int) -> Floats:
    """Return the bits of the tokens that begin in each block."""
    begins = np.cumsum(reading.sizes) - reading.sizes
    # A final token may have no bytes.
    return np.bincount(np.minimum(begins // BLOCK_BYTES, blocks - 1), -reading.logprobs / np.log(2), blocks).astype(
        np.float64
    )
