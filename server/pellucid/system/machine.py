"""Facts about the machine and the software, for comparing benchmarks."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

from pellucid.system.installed_version import installed_version
from pellucid.system.processors import usable_processors
from pellucid.system.torch_extra import has_torch

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
"""CPU features used by kernels, in the spelling of /proc/cpuinfo."""

_MACOS_NAMES = {
    "asimd": "AdvSIMD",
    "crc32": "armv8_crc32",
    "atomics": "arm.FEAT_LSE",
    "asimdrdm": "arm.FEAT_RDM",
    "asimddp": "arm.FEAT_DotProd",
    "i8mm": "arm.FEAT_I8MM",
    "bf16": "arm.FEAT_BF16",
}
_WINDOWS_NUMBERS = {
    # Windows reports AVX2 without the features of the same processors, and no VNNI.
    **dict.fromkeys(("avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"), 40),
    "asimd": 19,
    "crc32": 31,
    "atomics": 34,
    **dict.fromkeys(("asimdrdm", "asimddp"), 43),
}


def cpu_info(path: Path) -> tuple[str, frozenset[str]]:
    if not path.exists():
        return platform.processor(), frozenset()
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields.get("model name", ""), frozenset((fields.get("flags") or fields.get("Features") or "").split())


def processor_features() -> frozenset[str]:
    """Return the processor's known features, in the spelling of /proc/cpuinfo."""
    if sys.platform == "darwin":
        found = frozenset(name for name, key in _MACOS_NAMES.items() if _is_set(f"hw.optional.{key}"))
    elif sys.platform == "win32":
        has = ctypes.windll.kernel32.IsProcessorFeaturePresent
        found = frozenset(name for name, number in _WINDOWS_NUMBERS.items() if has(number))
    else:
        found = cpu_info(Path("/proc/cpuinfo"))[1]
    return found


def _is_set(key: str) -> bool:
    """Return whether macOS reports a feature."""
    value = ctypes.c_int(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    failed = ctypes.CDLL(None).sysctlbyname(key.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return not failed and value.value != 0


def versions() -> Facts:
    found: Facts = {"pellucid": installed_version(), "python": platform.python_version()}
    return found | ({"torch": installed_version("torch")} if has_torch() else {})


def machine(device: str) -> Facts:
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


BUSY_SHARE = 0.25
"""Processor use (0 to 1) from which a measurement is distorted."""


def busy_note() -> str | None:
    """Return a sentence if the machine was too busy in the last minute for a measurement."""
    share = load()
    if share is None or share < BUSY_SHARE:
        return None
    used = f"{min(share, 1.0):.0%} of its processors"
    return f"This machine was busy in the last minute ({used}). If that continues, it distorts these figures."


def load() -> float | None:
    """Return the load of the last minute per processor; None if unknown."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else None
