"""The decoder on the native kernels: the forward pass in C."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_void_p
from operator import mul

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig, DecoderSizes, DeltaNet, Floats
from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.decoders.rotary_positions import rotary_tables
from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.masked_row import MaskedRow
from pellucid.engine.model import (
    NO_STATE,
    Batch,
    CacheShape,
    Indices,
    InterruptedStepError,
    KVStorage,
    Logprobs,
    TokenCost,
)
from pellucid.engine.native.calls import Kernels, shared_kernels
from pellucid.engine.native.decoder_tensor_pointers import DecoderTensorPointers, RotaryTables
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.engine.native.kernel_layout import BLOCK, GROUP, Array, pack_low_rank, stored_bits
from pellucid.engine.native.key_balance import key_balances
from pellucid.engine.native.native_structs import NativeBatch, NativeSpan
from pellucid.engine.token_mask import TokenMask
from pellucid.engine.token_scores import RowScores

_KINDS = {np.dtype(np.float16): "float16", np.dtype(np.uint16): "bfloat16"}


def supports(config: DecoderConfig) -> bool:
    shapes = [shape for kind in set(config.layer_kinds) for shape in config.matrix_shapes(kind).values()]
    delta = config.recurrence
    heads = (config.head_dim, *((delta.key_dim, delta.value_dim) if isinstance(delta, DeltaNet) else ()))
    return not any(width % BLOCK for width in heads) and not any(columns % GROUP for _, columns in shapes)


class _Memory:
    """Growing working memory of a decoder and its adapted copies; only one computes at a time.

    The rotary tables cover the longest cache: tables for the whole context could take gigabytes.
    """

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config
        self._scratch = np.empty(0, np.uint8)
        self.tables: RotaryTables = {}
        self._positions = 0

    def scratch(self, size: int) -> int:
        """Return the address of ``size`` bytes, aligned to 64 bytes."""
        if len(self._scratch) < size + 64:
            self._scratch = np.empty(size + 64, np.uint8)
        return (self._scratch.ctypes.data + 63) // 64 * 64

    def cover(self, positions: int) -> None:
        if self._positions < positions:
            self.tables = {theta: rotary_tables(self._config, positions, theta) for theta in self._config.rope_thetas}
            self._positions = positions


def _of_rows(found: Array, rows: Indices) -> Array:
    """Return (layers, R, active) of all tokens' numbers; the last layer computed only the rows."""
    return np.concatenate((found[:-1, rows], found[-1:, : len(rows)]))


def _pointers(arrays: Sequence[Array | None]) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(arrays))(*(None if array is None else array.ctypes.data for array in arrays))


