"""What the engine needs of a model: its shape, and one forward pass over a flat batch of tokens.

A batch is *flat*: the tokens of all sequences lie one behind another in one row of T tokens, and a span says which
of them belong to which slot of the KV cache. Prefill and decode are the same thing with different counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one token takes in the KV cache."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of all layers, in bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class KVStorage:
    """Keys (after rotary embedding) and values: for each layer a tensor (slots, kv_heads, capacity, head_dim)."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True, slots=True)
class BatchSpan:
    """``count`` tokens of the flat batch from ``offset`` on: they go to positions ``start``... of slot ``slot``."""

    slot: int
    start: int
    count: int
    offset: int

    @property
    def end(self) -> int:
        """Tokens in the slot once the batch has run."""
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens to run: ``ids`` and ``positions`` (T,) int64 on the model's device, and the spans that they belong to.

    ``rows`` (R,) int64 are the indices of the tokens whose logits are wanted.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[BatchSpan, ...]
    rows: Tensor


@dataclass(frozen=True, slots=True)
class TokenCost:
    """The least that computing a token takes, whatever else a model does: weights read, and multiplied by.

    ``read_bytes`` are the weights that a step reads at least once, however few tokens it has. ``body`` counts the weights
    that each token is multiplied by, ``head`` those that a token whose logits are wanted is multiplied by besides.
    ``dtype`` is what large products multiply in.
    """

    read_bytes: int
    body: int
    head: int
    dtype: torch.dtype


class Model(Protocol):
    """A causal language model that reads and writes a KV storage of the engine's."""

    @property
    def vocab_size(self) -> int:
        """Number of logits."""
        ...

    @property
    def context(self) -> int:
        """The most tokens that the model was made for."""
        ...

    @property
    def cache_shape(self) -> CacheShape:
        """What its KV cache looks like."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take."""
        ...

    @property
    def cost(self) -> TokenCost | None:
        """What a token takes at the least; None where that depends on the token, as with a mixture of experts."""
        ...

    @property
    def brings_threads(self) -> bool:
        """Whether it computes on threads of its own: torch's would only spin in their way."""
        ...

    @property
    def description(self) -> str:
        """How it is computed, for people: "int8 weights, native AVX512-VNNI kernel on cpu", say."""
        ...

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """Run the batch: write the keys and values of its tokens, give hidden states (R, hidden) of the wanted rows."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits (R, vocab_size) of hidden states (R, hidden); callers split long R to bound memory."""
        ...
