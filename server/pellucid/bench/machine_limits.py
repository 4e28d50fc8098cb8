"""Measured limits of the machine, and lower bounds ("floors") for the time of a model's steps.

**Memory.** ``read_rate`` is the fastest read of memory by all threads (large pages, separate memory
per thread). Rates on two cores of an Intel Xeon with AVX512, 400 MB: one stream 28 GB/s, with
prefetching 29; four streams 31; two or four streams with prefetching 33 to 34, eight 32; small
pages 25 to 30. Prefetching past the caches (``prefetchnta``) halves the rate. The best pattern
depends on the processor. The memory is as large as the weights of a decode step (between 64 MB and
1 GB), so that the cache holds both or neither. On a GPU, and without native kernels, torch sums an
array.

**Weights.** The smaller of the model file and the packed form counts: GGUF's Q4_K takes 4.5 bits
per weight in the file and 5 bits packed, so other programs may read fewer bytes. Not included: the
KV cache (a few percent of the weights at a thousand tokens), activations, logits and the embedding
row.

**Arithmetic.** ``multiply_rate`` is the fastest large product in the model's dtype or a more exact
dtype. Int8 is multiplied by the native kernels, by oneDNN (uses AMX if present), and by torch in
float32 (fastest without int8 instructions). Multiplications and additions count separately. Not
included: attention, norms and the sampler.

The best measurement counts, because a floor is a property of the machine. The other figures are
medians.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from ctypes import Array
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import round_to_blocks
from pellucid.engine.model import TokenCost
from pellucid.engine.native.calls import Kernels, shared_kernels
from pellucid.engine.native.kernel_layout import pack_matrix
from pellucid.engine.native.native_decoder import NativeDecoder, NativeLogits
from pellucid.engine.native.native_structs import Share
from pellucid.system.large_pages import large_pages

SMALLEST_ARRAY = 64 * 10**6
LARGEST_ARRAY = 10**9
WHOLE = 256
"""The memory per thread is a multiple of this size: whole cache lines in four streams."""
SHAPES = {"cpu": (480, 1024), "cuda": (8192, 2048)}
"""Rows of the activations, and width of the weights.

For a CPU: whole kernel tiles and a matrix in the cache. For a GPU: enough work.
"""
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
"""On other processors, oneDNN's int8 product takes seconds (reference implementation)."""
PASSES = 4


@dataclass(frozen=True, slots=True)
class Pattern:
    """An order of reading: concurrent streams, and the prefetch distance in bytes (0: none)."""

    streams: int
    ahead: int


PATTERNS = tuple(Pattern(streams, ahead) for streams in (1, 2, 4) for ahead in (0, 2048))


@dataclass(frozen=True, slots=True)
class Floors:
    """The machine's rates per second: ``reading`` in bytes, ``multiplying`` in operations."""

    reading: float
    multiplying: float

    def seconds(self, cost: TokenCost, tokens: int, wanted: int) -> float:
        """Return the minimum time of a pass over ``tokens`` with logits for ``wanted`` tokens."""
        operations = 2 * (tokens * cost.body + wanted * cost.head)
        return max(cost.read_bytes / self.reading, operations / self.multiplying)


class SharedOutMemory:
    """Memory of about ``size`` bytes, split evenly over the threads of the kernels."""

    def __init__(self, kernels: Kernels, size: int) -> None:
        self._kernels = kernels
        each = size // kernels.threads // WHOLE * WHOLE
        self.size = each * kernels.threads
        self.memory = [large_pages(each) for _ in range(kernels.threads)]
        self.shares: Array[Share] = (Share * kernels.threads)(
            *(Share(memory.ctypes.data, each) for memory in self.memory)
        )
        kernels.write_shares(self.shares)

    def read(self, pattern: Pattern) -> None:
        self._kernels.read_shares(self.shares, pattern.streams, pattern.ahead)


def read_rate(size: int, device: str) -> float:
    """Return the bytes per second at which all threads read about ``size`` bytes."""
    size = min(max(size, SMALLEST_ARRAY), LARGEST_ARRAY)
    kernels = shared_kernels()
    if device == "cpu" and isinstance(kernels, Kernels):
        memory = SharedOutMemory(kernels, size)
        return memory.size / min(_fastest(partial(memory.read, pattern), device) for pattern in PATTERNS)
    array = torch.ones(size // 4, device=device)
    return array.nbytes / _fastest(array.sum, device)


def multiply_rate(dtype: str, device: str) -> float:
    """Return the operations per second of the fastest product in ``dtype``, or more exact."""
    rows, width = SHAPES["cpu" if device == "cpu" else "cuda"]
    return (
        2 * rows * width * width / min(_fastest(product, device) for product in _products(rows, width, dtype, device))
    )


def _products(rows: int, width: int, dtype: str, device: str) -> Iterator[Callable[[], object]]:
    """Yield products of activations (rows, width) and weights (width, width)."""
    if dtype == "int8":
        yield _native_product(rows, width)
        if IS_X86:
            yield _onednn_product(
                *(torch.randint(-127, 128, (size, width), dtype=torch.int8) for size in (rows, width))
            )
    floats: torch.dtype = getattr(torch, "float32" if dtype == "int8" else dtype)
    left, right = (torch.randn(size, width, dtype=floats, device=device) for size in (rows, width))
    yield lambda: left @ right.T


def _onednn_product(activations: Tensor, weights: Tensor) -> Callable[[], Tensor]:
    ops, (columns, _) = torch.ops.onednn, weights.shape
    packed = ops.qlinear_prepack(weights, [*activations.shape])
    scales, zeros = torch.ones(columns), torch.zeros(columns, dtype=torch.int32)
    return partial(
        ops.qlinear_pointwise, activations, 1.0, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


def _native_product(rows: int, width: int) -> Callable[[], NativeLogits]:
    """Return a product as computed in a model: the head of a decoder without layers."""
    config = DecoderConfig(
        vocab_size=width,
        hidden_size=width,
        intermediate_size=width,
        layers=0,
        heads=width // 64,
        kv_heads=1,
        head_dim=64,
        rms_norm_eps=1e-6,
        rope_theta=1e4,
        context=1,
    )
    draw = np.random.default_rng(0)
    matrix = pack_matrix(round_to_blocks(draw.standard_normal((width, width), np.float32), 8))
    packed: dict[str, NDArray[Any]] = {f"embedding.0.{field}": array for field, array in matrix.items()}
    decoder = NativeDecoder(config, packed | {"norm.weight": np.ones(width, np.float32)})
    hidden = draw.standard_normal((rows, width), np.float32)
    return lambda: decoder.logits(hidden)


@torch.inference_mode()
def _fastest(run: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(1 + PASSES):
        _finish(device)
        start = time.perf_counter()
        run()
        _finish(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
