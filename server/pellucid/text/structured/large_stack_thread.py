"""Threads for deep recursion: an overflow of the usual stack would end the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pellucid.system.daemon_threads import in_daemon_thread

T = TypeVar("T")

STACK_BYTES = 512 * 2**20
"""Memory is used only as far as the stack grows. Measured: a chain of 5,000 references needs more
than the usual 8 MiB.
"""

_starting = threading.Lock()


def start(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in a daemon thread; see ``in_daemon_thread``."""
    with _starting:
        usual = threading.stack_size(STACK_BYTES)
        try:
            return in_daemon_thread(work, "pellucid-grammar")
        finally:
            threading.stack_size(usual)
