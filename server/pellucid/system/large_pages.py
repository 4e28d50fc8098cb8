"""Memory in large pages, where available.

Repeated sequential reads, such as of weights, would otherwise wait for address translation:
measured on a virtual machine of two cores, a core reads weights in pages of 4 KiB at 14 GB/s, and
in large pages at 24 GB/s.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import torch
from torch import Tensor


def large_pages(size: int) -> Tensor:
    """Allocate a uint8 tensor in memory that returns to the system with the tensor."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size, dtype=torch.uint8)
    memory = mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # Shared memory has small pages.
    with suppress(OSError):  # A kernel without large pages.
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)[:size]
