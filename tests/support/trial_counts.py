"""How often a long trial tries: a tenth of the whole count in `make test`, the whole count in `make trials`."""

from __future__ import annotations

import os

IS_TRIAL = "TRIALS" in os.environ


def trial_count(whole: int) -> int:
    """Return how often to try, at least twice."""
    return whole if IS_TRIAL else max(whole // 10, 2)
