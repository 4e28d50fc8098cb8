"""Memory from the system, in large pages where available, or in small pages.

Repeated sequential reads, such as of weights, would otherwise wait for address translation:
measured on a virtual machine of two cores, a core reads weights in pages of 4 KiB at 14 GB/s, and
in large pages at 24 GB/s.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray


def large_pages(size: int) -> NDArray[np.uint8]:
    """Allocate bytes in memory that returns to the system with the array."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    memory = _private(size)
    with suppress(OSError):  # A kernel without large pages.
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:size]


def small_pages(size: int) -> NDArray[np.uint8]:
    """Allocate bytes that take memory only where written: numpy itself asks for large pages."""
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.empty(size, np.uint8)
    memory = _private(size)
    with suppress(OSError):  # A kernel without large pages.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:size]


def _private(size: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # Shared memory has small pages.
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{size} bytes cannot be allocated: {error}") from error
