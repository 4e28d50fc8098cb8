"""The native CPU path: the compiled library, and the decoder that runs on it."""

from __future__ import annotations

import copy
import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from operator import mul
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from pellucid.engine.decoders.adapter import Adapter
from pellucid.engine.decoders.decoder import FUSED, DecoderConfig, RotaryTables
from pellucid.engine.model import Batch, CacheShape, KVStorage, TokenCost
from pellucid.engine.native.kernel_layout import BLOCK, GROUP, pack_low_rank
from pellucid.engine.native.library import KernelsUnavailableError, load_library
from pellucid.engine.native.native_structs import (
    MOST_PARTS,
    DecoderParts,
    DescriptionParts,
    LowRanks,
    Matrix,
    NativeBatch,
    NativeLayer,
    NativeSpan,
    Weights,
)
from pellucid.engine.request import Figures

FORMS = ((4, 32, False), (4, 32, True), (5, 32, False), (5, 32, True), (6, 16, False), (8, 32, False))
"""Bits of a number, columns that share a scale, and whether there are minima: the forms of weights that there is code for."""

_folder = platformdirs.user_cache_path("pellucid") / "kernels"


def keep_in(folder: Path) -> None:
    """Keep compiled libraries in this folder. One that this process has loaded already stays where it is."""
    global _folder
    _folder = folder


def available() -> bool:
    """Whether the native kernels can be used here; :func:`reason` says why not. The first call compiles them."""
    return isinstance(_native(), Kernels)


def reason() -> str:
    """Why the kernels are not available; empty where they are."""
    found = _native()
    return "" if isinstance(found, Kernels) else str(found)


def warning() -> str:
    """Why the kernels, which are available, are compiled at every start, and what helps; empty where they are kept."""
    found = _native()
    return found.warning if isinstance(found, Kernels) else ""


def variant() -> str:
    """The instructions that the kernels use ("AVX512-VNNI", say); empty where they are not available."""
    found = _native()
    return found.variant if isinstance(found, Kernels) else ""


def build() -> str:
    """The name of the compiled library, which tells sources, flags, compiler and processor; empty where there is none."""
    found = _native()
    return found.build if isinstance(found, Kernels) else ""


def supports(config: DecoderConfig) -> bool:
    """Whether the kernels can run a decoder of this shape."""
    columns = (config.hidden_size, config.intermediate_size, config.heads * config.head_dim)
    return config.sliding_window is None and config.head_dim % BLOCK == 0 and not any(width % GROUP for width in columns)


@functools.cache
def _native() -> Kernels | KernelsUnavailableError:
    try:
        kernels = Kernels()
    except KernelsUnavailableError as error:
        return error
    if kernels.variant == "portable":  # which torch's own operations outrun
        return KernelsUnavailableError(
            "This processor has neither AVX2 with FMA and F16C nor AVX512-VNNI nor ARM's dot products, which the native kernels need: "
            "run on a newer one, or let the virtual machine see all of it (in QEMU -cpu host)."
        )
    return kernels


