"""Tests of leads: a comparison of readers names a winner only beyond chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.learn.score_text import TextReading
from pellucid.learn.train.lead_significance import BLOCK_BYTES, describe_lead, lead

RANDOM = np.random.default_rng(0)


def reading(bits: np.ndarray, sizes: np.ndarray) -> TextReading:
    """Return a reading of tokens with these bits."""
    ones = np.ones(len(bits))
    return TextReading(-bits * math.log(2), ones.astype(np.int64), sizes, ones)


def bytes_read(bits: np.ndarray) -> TextReading:
    """Return a reading with one byte per token."""
    return reading(bits, np.ones(len(bits), dtype=np.int64))


def test_a_lead_across_tokenizers() -> None:
    """The lead is the difference of bits per byte for all tokenizers, with an interval."""
    bits = RANDOM.gamma(2.0, 1.0, 8 * BLOCK_BYTES + 100)
    pairs = reading(bits.reshape(-1, 2).sum(1) * 0.9, np.full(len(bits) // 2, 2))
    found = lead(pairs, bytes_read(bits))

    assert found.value == pytest.approx(0.1 * bits.mean())
    assert found.low < found.value < found.high
    assert found.excludes_zero
    assert describe_lead("ngram", found).startswith("The gpt reads better than the ngram: by +0.2")
    assert describe_lead("ngram", lead(bytes_read(bits), pairs)).startswith(
        "The gpt reads worse than the ngram: by -0.2"
    )


def test_a_lead_by_chance() -> None:
    """Two readers, each better in some blocks, have no winner."""
    bits = RANDOM.gamma(2.0, 1.0, 10 * BLOCK_BYTES)
    swayed = bits + np.repeat([0.3, -0.3, 0.2, -0.2, 0.3, -0.25, 0.2, -0.2, 0.1, -0.2], BLOCK_BYTES)
    assert "No difference is shown" in describe_lead("ngram", lead(bytes_read(bits), bytes_read(swayed)))


def test_too_little_text() -> None:
    """A single block does not show a difference."""
    bits = np.ones(BLOCK_BYTES // 2)
    assert "No difference is shown" in describe_lead("ngram", lead(bytes_read(bits), bytes_read(bits + 1)))
