"""The model protocol: one forward pass over a flat batch of tokens.

A batch is *flat*: the tokens of all sequences form one row of T tokens, and spans map the tokens to
slots of the KV cache. Prefill and decode differ only in the number of tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.masked_row import MaskedRow
from pellucid.engine.token_mask import TokenMask
from pellucid.engine.token_scores import RowScores
from pellucid.vocabulary.token import ExpertChoice

NO_STATE = -1
"""The number of the state before the first token of a text."""

ITEM_BYTES = {"int8": 1, "float16": 2, "bfloat16": 2, "float32": 4}

SCALE_BYTES = 4
"""A float32 at the end of each row of int8 numbers, which are multiples of this scale."""

Indices = NDArray[np.int64]
Logprobs = NDArray[np.float32]
Hidden = Any
"""Hidden states (rows, hidden), an array or a tensor: the engine only takes rows."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """``dtype`` is a key of ITEM_BYTES; ``device`` is torch's name ("cuda:0").

    ``layers`` are the layers with keys and values. ``state_size`` is the number of float32 numbers
    that all recurrent layers keep of a text.
    """

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str
    device: str = "cpu"
    state_size: int = 0

    @property
    def row_width(self) -> int:
        """The numbers that are stored for a head's key or value, with the bytes of a scale."""
        return self.head_dim + (SCALE_BYTES if self.dtype == "int8" else 0)

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.row_width * ITEM_BYTES[self.dtype]

    @property
    def state_bytes(self) -> int:
        return 4 * self.state_size


class KVStorage(Protocol):
    """The keys (after rotary embedding) and values of all slots, in a model's own memory.

    The states of recurrent layers are in numbered buffers; see BatchSpan.

    Content outside of the slots is an array (2 * layers, kv_heads, tokens, row_width): all keys,
    then all values. Numpy has no bfloat16, so bfloat16 content is uint16.
    """

    def copy(self, source: int, target: int, length: int) -> None: ...

    def read(self, slot: int, length: int) -> NDArray[Any]:
        """Return a copy of a slot's first ``length`` tokens."""
        ...

    def write(self, slot: int, content: NDArray[Any]) -> None:
        """Replace a slot's first tokens by content."""
        ...


@dataclass(frozen=True, slots=True)
class BatchSpan:
    """``count`` tokens of the flat batch from ``offset``, at position ``start`` of a slot.

    Recurrent layers continue from the state in buffer ``state_from`` (NO_STATE at the start of a
    text) and leave a state in ``state_to``. A batch may have several spans of a slot, in order.
    Each token of a ``whole`` span sees the whole span, which is no longer than any window.
    """

    slot: int
    start: int
    count: int
    offset: int
    state_from: int = NO_STATE
    state_to: int = NO_STATE
    whole: bool = False

    @property
    def end(self) -> int:
        return self.start + self.count


class Interrupt:
    """A flag that ends a batch between two layers. Any thread may set the flag."""

    def __init__(self) -> None:
        self._flag = ctypes.c_int32(0)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._flag)

    def set(self) -> None:
        self._flag.value = 1

    def clear(self) -> None:
        self._flag.value = 0


class InterruptedStepError(Exception):
    """An interrupted batch. Its keys and values may be partly written; ignore them."""


class ExpertChoices:
    """Takes the experts of a batch's rows: numbers and weights, both (layers, R, active)."""

    def __init__(self) -> None:
        self._numbers, self._weights = np.empty((0, 0, 0), np.int32), np.empty((0, 0, 0), np.float32)

    def take(self, numbers: NDArray[np.int32], weights: NDArray[np.float32]) -> None:
        self._numbers, self._weights = numbers, weights

    def of(self, row: int) -> ExpertChoice:
        numbers, weights = self._numbers[:, row].tolist(), self._weights[:, row].tolist()
        return tuple(tuple(zip(*layer, strict=True)) for layer in zip(numbers, weights, strict=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens to run: ``ids`` and ``positions`` (T,), and their spans.

    ``rows`` (R,) are the indices of the tokens with needed logits. A model with long steps
    checks ``interrupt`` between layers. A model with experts gives its choice to ``choices``.
    Row i of ``embedded`` (n, hidden) float32 replaces the embedding of the token with the id
    -1 - i. Queries and keys rotate by ``axes`` (T, 3), if given, instead of ``positions``: by
    positions in time, height and width. Only lean decoders compute both.
    """

    ids: Indices
    positions: Indices
    spans: tuple[BatchSpan, ...]
    rows: Indices
    interrupt: Interrupt | None = None
    choices: ExpertChoices | None = None
    embedded: NDArray[np.float32] | None = None
    axes: Indices | None = None


@dataclass(frozen=True, slots=True)
class TokenCost:
    """The minimum cost of a token.

    ``read_bytes``: weights read at least once per step. ``body``: weights multiplied for each
    token. ``head``: additional weights for a token with logits. ``dtype``: torch's name of the
    dtype of large products.
    """

    read_bytes: int
    body: int
    head: int
    dtype: str


class Logits(Protocol):
    """Float32 logits (rows, vocab), where the model computed the logits."""

    def __len__(self) -> int: ...

    def row(self, index: int) -> Logprobs:
        """Return a row in host memory; the caller must not change the row."""
        ...

    def score(self, rows: Sequence[int], ids: Sequence[int], top: int) -> RowScores:
        """Score token ``ids``, possibly MOST_PROBABLE, by ``rows``.

        Each row also gets the ``top`` most probable ids with logprobs.
        """
        ...

    def mask_row(self, row: Logprobs, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        """Return a row restricted to ``mask``; without ``keep``, omit the logits."""
        ...


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
    def reports_experts(self) -> bool:
        """True if ``forward`` fills ``Batch.choices``."""
        ...

    @property
    def cheap_rows(self) -> int:
        """Number of rows that cost little more than one row."""
        ...

    @property
    def description(self) -> str:
        """Description for people: "int8 weights, native AVX512-VNNI kernel on cpu"."""
        ...

    def new_storage(self, slots: int, capacity: int, states: int = 0) -> KVStorage:
        """Allocate ``slots`` of up to ``capacity`` tokens, and ``states`` of recurrent layers.

        The operating system backs only written memory with pages.
        """
        ...

    def forward(self, batch: Batch, kv: KVStorage) -> Hidden:
        """Write the batch's keys and values; return the hidden states (R, hidden) of ``rows``.

        ``kv`` is from ``new_storage``. Raises InterruptedStepError if the batch was interrupted.
        """
        ...

    def logits(self, hidden: Hidden) -> Logits:
        """Return logits (R, vocab_size). Callers split a long R to bound memory."""
        ...

    def sum_hidden(self, hidden: Hidden) -> NDArray[np.float64]:
        """Return the sum (hidden,) over the rows; float32 sums would depend on the chunks."""
        ...
