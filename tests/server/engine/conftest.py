"""Fixtures: the native kernels, compiled once for all tests and workers of a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels

TARGETS = ("native", "avx2", "portable")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all workers for compiled libraries."""
    if not calls.available():
        pytest.skip(calls.reason())
    if "PYTEST_XDIST_WORKER" in os.environ:
        return tmp_path_factory.getbasetemp().parent / "kernels"
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session", params=TARGETS)
def built(request: pytest.FixtureRequest, folder: Path) -> Kernels:
    if request.param == "avx2" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("This processor has no AVX2.")
    return Kernels(request.param, threads=2, folder=folder)
