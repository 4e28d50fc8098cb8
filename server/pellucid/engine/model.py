"""The model protocol: one forward pass over a flat batch of tokens.

A batch is *flat*: the tokens of all sequences form one row of T tokens, and spans map the tokens to
slots of the KV cache. Prefill and decode differ only in the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheShape:
    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class KVStorage:
    """Keys (after rotary embedding) and values.

    Each layer has a tensor (slots, kv_heads, capacity, head_dim).
    """

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True, slots=True)
class BatchSpan:
    """``count`` tokens of the flat batch from ``offset``, at position ``start`` of a slot."""

    slot: int
    start: int
    count: int
    offset: int

    @property
    def end(self) -> int:
        return self.start + self.count


class Interrupt:
    """A flag that ends a batch between two layers. Any thread may set the flag."""

    def __init__(self) -> None:
        self._flag = torch.zeros(1, dtype=torch.int32)

    @property
    def address(self) -> int:
        return self._flag.data_ptr()

    def set(self) -> None:
        self._flag[0] = 1

    def clear(self) -> None:
        self._flag[0] = 0


class InterruptedStepError(Exception):
    """An interrupted batch. Its keys and values may be partly written; ignore them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens to run: ``ids`` and ``positions`` (T,) int64 on the model's device, and their spans.

    ``rows`` (R,) int64 are the indices of the tokens with needed logits. A model with long steps
    checks ``interrupt`` between layers.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[BatchSpan, ...]
    rows: Tensor
    interrupt: Interrupt | None = None


@dataclass(frozen=True, slots=True)
class TokenCost:
    """The minimum cost of a token.

    ``read_bytes``: weights read at least once per step. ``body``: weights multiplied for each
    token. ``head``: additional weights for a token with logits. ``dtype``: dtype of large products.
    """

    read_bytes: int
    body: int
    head: int
    dtype: torch.dtype


class Model(Protocol):
    @property
    def vocab_size(self) -> int: ...

    @property
    def context(self) -> int:
        """Maximum number of tokens."""
        ...

    @property
    def hidden_size(self) -> int | None:
        """Length of the hidden states; None for a model without hidden states."""
        ...

    @property
    def cache_shape(self) -> CacheShape: ...

    @property
    def weight_bytes(self) -> int: ...

    @property
    def cost(self) -> TokenCost | None:
        """None if the cost depends on the token (mixture of experts)."""
        ...

    @property
    def brings_threads(self) -> bool:
        """True if the model has its own threads, with which torch's threads would only compete."""
        ...

    @property
    def description(self) -> str:
        """Description for people: "int8 weights, native AVX512-VNNI kernel on cpu"."""
        ...

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """Write the batch's keys and values; return the hidden states (R, hidden) of ``rows``.

        Raises InterruptedStepError if the batch was interrupted.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits (R, vocab_size). Callers split a long R to bound memory."""
        ...
