"""Whether one learner reads the test part better than another, or seems to by chance."""

from __future__ import annotations

import numpy as np

from pellucid.learn.metrics import Floats, Interval, ratio_difference
from pellucid.learn.reading import TextReading

BLOCK = 512
"""Bytes of the test part that are drawn together: what is hard to read comes in stretches, and tokens of one are no strangers."""


def lead(one: TextReading, other: TextReading) -> Interval:
    """How many bits per byte fewer ``one`` takes than ``other`` for the same bytes; its interval by drawing blocks of them anew."""
    size = max(one.bytes, other.bytes)  # a tokenizer may put a space in front of a text, which is a byte more
    blocks = -(-size // BLOCK)
    sizes = np.full(blocks, float(BLOCK))
    sizes[-1] = size - BLOCK * (blocks - 1)
    return ratio_difference(_bits(one, blocks), _bits(other, blocks), sizes)


def told(name: str, found: Interval) -> str:
    """The lead over the learner of that name in one sentence; of better or worse it speaks only where the interval says so."""
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, blocks of {BLOCK} bytes of this test part drawn anew"
    if not found.excludes_zero:
        return f"Whether the gpt or the {name} reads better is not shown: {found.value:+.3f} bits/byte between them ({interval})."
    return f"The gpt reads {'better' if found.value > 0 else 'worse'} than the {name}: by {found.value:+.3f} bits/byte ({interval})."


def _bits(reading: TextReading, blocks: int) -> Floats:
    """The bits of the tokens that begin in each block."""
    begins = np.cumsum(reading.sizes) - reading.sizes
    # A token without bytes may stand at the very end.
    return np.bincount(np.minimum(begins // BLOCK, blocks - 1), -reading.logprobs / np.log(2), blocks).astype(np.float64)
