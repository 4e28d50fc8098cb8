"""Memory: the use of the process, the free bytes of a device, and the return of freed memory."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path


def resident() -> int | None:
    return memory_fields().get("VmRSS")


def return_free_memory() -> None:
    """Return freed memory to the system: gigabytes after a long text (glibc only)."""
    with suppress(AttributeError, TypeError):  # A different C library, or Windows.
        ctypes.CDLL(None).malloc_trim(0)


def memory_fields() -> dict[str, int]:
    """Return the sizes in Linux's /proc/self/status, in bytes; {} without the file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return {}
    lines = (line.split() for line in path.read_text().splitlines() if line.endswith(" kB"))
    return {words[0].removesuffix(":"): int(words[1]) * 1024 for words in lines}


def total_memory(device: str) -> int:
    """Return the memory of a device in bytes; the machine's memory for a device without its own."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[1]
    if not hasattr(os, "sysconf"):
        return sys.maxsize  # Unknown on Windows.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory(device: str) -> int | None:
    """Return the free memory of a device in bytes; None if unknown."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    if device != "cpu":
        return None
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    free = next((line.split()[1] for line in path.read_text().splitlines() if line.startswith("MemAvailable:")), None)
    left = left_in_group()
    return None if free is None else min(int(free) * 1024, sys.maxsize if left is None else left)


def left_in_group(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that the control group of a container or service still allows.

    None without a limit, or without version 2 of ``cgroups(7)``. Cached files count as free.
    """
    with suppress(OSError, ValueError):  # No such file, or the limit "max".
        folder = root / own.read_text().partition("0::/")[2].strip()
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return limit - used + int(counts["active_file"]) + int(counts["inactive_file"])
    return None
