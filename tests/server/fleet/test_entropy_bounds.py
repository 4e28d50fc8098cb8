"""The bounds of an entropy, with only the most probable tokens known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.fleet.entropy_bounds import entropy_range

LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=60)


@given(LOGITS, st.integers(1, 20))
def test_the_entropy_is_within_its_bounds(logits: list[float], k: int) -> None:
    """The exact entropy is within the bounds, even for logprobs rounded to float32."""
    values = np.array(logits)
    logprobs = values - values.max() - np.log(np.exp(values - values.max()).sum())
    exact = float(-(np.exp(logprobs) * logprobs).sum())
    known = np.sort(logprobs)[::-1][:k].astype(np.float32).tolist()
    least, most = entropy_range(known, known[-1], len(logits))
    assert least - 1e-4 <= exact <= most + 1e-4
    assert least <= most + 1e-9


@given(LOGITS)
def test_a_distribution_that_is_known_has_no_range(logits: list[float]) -> None:
    """If all tokens are known, both bounds are the entropy."""
    values = np.array(logits)
    logprobs = values - values.max() - np.log(np.exp(values - values.max()).sum())
    least, most = entropy_range(logprobs.tolist(), float(logprobs.min()), len(logits))
    assert least == most == pytest.approx(float(-(np.exp(logprobs) * logprobs).sum()), abs=1e-6)


def test_more_alternatives_narrow_the_range() -> None:
    """Each further known token narrows the range."""
    logprobs = np.log(np.arange(50, 0, -1) / np.arange(1, 51).sum()).tolist()
    widths = [most - least for least, most in (entropy_range(logprobs[:k], logprobs[k - 1], 50) for k in range(1, 50))]
    assert all(narrower < wider for wider, narrower in pairwise(widths))
