"""The decoder on the native kernels: the forward pass in C."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from ctypes import c_void_p
from operator import mul

import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import FUSED, DecoderConfig, DecoderSizes, RotaryTables
from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.model import Batch, CacheShape, InterruptedStepError, KVStorage, TokenCost
from pellucid.engine.native.calls import Kernels, shared_kernels
from pellucid.engine.native.decoder_tensor_pointers import DecoderTensorPointers
from pellucid.engine.native.kernel_layout import BLOCK, GROUP, pack_low_rank
from pellucid.engine.native.library import KernelsUnavailableError
from pellucid.engine.native.native_structs import NativeBatch, NativeSpan


def supports(config: DecoderConfig) -> bool:
    columns = (config.hidden_size, config.intermediate_size, config.heads * config.head_dim)
    return (
        config.sliding_window is None and config.head_dim % BLOCK == 0 and not any(width % GROUP for width in columns)
    )


class _Scratch:
    """Growing working memory of a decoder and its adapted copies; only one computes at a time."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def address(self, size: int) -> int:
        if len(self._bytes) < size + 64:
            self._bytes = torch.empty(size + 64, dtype=torch.uint8)
        return (self._bytes.data_ptr() + 63) // 64 * 64


class NativeDecoder(DecoderSizes):
    """The decoder on the native kernels. Batches, chunks and threads do not change any bit."""

    brings_threads = True

    def __init__(self, config: DecoderConfig, packed: Mapping[str, Tensor], kernels: Kernels | None = None) -> None:
        usable = kernels or shared_kernels()
        if isinstance(usable, KernelsUnavailableError):
            raise usable
        assert supports(config), "packing.choose_scheme gives other shapes to torch"
        self.config = config
        self.kernels = usable
        self._packed = dict(packed)
        self._low_rank: dict[str, dict[str, Tensor]] = {}
        self.description = (
            f"{self._bits()} weights, int8 activations, "
            f"native {usable.variant} kernels on cpu ({usable.threads} threads)"
        )
        self._rotary = RotaryTables(config, torch.device("cpu"), torch.float32)
        self._scratch = _Scratch()
        self._structs = DecoderTensorPointers(config, self._packed, self._low_rank)

    def adapted(self, adapter: Adapter) -> NativeDecoder:
        """Return a decoder with this adapter that shares weights and working memory."""
        twin = copy.copy(self)
        twin._low_rank = {}
        for i in range(self.config.layers):
            for name, parts in FUSED.items():
                changes = adapter.of(f"layers.{i}.", parts)
                if any(changes):
                    rows = [self.config.rows[part] for part in parts]
                    twin._low_rank[f"layers.{i}.{name}"] = pack_low_rank(changes, rows, interleaved=name == "gate_up")
        twin.description = f"{self.description}, an adapter of rank {adapter.rank}"
        twin._structs = DecoderTensorPointers(self.config, self._packed, twin._low_rank)
        return twin

    @property
    def cache_shape(self) -> CacheShape:
        c = self.config
        return CacheShape(c.layers, c.kv_heads, c.head_dim, torch.float16, torch.device("cpu"))

    @property
    def weight_bytes(self) -> int:
        return self._adapter_bytes if self._low_rank else self._base_bytes

    @property
    def _base_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._packed.values())

    @property
    def _adapter_bytes(self) -> int:
        return sum(tensor.nbytes for tensors in self._low_rank.values() for tensor in tensors.values())

    @property
    def cost(self) -> TokenCost:
        has_head = "head.0.number" in self._packed  # Otherwise, the embedding is the head.
        embedding = sum(tensor.nbytes for name, tensor in self._packed.items() if name.startswith("embedding."))
        read_bytes = self._base_bytes - (embedding if has_head else 0) + self._adapter_bytes
        return TokenCost(read_bytes, self.config.body_parameters, self.config.head_parameters, torch.int8)

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
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
            span=(NativeSpan * len(batch.spans))(
                *(NativeSpan(s.slot, s.start, s.count, s.offset) for s in batch.spans)
            ),
            row=rows.data_ptr(),
            keys=(c_void_p * layers)(*(keys.data_ptr() for keys in kv.keys)),
            values=(c_void_p * layers)(*(values.data_ptr() for values in kv.values)),
            slot_stride=slot,
            head_stride=head,
            token_stride=token,
            interrupt=None if batch.interrupt is None else batch.interrupt.address,
        )
        with self.kernels.lock:
            self._rotary.cover(min(kv.keys[0].shape[2], self.context))
            decoder = self._structs.decoder
            decoder.cosine, decoder.sine = self._rotary.cos.data_ptr(), self._rotary.sin.data_ptr()
            if not self.kernels.forward(decoder, native, self._memory(max(len(ids), len(rows))), out):
                raise InterruptedStepError
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        hidden = hidden.contiguous()
        out = torch.empty(len(hidden), self._structs.decoder.vocab)
        with self.kernels.lock:
            self.kernels.logits(self._structs.decoder, hidden, self._memory(len(hidden)), out)
        return out[:, : self.vocab_size]

    def _check(self, batch: Batch, kv: KVStorage) -> None:
        """Raise IndexError for accesses out of bounds, which C would not notice."""
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
        return self._scratch.address(self.kernels.scratch_bytes(self._structs.decoder, tokens))

    def _bits(self) -> str:
        """Describe the bits of the weights for people: a number, or the range and the average."""
        numbers = [tensor for name, tensor in self._packed.items() if name.endswith(".number")]
        bits = [tensor.shape[2] * 8 // (BLOCK * GROUP) for tensor in numbers]
        if min(bits) == max(bits):
            return f"int{bits[0]}"
        weights = [tensor.shape[0] * tensor.shape[1] * BLOCK * GROUP for tensor in numbers]
        average = sum(map(mul, bits, weights)) / sum(weights)
        return f"int{min(bits)} to int{max(bits)} ({average:.1f} bits on average)"