class Kernels:
    """The compiled library and its threads. One call runs at a time; the interpreter's lock is released meanwhile.

    ``target`` picks the instructions: native (what this processor has), or avx2, portable for tests.
    Raises KernelsUnavailableError where there is no compiler, or it fails.
    """

    def __init__(
        self, target: str = "native", *, threads: int | None = None, folder: Path | None = None, compiler: str | None = None
    ) -> None:
        loaded = load_library(target, folder or _folder, compiler)
        library = loaded.code
        library.pellucid_variant.restype = c_char_p
        library.pellucid_pool.restype = c_void_p
        library.pellucid_pool.argtypes = (c_int,)
        library.pellucid_scratch.restype = c_int64
        library.pellucid_scratch.argtypes = (c_void_p, POINTER(DecoderParts), c_int64)
        library.pellucid_forward.restype = None
        library.pellucid_forward.argtypes = (c_void_p, POINTER(DecoderParts), POINTER(NativeBatch), c_void_p, c_void_p)
        library.pellucid_logits.restype = None
        library.pellucid_logits.argtypes = (c_void_p, POINTER(DecoderParts), c_void_p, c_int64, c_void_p, c_void_p)
        library.pellucid_description_scratch.restype = c_int64
        library.pellucid_description_scratch.argtypes = (c_int64, c_int64)
        library.pellucid_describe.restype = None
        library.pellucid_describe.argtypes = (c_void_p, POINTER(DescriptionParts), c_void_p)
        self.build = loaded.build
        self.warning = loaded.warning
        self.library = library
        self.variant = library.pellucid_variant().decode()
        self.threads = threads or torch.get_num_threads()
        self.lock = threading.Lock()
        self._pool: int | None = None
        self._process = 0

    @property
    def pool(self) -> int:
        """The address of the thread pool of this process: threads do not survive a fork, so each process makes its own."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = self.library.pellucid_pool(self.threads), os.getpid()
            if self._pool is None:
                raise MemoryError("There is no memory for the native kernels' threads.")
        return self._pool

    def describe(self, logits: Tensor, ids: Tensor, top: int) -> Figures:
        """As :func:`pellucid.engine.sampler.describe_by_torch`, for logits on the CPU."""
        rows, vocab = logits.shape
        assert logits.dtype == torch.float32
        assert logits.stride(1) == 1
        assert ids.dtype == torch.int64
        assert bool((ids < vocab).all())
        found = max(min(top, vocab), 1)
        chosen, ranks = ids.clone(), torch.empty(rows, dtype=torch.int64)
        logprobs, entropies = torch.empty(rows, dtype=torch.float64), torch.empty(rows, dtype=torch.float64)
        top_ids, top_logprobs = torch.empty(rows, found, dtype=torch.int64), torch.empty(rows, found, dtype=torch.float64)
        pointers = (tensor.data_ptr() for tensor in (logits, chosen, ranks, logprobs, entropies, top_ids, top_logprobs))
        scratch = torch.empty(self.library.pellucid_description_scratch(rows, vocab), dtype=torch.uint8)
        with self.lock:
            description = DescriptionParts(rows, vocab, logits.stride(0), found, *pointers)
            self.library.pellucid_describe(self.pool, description, scratch.data_ptr())
        return Figures(
            chosen.tolist(),
            logprobs.tolist(),
            ranks.tolist(),
            entropies.tolist(),
            top_ids[:, :top].tolist(),
            top_logprobs[:, :top].tolist(),
        )


class _Scratch:
    """Working memory of a decoder and of those that were adapted from it, of which one computes at a time. It grows, and stays."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def of(self, size: int) -> int:
        """The address of so many bytes, a multiple of 64."""
        if len(self._bytes) < size + 64:
            self._bytes = torch.empty(size + 64, dtype=torch.uint8)
        return (self._bytes.data_ptr() + 63) // 64 * 64


