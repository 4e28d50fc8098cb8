"""A thread per model for work that waits for a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pellucid.errors import QueueFullError

T = TypeVar("T")

MAX_WAIT_SECONDS = 10
"""Default time limit for the wait for earlier work."""


class ModelThread:
    """A queue of blocking work. The first work starts the thread."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="pellucid-text")

    async def run(self, work: Callable[[], T], longest_wait: float | None = None) -> T:
        """Return the result of ``work``. Raises QueueFullError after ``longest_wait`` seconds."""
        asked = time.monotonic()
        longest = MAX_WAIT_SECONDS if longest_wait is None else longest_wait

        def in_turn() -> T:
            if time.monotonic() - asked > longest:
                raise QueueFullError(
                    f"The tokenizer or chat template of {self._model} is busy with earlier texts: try again later."
                )
            return work()

        return await asyncio.wrap_future(self._executor.submit(in_turn))
