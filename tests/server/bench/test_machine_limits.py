"""Floors follow from the arithmetic of a pass and the machine's rates."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Array
from itertools import pairwise

import numpy as np
import pytest
import torch

from pellucid.bench import machine_limits
from pellucid.bench.machine_limits import (
    IS_X86,
    LARGEST_ARRAY,
    PATTERNS,
    SHAPES,
    SMALLEST_ARRAY,
    WHOLE,
    Floors,
    SharedOutMemory,
    multiply_rate,
    read_rate,
)
from pellucid.engine.decoders.torch_model import dtype_name
from pellucid.engine.model import TokenCost
from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.engine.native.native_decoder import NativeLogits
from pellucid.engine.native.native_structs import Share

pytestmark = pytest.mark.slow

COST = TokenCost(read_bytes=400_000_000, body=300_000_000, head=100_000_000, dtype="int8")
PRODUCTS = 3 if IS_X86 else 2
"""The number of measured products for int8."""


@pytest.mark.parametrize(
    ("tokens", "wanted", "seconds"),
    [
        (1, 1, 0.02),  # 0.4 GB at 20 GB/s; the 0.8 Gop take less.
        (512, 1, 0.3074),  # (512 * 300 M + 100 M) * 2 at 1 Top/s
        (8, 8, 0.02),
        (100, 100, 0.08),  # A token per stream: the head is multiplied for all streams.
    ],
)
def test_least_seconds(tokens: int, wanted: int, seconds: float) -> None:
    """A pass takes the larger of the times to read the weights and to multiply."""
    assert Floors(reading=20e9, multiplying=1e12).seconds(COST, tokens, wanted) == pytest.approx(seconds)


def take(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> list[object]:
    """Set the seconds of each measured run; return the list of results."""
    results: list[object] = []

    def fastest(run: object, device: str) -> float:
        assert callable(run)
        results.append(run())
        return seconds(len(results))

    monkeypatch.setattr(machine_limits, "_fastest", fastest)
    return results


@pytest.fixture
def kernels() -> Kernels:
    """The kernels shared by the process."""
    shared = calls.shared_kernels()
    if not isinstance(shared, Kernels):
        pytest.skip(calls.reason())
    return shared


@pytest.mark.parametrize("best", [1, len(PATTERNS)])
def test_the_best_pattern_counts(monkeypatch: pytest.MonkeyPatch, kernels: Kernels, best: int) -> None:
    """All patterns are measured on memory of the requested size, and the fastest counts."""
    read: list[tuple[int, int, int]] = []

    def read_shares(self: Kernels, shares: Array[Share], streams: int, ahead: int = 0) -> None:
        read.append((streams, ahead, sum(share.bytes for share in shares)))

    monkeypatch.setattr(Kernels, "read_shares", read_shares)
    take(monkeypatch, lambda run: 0.5 if run == best else 0.75)
    size = SMALLEST_ARRAY + 4_000_000 // (kernels.threads * WHOLE) * (kernels.threads * WHOLE)

    assert read_rate(size, "cpu") == 2 * size
    # The first run writes.
    assert read[1:] == [(pattern.streams, pattern.ahead, size) for pattern in PATTERNS]


@pytest.mark.process
@pytest.mark.parametrize("threads", [1, 3])
def test_memory_of_its_own_for_each_thread(threads: int) -> None:
    """Each thread has an equal, separate share of memory, written before the first read."""
    if not calls.available():
        pytest.skip(calls.reason())
    memory = SharedOutMemory(Kernels(threads=threads), 3_000_000)

    ranges = sorted((share.memory, share.memory + share.bytes) for share in memory.shares)
    assert all(first[1] <= second[0] for first, second in pairwise(ranges))
    assert {share.bytes for share in memory.shares} == {3_000_000 // threads // WHOLE * WHOLE}
    assert len(memory.shares) == threads
    memory.memory[0][:4] = 0
    for pattern in PATTERNS:
        memory.read(pattern)
        each = [0x01010101 * (share.bytes // 4) for share in memory.shares]
        assert [share.sum for share in memory.shares] == [
            (whole - 0x01010101 * (i == 0)) % 2**32 for i, whole in enumerate(each)
        ]


@pytest.mark.parametrize("size", [1000, SMALLEST_ARRAY + 4_000_000])
def test_rate_of_reading_by_torch(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Without kernels torch reads an array of the requested size, with a measurable minimum."""
    monkeypatch.setattr(machine_limits, "shared_kernels", lambda: KernelsUnavailableError("No compiler."))
    take(monkeypatch, lambda run: 0.5)

    assert read_rate(size, "cpu") == 2 * max(size, SMALLEST_ARRAY)


def test_largest_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of any size is measured with a bounded array."""
    monkeypatch.setattr(machine_limits, "LARGEST_ARRAY", SMALLEST_ARRAY + 8_000)
    take(monkeypatch, lambda run: 1.0)

    assert SMALLEST_ARRAY <= read_rate(10 * LARGEST_ARRAY, "cpu") <= SMALLEST_ARRAY + 8_000


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rate_of_multiplying(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """A product of (rows, width) by (width, width) has two operations per element, in the dtype."""
    results = take(monkeypatch, lambda run: 0.5)
    rows, width = SHAPES["cpu"]

    assert multiply_rate(dtype, "cpu") == 2 * rows * width**2 / 0.5
    assert [(result.shape, dtype_name(result.dtype)) for result in results if isinstance(result, torch.Tensor)] == [
        ((rows, width), dtype)
    ]


@pytest.mark.parametrize("best", range(1, PRODUCTS + 1))
def test_the_best_product_counts(monkeypatch: pytest.MonkeyPatch, kernels: Kernels, best: int) -> None:
    """For int8, kernels, oneDNN and float32 are measured, and the fastest product counts."""
    results = take(monkeypatch, lambda run: 0.5 if run == best else 0.75)
    rows, width = SHAPES["cpu"]

    assert multiply_rate("int8", "cpu") == 2 * rows * width**2 / 0.5
    products = [result.values if isinstance(result, NativeLogits) else result for result in results]
    assert [product.shape for product in products if isinstance(product, np.ndarray | torch.Tensor)] == (
        [(rows, width)] * PRODUCTS
    )


@pytest.mark.skipif(not IS_X86, reason="oneDNN multiplies int8 fast only on x86.")
def test_product_of_onednn() -> None:
    """The measured oneDNN product is the exact product of small integers.

    On AVX2 alone, oneDNN saturates sums of larger products.
    """
    dice = torch.Generator().manual_seed(1)
    activations, weights = (torch.randint(-63, 64, (rows, 64), dtype=torch.int8, generator=dice) for rows in (5, 64))

    product = machine_limits._onednn_product(activations, weights)()

    assert torch.equal(product, (activations.int() @ weights.int().T).float())


def test_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass warms up, and the fastest of the remaining passes counts."""
    clock = iter([0.0, 0.1, 1.0, 5.0, 6.0, 8.0, 10.0, 13.0, 20.0, 27.0])  # 0.1, then 4, 2, 3 and 7
    monkeypatch.setattr("pellucid.bench.machine_limits.time.perf_counter", lambda: next(clock))

    assert machine_limits._fastest(lambda: None, "cpu") == 2.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device here.")
def test_rates_of_a_gpu() -> None:
    """The measurement waits for an asynchronous device: no rate exceeds a GPU's abilities."""
    assert 1e10 < read_rate(LARGEST_ARRAY, "cuda") < 1e14
    assert 1e11 < multiply_rate("bfloat16", "cuda") < 1e16
