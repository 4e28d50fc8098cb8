"""Fixtures: the native kernels, compiled once on this machine."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_variants import runnable_variants


@pytest.fixture(scope="session")
def folder() -> Path:
    """The user's folder of compiled libraries: a library's name has a hash of all sources."""
    if not calls.available():
        pytest.skip(calls.reason())
    return platformdirs.user_cache_path("pellucid") / "kernels"


@pytest.fixture(scope="session", params=[variant.name for variant in runnable_variants()])
def built(request: pytest.FixtureRequest, folder: Path) -> Kernels:
    return Kernels(request.param, threads=2, folder=folder)
