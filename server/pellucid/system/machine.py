"""Describes the machine and the software of a benchmark, which may explain why two results differ."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.system.installed_version import installed_version
from pellucid.system.processors import usable_processors

if TYPE_CHECKING:
    import torch

Facts = dict[str, str | int]

CPU_FEATURES = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)
"""The features that matter to a kernel, as /proc/cpuinfo spells them."""


def cpu_info(path: Path) -> tuple[str, frozenset[str]]:
    """Return the processor's name and features from Linux's /proc/cpuinfo; without the file, no features."""
    if not path.exists():
        return platform.processor(), frozenset()
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields.get("model name", ""), frozenset((fields.get("flags") or fields.get("Features") or "").split())


def versions() -> Facts:
    """Return the versions of the software that computes."""
    import torch  # takes seconds, and `doctor` reads the settings first

    return {"pellucid": installed_version(), "python": platform.python_version(), "torch": torch.__version__}


def machine(device: str) -> Facts:
    """Return the processor, how many of them this process may use, memory in bytes, and the device that computes, by torch's name."""
    name = cpu_info(Path("/proc/cpuinfo"))[0] or platform.machine()
    facts: Facts = {
        "processor": name,
        "processors": len(usable_processors()),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        facts["memory"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    facts["device"] = _gpu_name(device) if device.startswith("cuda") else device
    return facts


def _gpu_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)


def resident() -> int | None:
    """Return the resident memory of this process in bytes; None if the system does not report it."""
    return memory_fields().get("VmRSS")


def return_free_memory() -> None:
    """Return to the system what the process has freed but its allocator keeps, which after a long text is gigabytes (glibc only)."""
    with suppress(AttributeError, TypeError):  # of another C library, and of Windows
        ctypes.CDLL(None).malloc_trim(0)


def memory_fields() -> dict[str, int]:
    """Return the fields of Linux's /proc/self/status that are sizes, in bytes; none if the system has no such file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return {}
    lines = (line.split() for line in path.read_text().splitlines() if line.endswith(" kB"))
    return {words[0].removesuffix(":"): int(words[1]) * 1024 for words in lines}


def available_memory(device: torch.device) -> int | None:
    """Return the memory in bytes that a device has free for a model; None if the system does not report it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    free = next((line.split()[1] for line in path.read_text().splitlines() if line.startswith("MemAvailable:")), None)
    return None if free is None else int(free) * 1024


def load() -> float | None:
    """Return the load of the last minute for each processor of the machine; None if the system does not report it."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else None
