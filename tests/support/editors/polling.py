"""Waits for a condition in an editor or a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Return the result of ``look`` as soon as the result is true.

    Raise AssertionError with ``what`` and the last result after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} s; last seen: {seen!r}"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)  # what is waited for needs the processor, too
    return seen
