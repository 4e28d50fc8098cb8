"""Waiting for what an editor or a server shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = 60) -> T:
    """What ``look`` returns once that is true. Raises AssertionError, which says ``what`` did not come and what was there last."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} s; last seen: {seen!r}"
        time.sleep(0.01)
    return seen
