"""Counts of long trials: a tenth of the whole in `make test`, the whole in `make trials`."""

from __future__ import annotations

import os

IS_TRIAL = "TRIALS" in os.environ


def trial_count(whole: int) -> int:
    """Return how often to try, at least twice."""
    return whole if IS_TRIAL else max(whole // 10, 2)
