"""Measures what the machine can do at most, and derives the time floors of a model's steps.

A floor bounds every program that computes the same on this machine, so no rate of it may be the
rate of Pellucid's own step.

**Memory.** ``read_rate`` returns the bytes per second at which all threads read memory and do
nothing else: the best of ``PATTERNS``, each thread on memory of its own in large pages. Measured on
two cores of an Intel Xeon with AVX512, 400 MB, time of the processor: one stream 28 GB/s, with
prefetching 29; four streams 31; two or four streams with prefetching 33 to 34, eight 32; in small
pages 25 to 30; prefetching past the caches (``prefetchnta``) halves the rate. Which pattern wins
depends on the processor, so those that can win are kept. The memory is as large as the weights that
a decode step reads (between 64 MB and 1 GB), so that both fit or do not fit into a processor's
cache. A step cannot take less than its weights' bytes at this rate. On a GPU, and where the native
kernels are not available, torch sums an array instead.

**The weights' bytes** are the fewest that hold the model: those of its file, or of the packed form
where it is smaller, as with the quant int4. Packed blocks have scales of 16 bits. GGUF's K-quants
have smaller scales, so that Q4_K takes 4.5 bits a weight in the file and 5 packed: a program that
reads the file's own blocks needs less time than the packed bytes allow. Not included: the KV cache,
which grows with the text (a few percent of the weights at a thousand tokens), activations, logits
and the row of an embedding.

**Arithmetic.** ``multiply_rate`` is the rate of the fastest large product in the dtype of the
model's own products or a more exact one: float32 and bfloat16 by torch; int8 by the native kernels,
which round activations in groups, by oneDNN, which has one scale for all of them and uses the
processor's matrix unit (AMX) if there is one, and by torch in float32, which wins without
instructions for int8. An operation is a multiplication or an addition. Not included: attention,
norms and the sampler, which a prompt needs too, and what a product better than all of these could
do.

A floor is a property of the machine, so the best of several measurements counts; the other figures
are medians.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from ctypes import Array
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import round_to_blocks
from pellucid.engine.model import TokenCost
from pellucid.engine.native.calls import Kernels, shared_kernels
from pellucid.engine.native.kernel_layout import pack_matrix
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.native.native_structs import Share
from pellucid.system.large_pages import large_pages

SMALLEST_ARRAY = 64 * 10**6
LARGEST_ARRAY = 10**9
WHOLE = 256
"""A share of memory has a multiple of so many bytes: whole cache lines in each of four streams."""
SHAPES = {"cpu": (480, 1024), "cuda": (8192, 2048)}
"""Rows of activations, and rows and columns of the weights: whole tiles of the kernels and a matrix
in the cache, or enough for a GPU.
"""
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
"""Elsewhere oneDNN multiplies int8 by its reference, which takes seconds."""
PASSES = 4


@dataclass(frozen=True, slots=True)
class Pattern:
    """An order of reading: streams at once, each in order, and the bytes by which a line is prefetched."""

    streams: int
    ahead: int


PATTERNS = tuple(Pattern(streams, ahead) for streams in (1, 2, 4) for ahead in (0, 2048))


@dataclass(frozen=True, slots=True)
class Floors:
    """The rates of this machine: ``reading`` in bytes per second, ``multiplying`` in operations per second."""

    reading: float
    multiplying: float

    def seconds(self, cost: TokenCost, tokens: int, wanted: int) -> float:
        """Return the least time of a pass over ``tokens`` that computes the logits of ``wanted``."""
        operations = 2 * (tokens * cost.body + wanted * cost.head)
        return max(cost.read_bytes / self.reading, operations / self.multiplying)


class SharedOutMemory:
    """Memory of about ``size`` bytes, of which each thread of the kernels has a share of its own."""

    def __init__(self, kernels: Kernels, size: int) -> None:
        self._kernels = kernels
        each = size // kernels.threads // WHOLE * WHOLE
        self.size = each * kernels.threads
        self.memory = [large_pages(each) for _ in range(kernels.threads)]
        self.shares: Array[Share] = (Share * kernels.threads)(
            *(Share(memory.data_ptr(), each) for memory in self.memory)
        )
        kernels.write_shares(self.shares)

    def read(self, pattern: Pattern) -> None:
        """Read all of it once."""
        self._kernels.read_shares(self.shares, pattern.streams, pattern.ahead)


def read_rate(size: int, device: torch.device) -> float:
    """Return the bytes per second that all threads can read of about ``size`` bytes."""
    size = min(max(size, SMALLEST_ARRAY), LARGEST_ARRAY)
    kernels = shared_kernels()
    if device.type == "cpu" and isinstance(kernels, Kernels):
        memory = SharedOutMemory(kernels, size)
        return memory.size / min(_fastest(partial(memory.read, pattern), device) for pattern in PATTERNS)
    array = torch.ones(size // 4, device=device)
    return array.nbytes / _fastest(array.sum, device)


def multiply_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations per second of the fastest large product in ``dtype`` or a more exact one."""
    rows, width = SHAPES["cpu" if device.type == "cpu" else "cuda"]
    return (
        2 * rows * width * width / min(_fastest(product, device) for product in _products(rows, width, dtype, device))
    )


def _products(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Iterator[Callable[[], Tensor]]:
    """Yield products of activations (rows, width) and weights (width, width)."""
    if dtype == torch.int8:
        yield _native_product(rows, width)
        if IS_X86:
            yield _onednn_product(
                *(torch.randint(-127, 128, (size, width), dtype=torch.int8) for size in (rows, width))
            )
    floats = torch.float32 if dtype == torch.int8 else dtype
    left, right = (torch.randn(size, width, dtype=floats, device=device) for size in (rows, width))
    yield lambda: left @ right.T


def _onednn_product(activations: Tensor, weights: Tensor) -> Callable[[], Tensor]:
    """Return a product of int8 with one scale for all activations, into float32; the weights are laid out by oneDNN."""
    ops, (columns, _) = torch.ops.onednn, weights.shape
    packed = ops.qlinear_prepack(weights, [*activations.shape])
    scales, zeros = torch.ones(columns), torch.zeros(columns, dtype=torch.int32)
    return partial(
        ops.qlinear_pointwise, activations, 1.0, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


def _native_product(rows: int, width: int) -> Callable[[], Tensor]:
    """Return the head of a decoder without layers: one product, computed as the model does."""
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
    matrix = pack_matrix(round_to_blocks(torch.randn(width, width), 8))
    packed = {f"embedding.0.{field}": tensor for field, tensor in matrix.items()}
    decoder = NativeDecoder(config, packed | {"norm.weight": torch.ones(width)})
    hidden = torch.randn(rows, width)
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
