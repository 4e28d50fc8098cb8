"""Memory of large pages, where the system has them.

What is read in order again and again, weights above all, waits for addresses otherwise: measured on a virtual machine of two
cores, one of them reads weights in pages of 4 KiB at 14 GB/s, and in these at 24.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import torch
from torch import Tensor


def large_pages(size: int) -> Tensor:
    """A tensor of ``size`` bytes, uint8, in memory of its own, which goes back to the system with it."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size, dtype=torch.uint8)
    memory = mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared memory has small pages
    with suppress(OSError):  # a kernel that is built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)[:size]
