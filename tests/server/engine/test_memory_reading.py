"""Any number of threads reads memory completely, once, in every pattern."""

from __future__ import annotations

from ctypes import Array
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pellucid.bench.machine_limits import PATTERNS, WHOLE, Pattern
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.native_structs import Share

SIZES = (WHOLE, 5 * WHOLE, 4096, 100 * WHOLE)


@pytest.fixture
def memory() -> list[npt.NDArray[np.uint8]]:
    """Random bytes for each thread, of different sizes."""
    dice = np.random.default_rng(5)
    return [dice.integers(0, 256, size, np.uint8) for size in SIZES]


def shares_of(memory: list[npt.NDArray[np.uint8]]) -> Array[Share]:
    return (Share * len(memory))(*(Share(part.ctypes.data, part.nbytes) for part in memory))


def sums(memory: list[npt.NDArray[np.uint8]]) -> list[int]:
    return [int(part.view(np.uint32).sum(dtype=np.uint32)) for part in memory]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_byte_is_read_once(memory: list[npt.NDArray[np.uint8]], built: Kernels, pattern: Pattern) -> None:
    """The sum of random numbers is right, and follows each change of a line."""
    shares = shares_of(memory)
    built.read_shares(shares, pattern.streams, pattern.ahead)
    assert [share.sum for share in shares] == sums(memory)
    for line in range(0, len(memory[1]), 64):
        memory[1][line + line // 64] ^= 255
        built.read_shares(shares, pattern.streams, pattern.ahead)
        assert [share.sum for share in shares] == sums(memory)


@pytest.mark.process
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads(memory: list[npt.NDArray[np.uint8]], folder: Path, threads: int) -> None:
    """Missing threads' shares are read by the present threads, and spare threads read nothing."""
    shares = shares_of(memory)
    kernels = Kernels(threads=threads, folder=folder)
    for _ in range(20):
        kernels.read_shares(shares, 4)
        assert [share.sum for share in shares] == sums(memory)
        for share in shares:
            share.sum = 0


def test_memory_is_written(memory: list[npt.NDArray[np.uint8]], built: Kernels) -> None:
    """Writing fills each share and no memory behind the shares."""
    whole = np.zeros(sum(SIZES) + 64, np.uint8)
    parts = np.split(whole, np.cumsum(SIZES))
    built.write_shares(shares_of(parts[:-1]))
    assert (whole[:-64] == 1).all()
    assert not whole[-64:].any()
