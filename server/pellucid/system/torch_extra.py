"""Torch and transformers, which only some work needs; see the extra ``torch`` of the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pellucid.errors import ConfigError

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")  # NVIDIA, Jetson, AMD, WSL.


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def require_torch(purpose: str) -> None:
    """Raise ConfigError with the remedy unless torch is installed. Does not import torch."""
    if not has_torch():
        raise ConfigError(f'{purpose} needs torch: run pip install "pellucid[torch]".')


def has_gpu_driver() -> bool:
    """Return whether torch may find a GPU: importing torch to ask takes seconds."""
    return any(Path(path).exists() for path in _GPU_DRIVERS) or Path("C:/Windows/System32/nvcuda.dll").exists()