class NativeDecoder:
    """The decoder on the native kernels: what a token gets does not depend, in any bit, on batch, chunks or threads."""

    brings_threads = True

    def __init__(self, config: DecoderConfig, packed: Mapping[str, Tensor], kernels: Kernels | None = None) -> None:
        found = kernels or _native()
        if isinstance(found, KernelsUnavailableError):
            raise found
        assert supports(config), "packing.choose_scheme gives other shapes to torch"
        self.config = config
        self.kernels = found
        self._packed = dict(packed)  # the structures below point into these
        self._low: dict[str, dict[str, Tensor]] = {}  # of an adapter, by matrix
        self.description = f"{self._bits()} weights, int8 activations, native {found.variant} kernels on cpu ({found.threads} threads)"
        self._rotary = RotaryTables(config, torch.device("cpu"), torch.float32)
        self._scratch = _Scratch()
        self._describe()

    def adapted(self, adapter: Adapter) -> NativeDecoder:
        """As :meth:`pellucid.engine.decoders.decoder.Decoder.adapted`. Working memory is shared as well."""
        twin = copy.copy(self)
        twin._low = {}
        for i in range(self.config.layers):
            for name, parts in FUSED.items():
                changes = adapter.of(f"layers.{i}.", parts)
                if any(changes):
                    rows = [self.config.rows[part] for part in parts]
                    twin._low[f"layers.{i}.{name}"] = pack_low_rank(changes, rows, interleaved=name == "gate_up")
        twin.description = f"{self.description}, an adapter of rank {adapter.rank}"
        twin._describe()
        return twin

    def _describe(self) -> None:
        """Make the structures that tell the kernels where everything is."""
        config = self.config
        self._adapters: list[LowRanks] = []
        self._layers = (NativeLayer * config.layers)(*(self._layer(f"layers.{i}.") for i in range(config.layers)))
        head = self._matrix("head") if "head.0.number" in self._packed else self._matrix("embedding")
        self._width = head.blocks * BLOCK  # of logits before the padding is cut off
        self._decoder = DecoderParts(
            layers=config.layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            vocab=self._width,
            low=max((adapter.projections * adapter.padded for adapter in self._adapters), default=0),
            eps=config.rms_norm_eps,
            norm=self._pointer("norm.weight"),
            embedding=self._matrix("embedding"),
            head=head,
            layer=self._layers,
        )

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def cache_shape(self) -> CacheShape:
        c = self.config
        return CacheShape(c.layers, c.kv_heads, c.head_dim, torch.float16, torch.device("cpu"))

    @property
    def weight_bytes(self) -> int:
        return self._low_bytes if self._low else self._base_bytes

    @property
    def _base_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._packed.values())

    @property
    def _low_bytes(self) -> int:
        return sum(tensor.nbytes for low in self._low.values() for tensor in low.values())

    @property
    def cost(self) -> TokenCost:
        looked_up = "head.0.number" in self._packed  # else the embedding is the head
        embedding = sum(tensor.nbytes for name, tensor in self._packed.items() if name.startswith("embedding."))
        read = self._base_bytes - (embedding if looked_up else 0) + self._low_bytes
        return TokenCost(read, self.config.body_parameters, self.config.head_parameters, torch.int8)

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """See :meth:`pellucid.engine.model.Model.forward`."""
        self._check(batch, kv)
        ids, rows = batch.ids.contiguous(), batch.rows.contiguous()
        out = torch.empty(len(rows), self.config.hidden_size)
        layers = self.config.layers
        slot, head, token, _ = kv.keys[0].stride()
        native = NativeBatch(
            tokens=len(ids),
            spans=len(batch.spans),
            rows=len(rows),
            ids=ids.data_ptr(),
            span=(NativeSpan * len(batch.spans))(*(NativeSpan(s.slot, s.start, s.count, s.offset) for s in batch.spans)),
            row=rows.data_ptr(),
            keys=(c_void_p * layers)(*(keys.data_ptr() for keys in kv.keys)),
            values=(c_void_p * layers)(*(values.data_ptr() for values in kv.values)),
            slot_stride=slot,
            head_stride=head,
            token_stride=token,
        )
        with self.kernels.lock:
            self._rotary.cover(min(kv.keys[0].shape[2], self.context))
            self._decoder.cosine, self._decoder.sine = self._rotary.cos.data_ptr(), self._rotary.sin.data_ptr()
            pool, scratch = self.kernels.pool, self._memory(max(len(ids), len(rows)))
            self.kernels.library.pellucid_forward(pool, self._decoder, native, scratch, out.data_ptr())
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """See :meth:`pellucid.engine.model.Model.logits`."""
        hidden = hidden.contiguous()
        out = torch.empty(len(hidden), self._width)
        with self.kernels.lock:
            pool, scratch = self.kernels.pool, self._memory(len(hidden))
            self.kernels.library.pellucid_logits(pool, self._decoder, hidden.data_ptr(), len(hidden), scratch, out.data_ptr())
        return out[:, : self.vocab_size]

    def _check(self, batch: Batch, kv: KVStorage) -> None:
        """Refuse what would be read or written out of bounds: C would not notice."""
        slots, _, capacity, _ = kv.keys[0].shape
        if any(not (0 <= s.slot < slots and 0 <= s.start <= s.end <= min(capacity, self.context)) for s in batch.spans):
            raise IndexError(f"A span of {batch.spans} lies outside the cache of {slots} slots of {capacity} tokens.")
        if len(batch.ids) and not 0 <= int(batch.ids.min()) <= int(batch.ids.max()) < self.vocab_size:
            raise IndexError(f"A token id lies outside the vocabulary of {self.vocab_size}.")
        strides = {(tensor.stride(), tensor.dtype) for tensor in (*kv.keys, *kv.values)}
        assert len(strides) == 1, strides
        assert kv.keys[0].stride(3) == 1
        assert kv.keys[0].dtype == torch.float16

    def _memory(self, tokens: int) -> int:
        """The address of working memory for that many tokens."""
        return self._scratch.of(self.kernels.library.pellucid_scratch(self.kernels.pool, self._decoder, tokens))

    def _layer(self, prefix: str) -> NativeLayer:
        matrices = {name: self._matrix(prefix + name) for name in ("qkv", "o", "gate_up", "down")}
        norms = {name: self._pointer(f"{prefix}{name}.weight") for name in ("input_norm", "post_norm", "q_norm", "k_norm")}
        return NativeLayer(**matrices, **norms)

    def _matrix(self, name: str) -> Matrix:
        parts = [self._weights(f"{name}.{i}") for i in range(MOST_PARTS) if f"{name}.{i}.number" in self._packed]
        return Matrix(
            part=(Weights * MOST_PARTS)(*parts),
            bias=self._pointer(f"{name}.bias"),
            parts=len(parts),
            interleaved=name.endswith("gate_up"),
            blocks=sum(part.blocks for part in parts),
            groups=parts[0].groups,
            adapter=self._adapter(name),
        )

    def _adapter(self, name: str) -> ctypes._Pointer[LowRanks] | None:
        low = self._low.get(name)
        if low is None:
            return None
        parts = FUSED[name.rpartition(".")[2]]
        blocks = [self.config.rows[part] // BLOCK for part in parts]
        self._adapters.append(
            LowRanks(
                down=low["down"].data_ptr(),
                factor=low["factor"].data_ptr(),
                up=low["up"].data_ptr(),
                projections=len(parts),
                interleaved=name.endswith("gate_up"),
                rank=low["up"].shape[1],
                padded=len(low["factor"]) // len(parts),
                end=(c_int64 * MOST_PARTS)(*itertools.accumulate(blocks)),
            )
        )
        return ctypes.pointer(self._adapters[-1])

    def _weights(self, name: str) -> Weights:
        blocks, groups, size = self._packed[f"{name}.number"].shape
        bits, shared = size * 8 // (BLOCK * GROUP), GROUP // self._packed[f"{name}.scale"].shape[2]
        minimum = self._pointer(f"{name}.minimum")
        assert (bits, shared, minimum is not None) in FORMS, (name, bits, shared, minimum)
        return Weights(self._pointer(f"{name}.number"), self._pointer(f"{name}.scale"), minimum, blocks, groups, bits, shared)

    def _bits(self) -> str:
        """The bits of the weights' numbers, for people: how many, and where they differ, how many on average."""
        numbers = [tensor for name, tensor in self._packed.items() if name.endswith(".number")]
        bits = [tensor.shape[2] * 8 // (BLOCK * GROUP) for tensor in numbers]
        if min(bits) == max(bits):
            return f"int{bits[0]}"
        weights = [tensor.shape[0] * tensor.shape[1] * BLOCK * GROUP for tensor in numbers]
        average = sum(map(mul, bits, weights)) / sum(weights)
        return f"int{min(bits)} to int{max(bits)} ({average:.1f} bits on average)"

    def _pointer(self, name: str) -> int | None:
        tensor = self._packed.get(name)
        if tensor is None:
            return None
        assert tensor.is_contiguous(), name
        assert tensor.dtype in (torch.uint8, torch.float16, torch.float32), name
        return tensor.data_ptr()