class NativeLogits:
    """Logits (rows, vocab), scored and masked by the kernels."""

    def __init__(self, values: Logprobs, kernels: Kernels) -> None:
        self.values = values
        self._kernels = kernels

    def __len__(self) -> int:
        return len(self.values)

    def row(self, index: int) -> Logprobs:
        row: Logprobs = self.values[index]
        return row

    def score(self, rows: Sequence[int], ids: Sequence[int], top: int) -> RowScores:
        values = self.values if len(rows) == len(self.values) else self.values[list(rows)]
        return self._kernels.score_rows(values, np.asarray(ids, np.int64), top)

    def mask_row(self, row: Logprobs, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        return self._kernels.mask_row(row, mask, keep=keep)


class NativeDecoder(DecoderSizes):
    """The decoder on the native kernels. Batches, chunks and threads do not change any bit."""

    def __init__(self, config: DecoderConfig, packed: Mapping[str, Array], kernels: Kernels | None = None) -> None:
        usable = kernels or shared_kernels()
        if isinstance(usable, KernelsUnavailableError):
            raise usable
        assert supports(config), "packing.choose_scheme gives other shapes to torch"
        self.config = config
        self.kernels = usable
        self._cache_dtype = "float16"
        self._packed = dict(packed)
        self._low_rank: dict[str, dict[str, Array]] = {}
        self.description = (
            f"{self._bits()} weights, {' and '.join(self._activations)} activations, "
            f"native {usable.variant} kernels on cpu ({usable.threads} threads)"
        )
        self._memory = _Memory(config)
        self._structs = DecoderTensorPointers(config, self._packed, self._low_rank)

    def adapted(self, adapter: Adapter) -> NativeDecoder:
        """Return a decoder with this adapter that shares weights and working memory."""
        twin = copy.copy(self)
        twin._low_rank = {}
        for prefix, kind in self.config.layer_prefixes:
            shapes = self.config.matrix_shapes(kind)
            for name, parts in self.config.parts(kind).items():
                changes = adapter.of(prefix, parts)
                if any(changes):
                    rows = [shapes[part][0] for part in parts]
                    twin._low_rank[prefix + name] = pack_low_rank(changes, rows, interleaved=name == "gate_up")
        twin.description = f"{self.description}, an adapter of rank {adapter.rank}"
        twin._structs = DecoderTensorPointers(self.config, self._packed, twin._low_rank)
        return twin

    def with_int8_cache(self) -> NativeDecoder:
        """Return a decoder with keys and values in int8 that shares weights and working memory."""
        twin = copy.copy(self)
        twin._cache_dtype = "int8"
        twin._packed = self._packed | key_balances(self.config, self._packed)
        twin._structs = DecoderTensorPointers(self.config, twin._packed, twin._low_rank)
        twin.description = f"{self.description}, int8 KV cache"
        return twin

    @property
    def cache_shape(self) -> CacheShape:
        c = self.config
        return CacheShape(c.attention_layers, c.kv_heads, c.head_dim, self._cache_dtype, state_size=c.state_size)

    @property
    def weight_bytes(self) -> int:
        return self._adapter_bytes if self._low_rank else self._base_bytes

    @property
    def _base_bytes(self) -> int:
        return sum(array.nbytes for array in self._packed.values())

    @property
    def _adapter_bytes(self) -> int:
        return sum(array.nbytes for arrays in self._low_rank.values() for array in arrays.values())

    @property
    def cost(self) -> TokenCost | None:
        if self.config.experts is not None:
            return None
        has_head = "head.0.number" in self._packed  # Otherwise, the embedding is the head.
        embedding = sum(array.nbytes for name, array in self._packed.items() if name.startswith("embedding."))
        read_bytes = self._base_bytes - (embedding if has_head else 0) + self._adapter_bytes
        dtype = self._activations[0]
        return TokenCost(read_bytes, self.config.body_parameters, self.config.head_parameters, dtype)

    @property
    def cheap_rows(self) -> int:
        """See Model. With AVX2 alone, 1 row takes 15 ms, 2 rows 21 ms, 8 rows 59 ms."""
        return 2 if self.kernels.variant == "AVX2" else 8

    def new_storage(self, slots: int, capacity: int, states: int = 0) -> HostStorage:
        return HostStorage(self.cache_shape, slots, capacity, states)

    def forward(self, batch: Batch, kv: KVStorage) -> Floats:
        assert isinstance(kv, HostStorage)
        self._check(batch, kv)
        ids, rows = np.ascontiguousarray(batch.ids), np.ascontiguousarray(batch.rows)
        out = np.empty((len(rows), self.config.hidden_size), np.float32)
        kinds = self.config.layer_kinds
        given = None if batch.embedded is None else np.ascontiguousarray(batch.embedded, np.float32)
        axes = np.ascontiguousarray(batch.axes) if batch.axes is not None and self.config.rope_axes else None
        caches = iter(zip(kv.keys, kv.values, strict=True))
        keys, values = zip(*((None, None) if kind.recurrent else next(caches) for kind in kinds), strict=True)
        choices = None if batch.choices is None else self._choices(max(len(ids), len(rows)))
        slot, head, token, _ = kv.keys[0].strides
        native = NativeBatch(
            tokens=len(ids),
            spans=len(batch.spans),
            rows=len(rows),
            ids=ids.ctypes.data,
            span=(NativeSpan * len(batch.spans))(
                *(
                    NativeSpan(s.slot, s.start, s.count, s.offset, s.state_from, s.state_to, s.whole)
                    for s in batch.spans
                )
            ),
            row=rows.ctypes.data,
            keys=_pointers(keys),
            values=_pointers(values),
            slot_stride=slot,
            head_stride=head,
            token_stride=token,
            in_bytes=self._cache_dtype == "int8",
            states=kv.states.ctypes.data,
            state_stride=kv.states.shape[1],
            interrupt=None if batch.interrupt is None else batch.interrupt.address,
            expert=None if choices is None else choices[0].ctypes.data,
            weight=None if choices is None else choices[1].ctypes.data,
            embedded=None if given is None else given.ctypes.data,
            axes=None if axes is None else axes.ctypes.data,
        )
        with self.kernels.lock:
            self._memory.cover(min(kv.keys[0].shape[2], self.context))
            self._structs.rotate_by(self._memory.tables)
            scratch = self._scratch(max(len(ids), len(rows)), max((s.end for s in batch.spans), default=0))
            if not self.kernels.forward(self._structs.decoder, native, scratch, out):
                raise InterruptedStepError
        if batch.choices is not None and choices is not None:
            batch.choices.take(_of_rows(choices[0], rows), _of_rows(choices[1], rows))
        return out

    def _choices(self, tokens: int) -> tuple[NDArray[np.int32], Floats]:
        assert self.config.experts is not None
        shape = (self.config.layers, tokens, self.config.experts.active)
        return np.empty(shape, np.int32), np.empty(shape, np.float32)

    def logits(self, hidden: Floats) -> NativeLogits:
        hidden = np.ascontiguousarray(hidden)
        out = np.empty((len(hidden), self._structs.decoder.vocab), np.float32)
        with self.kernels.lock:
            self.kernels.logits(self._structs.decoder, hidden, self._scratch(len(hidden), 0), out)
        return NativeLogits(out[:, : self.vocab_size], self.kernels)

    def sum_hidden(self, hidden: Floats) -> NDArray[np.float64]:
        total: NDArray[np.float64] = hidden.sum(axis=0, dtype=np.float64)
        return total

    def _check(self, batch: Batch, kv: HostStorage) -> None:
        """Raise IndexError for accesses out of bounds, which C would not notice."""
        slots, _, capacity, _ = kv.keys[0].shape
        if any(not (0 <= s.slot < slots and 0 <= s.start <= s.end <= min(capacity, self.context)) for s in batch.spans):
            raise IndexError(f"A span of {batch.spans} lies outside the cache of {slots} slots of {capacity} tokens.")
        states = len(kv.states)
        if self.config.recurrence is not None and any(
            not (0 <= s.state_to < states and NO_STATE <= s.state_from < states) for s in batch.spans
        ):
            raise IndexError(f"A span of {batch.spans} has a state outside the cache of {states} states.")
        given = 0 if batch.embedded is None else len(batch.embedded)
        if len(batch.ids) and not -given <= int(batch.ids.min()) <= int(batch.ids.max()) < self.vocab_size:
            raise IndexError(f"A token id lies outside the vocabulary of {self.vocab_size} and {given} given rows.")
        if batch.embedded is not None and batch.embedded.shape[1] != self.config.hidden_size:
            raise IndexError(f"The given rows have not the width {self.config.hidden_size} of an embedding.")
        if batch.axes is not None and not 0 <= int(batch.axes.min()) <= int(batch.axes.max()) < min(
            capacity, self.context
        ):
            raise IndexError(f"A position on an axis lies outside the {min(capacity, self.context)} positions.")
        layouts = {(array.strides, array.dtype) for array in (*kv.keys, *kv.values)}
        assert len(layouts) == 1, layouts
        assert kv.keys[0].strides[3] == kv.keys[0].itemsize
        assert kv.keys[0].dtype == self._cache_dtype

    def _scratch(self, tokens: int, end: int) -> int:
        """Return the address of memory for so many tokens of sequences that end by ``end``."""
        return self._memory.scratch(self.kernels.scratch_bytes(self._structs.decoder, tokens, end))

    @property
    def _numbers(self) -> list[Array]:
        return [array for name, array in self._packed.items() if name.endswith(".number")]

    @property
    def _activations(self) -> list[str]:
        floats = {array.dtype != np.uint8 for array in self._numbers}
        return [dtype for dtype, is_float in (("float32", True), ("int8", False)) if is_float in floats]

    def _bits(self) -> str:
        """Describe the bits of the weights for people: a number, or the range and the average."""
        kinds = {(bits := stored_bits(array), _KINDS.get(array.dtype, f"int{bits}")) for array in self._numbers}
        least, most = min(kinds)[1], max(kinds)[1]
        if least == most:
            return least
        weights = [array.shape[0] * array.shape[1] * BLOCK * GROUP for array in self._numbers]
        average = sum(map(mul, map(stored_bits, self._numbers), weights)) / sum(weights)
        return f"{least} to {most} ({average:.1f} bits on average)"
