"""Fixtures: the native kernels, compiled once on this machine."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
import torch

from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels

TARGETS = ("native", "avx2", "portable")


@pytest.fixture(scope="session")
def folder() -> Path:
    """The user's folder of compiled libraries: a library's name has a hash of all sources."""
    if not calls.available():
        pytest.skip(calls.reason())
    return platformdirs.user_cache_path("pellucid") / "kernels"


@pytest.fixture(scope="session", params=TARGETS)
def built(request: pytest.FixtureRequest, folder: Path) -> Kernels:
    if request.param == "avx2" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("This processor has no AVX2.")
    return Kernels(request.param, threads=2, folder=folder)
