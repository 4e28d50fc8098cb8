"""Threads for deep recursion: an overflow of the usual stack would end the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

STACK_BYTES = 512 * 2**20
"""Memory is used only as far as the stack grows. Measured: a chain of 5,000 references needs more
than the usual 8 MiB.
"""

_starting = threading.Lock()


def start(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in a daemon thread, and return a future, which cannot be cancelled."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="pellucid-grammar", daemon=True)
    with _starting:
        usual = threading.stack_size(STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
    return future
