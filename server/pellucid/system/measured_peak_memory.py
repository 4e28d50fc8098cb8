"""The peak memory of this process."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> int | None:
    """Return the peak memory of a CUDA device or else of the process, in bytes; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
