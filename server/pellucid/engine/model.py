"""The protocol of a model that the engine runs: its shape, and one forward pass over a flat batch of tokens.

A batch is *flat*: the tokens of all sequences follow one another in one row of T tokens, and a span
says which of them belong to which slot of the KV cache. Prefill and decode differ only in their
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The shape of one token in the KV cache."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Size of the keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class KVStorage:
    """Keys (after rotary embedding) and values: for each layer a tensor (slots, kv_heads, capacity, head_dim)."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True, slots=True)
class BatchSpan:
    """``count`` tokens of the flat batch, from ``offset`` on.

    Their positions in slot ``slot`` begin at ``start``.
    """

    slot: int
    start: int
    count: int
    offset: int

    @property
    def end(self) -> int:
        """Number of tokens in the slot once the batch has run."""
        return self.start + self.count


class Interrupt:
    """A flag that ends a batch between two layers. Any thread may set it."""

    def __init__(self) -> None:
        self._flag = torch.zeros(1, dtype=torch.int32)

    @property
    def address(self) -> int:
        """The address of the flag, an int32, for native code."""
        return self._flag.data_ptr()

    def set(self) -> None:
        """End the batches that run with this flag."""
        self._flag[0] = 1

    def clear(self) -> None:
        """Let batches run."""
        self._flag[0] = 0


class InterruptedStepError(Exception):
    """Raised by a model whose batch was interrupted.

    Keys and values of its tokens may have been written, and count as not written.
    """


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens to run: ``ids`` and ``positions`` (T,) int64 on the model's device, and the spans that they belong to.

    ``rows`` (R,) int64 are the indices of the tokens whose logits are wanted. A model whose steps
    are long looks at ``interrupt`` between its layers.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[BatchSpan, ...]
    rows: Tensor
    interrupt: Interrupt | None = None


@dataclass(frozen=True, slots=True)
class TokenCost:
    """The least that a token costs: the weights that are read, and those that it is multiplied by.

    ``read_bytes`` is the size of the weights that a step reads at least once, however few tokens it
    has. ``body`` counts the weights that each token is multiplied by, ``head`` those that a token
    whose logits are wanted is also multiplied by. ``dtype`` is that of large products.
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
    def hidden_size(self) -> int | None:
        """Length of the hidden states that ``forward`` returns; None where it returns something else for ``logits`` to read."""
        ...

    @property
    def cache_shape(self) -> CacheShape:
        """Shape of its KV cache."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take, in bytes."""
        ...

    @property
    def cost(self) -> TokenCost | None:
        """Least cost of a token; None where that depends on the token, as with a mixture of experts."""
        ...

    @property
    def brings_threads(self) -> bool:
        """True if it computes on threads of its own: torch's threads would only compete with them."""
        ...

    @property
    def description(self) -> str:
        """Description of how it is computed, for people: "int8 weights, native AVX512-VNNI kernel on cpu", say."""
        ...

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """Run the batch: write the keys and values of its tokens, and return hidden states (R, hidden) of the wanted rows.

        Raises InterruptedStepError if the batch was interrupted.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits (R, vocab_size) of hidden states (R, hidden).

        Callers split long R to bound memory.
        """
        ...
