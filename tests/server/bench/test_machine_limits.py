"""Floors follow from the arithmetic of a pass and the machine's rates."""

from __future__ import annotations

import pytest
import torch

from pellucid.bench import machine_limits
from pellucid.bench.machine_limits import LARGEST_ARRAY, SMALLEST_ARRAY, Floors, multiply_rate, read_rate
from pellucid.engine.model import TokenCost
from pellucid.engine.native import calls

pytestmark = pytest.mark.slow

COST = TokenCost(read_bytes=400_000_000, body=300_000_000, head=100_000_000, dtype=torch.int8)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("tokens", "wanted", "seconds"),
    [
        (1, 1, 0.02),  # 0.4 GB at 20 GB/s; its 0.8 Gop take less
        (512, 1, 0.3074),  # (512 * 300 M + 100 M) * 2 at 1 Top/s
        (8, 8, 0.02),
        (100, 100, 0.08),  # one per stream: the head is multiplied for all of them
    ],
)
def test_least_seconds(tokens: int, wanted: int, seconds: float) -> None:
    """A pass takes the larger of the time to read its weights and the time of its multiplications."""
    assert Floors(reading=20e9, multiplying=1e12).seconds(COST, tokens, wanted) == pytest.approx(seconds)


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Make every measured run take these seconds. Return a list that counts the runs' results."""
    sizes: list[int] = []

    def fastest(run: object, device: torch.device) -> float:
        assert callable(run)
        sizes.append(run().numel())
        return seconds

    monkeypatch.setattr(machine_limits, "_fastest", fastest)
    return sizes


@pytest.mark.parametrize("size", [1000, SMALLEST_ARRAY + 4_000_000])
def test_rate_of_reading(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The array has the requested size, but at least a measurable one; the rate is its bytes divided by the time."""
    slowed(monkeypatch, 0.5)

    assert read_rate(size, CPU) == 2 * max(size, SMALLEST_ARRAY)


def test_largest_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of any size is measured with an array that fits into memory next to it."""
    monkeypatch.setattr(machine_limits, "LARGEST_ARRAY", SMALLEST_ARRAY + 8)
    slowed(monkeypatch, 1.0)

    assert read_rate(10 * LARGEST_ARRAY, CPU) == SMALLEST_ARRAY + 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_rate_of_multiplying(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """A product of (rows, width) by (width, width) has two operations per element, in the model's dtype."""
    if dtype == torch.int8 and not calls.available():
        pytest.skip(calls.reason())
    sizes = slowed(monkeypatch, 0.5)

    assert multiply_rate(dtype, CPU) == 2 * machine_limits.ROWS["cpu"] * machine_limits.WIDTH**2 / 0.5
    assert sizes == [machine_limits.ROWS["cpu"] * machine_limits.WIDTH]


def test_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass warms up, and the fastest of the others counts."""
    clock = iter([0.0, 0.1, 1.0, 5.0, 6.0, 8.0, 10.0, 13.0, 20.0, 27.0])  # 0.1, then 4, 2, 3 and 7
    monkeypatch.setattr("pellucid.bench.machine_limits.time.perf_counter", lambda: next(clock))

    assert machine_limits._fastest(lambda: None, CPU) == 2.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device here.")
def test_rates_of_a_gpu() -> None:
    """The measurement waits for an asynchronous device: no rate exceeds what a GPU can do."""
    device = torch.device("cuda")

    assert 1e10 < read_rate(LARGEST_ARRAY, device) < 1e14
    assert 1e11 < multiply_rate(torch.bfloat16, device) < 1e16
