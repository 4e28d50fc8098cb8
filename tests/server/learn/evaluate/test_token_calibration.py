"""Tests of the calibration of token probabilities over records."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.learn.evaluate.measures.token_calibration import BINS, calibration_errors, diagrams
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.metrics import Bins, calibration_error


@pytest.mark.parametrize("by", ["width", "mass"])
def test_calibration_of_tokens(by: Bins) -> None:
    """The sums by record and bin have the same error as all tokens together."""
    draw = np.random.default_rng(1)
    facts = []
    for size in (3, 40, 1, 200):
        confidences = draw.uniform(0, 1, size)
        facts.append(
            {
                "confidences": confidences.tolist(),
                "ranks": np.where(draw.uniform(0, 1, size) < confidences**2, 1, 3).tolist(),
            }
        )
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    together = [np.concatenate([fact[name] for fact in facts]) for name in ("confidences", "ranks")]
    expected = calibration_error(together[0], together[1] == 1, BINS[by], by)

    found = calibration_errors()[list(BINS).index(by)].of(rows)

    assert found is not None
    assert found.interval.value == pytest.approx(expected)
    assert found.interval.low <= expected
    assert sum(one.count for one in diagrams(facts)[list(BINS).index(by)].bins) == 244
