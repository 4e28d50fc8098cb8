"""Measures what the machine can do at most, and derives the time floors of a model's steps.

**Memory.** ``read_rate`` sums an array of float32 with all of torch's threads and returns the bytes read per second. The array is as large
as the weights that a decode step reads (between 64 MB and 1 GB), so that both fit or do not fit into a processor's cache. A step cannot
take less than its weights' bytes at this rate. Not included: the KV cache, which grows with the text (a few percent of the weights at a
thousand tokens), activations and logits, and that a sum reads one stream in order, on pages that may be larger than those of a mapped file.

**Arithmetic.** ``multiply_rate`` multiplies two large square matrices in the dtype of the model's own large products: float32 and bfloat16
by torch, int8 by the native kernels themselves, including the rounding of activations. An operation is a multiplication or an addition. Not
included: attention, norms and the sampler, which a prompt needs too, and what other units of the processor or a better kernel could do. It
compares the kernel with itself at its best.

A floor is a property of the machine, so the best of several measurements counts; the other figures are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import round_to_blocks
from pellucid.engine.model import TokenCost
from pellucid.engine.native.kernel_layout import pack_matrix
from pellucid.engine.native.native_decoder import NativeDecoder

SMALLEST_ARRAY = 64 * 10**6
LARGEST_ARRAY = 10**9
WIDTH = 2048
"""Rows and columns of the weight matrix, small enough for a processor's cache."""
ROWS = {"cpu": 480, "cuda": 8192}
"""Rows of activations by type of device: whole tiles of the kernels, and enough to fill a GPU."""
PASSES = 4


@dataclass(frozen=True, slots=True)
class Floors:
    """The rates of this machine: ``reading`` in bytes per second, ``multiplying`` in operations per second."""

    reading: float
    multiplying: float

    def seconds(self, cost: TokenCost, tokens: int, wanted: int) -> float:
        """Return the least time of a pass over ``tokens`` that computes the logits of ``wanted``."""
        operations = 2 * (tokens * cost.body + wanted * cost.head)
        return max(cost.read_bytes / self.reading, operations / self.multiplying)


def read_rate(size: int, device: torch.device) -> float:
    """Return the bytes per second that all threads can read of an array of about ``size`` bytes."""
    size = min(max(size, SMALLEST_ARRAY), LARGEST_ARRAY)
    array = torch.ones(size // 4, device=device)
    return array.nbytes / _fastest(array.sum, device)


def multiply_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations per second of a large product in ``dtype``."""
    rows = ROWS["cpu" if device.type == "cpu" else "cuda"]
    return 2 * rows * WIDTH * WIDTH / _fastest(_product(rows, dtype, device), device)


def _product(rows: int, dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    if dtype == torch.int8:
        return _native_product(rows)
    left, right = (torch.randn(size, WIDTH, dtype=dtype, device=device) for size in (rows, WIDTH))
    return lambda: left @ right.T


def _native_product(rows: int) -> Callable[[], Tensor]:
    """Return the head of a decoder without layers: one product, computed as the model does."""
    config = DecoderConfig(
        vocab_size=WIDTH,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        layers=0,
        heads=WIDTH // 64,
        kv_heads=1,
        head_dim=64,
        rms_norm_eps=1e-6,
        rope_theta=1e4,
        context=1,
    )
    matrix = pack_matrix(round_to_blocks(torch.randn(WIDTH, WIDTH), 8))
    packed = {f"embedding.0.{field}": tensor for field, tensor in matrix.items()}
    decoder = NativeDecoder(config, packed | {"norm.weight": torch.ones(WIDTH)})
    hidden = torch.randn(rows, WIDTH)
    return lambda: decoder.logits(hidden)


@torch.inference_mode()
def _fastest(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of some passes, after one that does not count."""
    times = []
    for _ in range(1 + PASSES):
        _finish(device)
        start = time.perf_counter()
        run()
        _finish(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _finish(device: torch.device) -> None:
    """Wait for a device, which runs asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
