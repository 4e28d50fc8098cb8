"""The common parts of models on torch operations: tensors of arrays, storage, logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.masked_row import MaskedRow, mask_row
from pellucid.engine.model import Batch, CacheShape, Logprobs
from pellucid.engine.token_mask import TokenMask
from pellucid.engine.token_scores import MOST_PROBABLE, RowScores


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor on the same memory. The bits of bfloat16 are uint16 in numpy."""
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return a host array, on the same memory if possible; see as_tensor."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    array: NDArray[Any] = tensor.numpy()
    return array


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class TensorStorage:
    """Keys and values; each layer has a tensor (slots, kv_heads, capacity, head_dim).

    ``states`` is (states, state_size) float32.
    """

    def __init__(self, shape: CacheShape, slots: int, capacity: int, states: int = 0) -> None:
        size = (slots, shape.kv_heads, capacity, shape.head_dim)
        dtype: torch.dtype = getattr(torch, shape.dtype)
        self.keys = [torch.empty(size, dtype=dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.empty(size, dtype=dtype, device=shape.device) for _ in range(shape.layers)]
        self.states = torch.empty((states, shape.state_size), dtype=torch.float32, device=shape.device)

    def copy(self, source: int, target: int, length: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length] = tensor[source, :, :length]

    def read(self, slot: int, length: int) -> NDArray[Any]:
        # Gathered on the device for a single transfer.
        return as_array(torch.stack([tensor[slot, :, :length] for tensor in (*self.keys, *self.values)]))

    def write(self, slot: int, content: NDArray[Any]) -> None:
        parts = as_tensor(np.ascontiguousarray(content)).to(self.keys[0].device)
        for tensor, part in zip((*self.keys, *self.values), parts, strict=True):
            tensor[slot, :, : part.shape[1]] = part


class TensorLogits:
    """Logits (rows, vocab) of a torch model."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def row(self, index: int) -> Logprobs:
        row: Logprobs = self.values[index].cpu().numpy()
        return row

    @torch.inference_mode()
    def score(self, rows: Sequence[int], ids: Sequence[int], top: int) -> RowScores:
        chosen = self.values if len(rows) == len(self.values) else self.values[list(rows)]
        return score_rows(chosen, torch.tensor(ids, dtype=torch.int64, device=chosen.device), top)

    def mask_row(self, row: Logprobs, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        return mask_row(row, mask, keep=keep)


class TorchModel(ABC):
    """The base of models on torch operations."""

    device: torch.device

    @property
    @abstractmethod
    def cache_shape(self) -> CacheShape: ...

    @property
    def reports_experts(self) -> bool:
        return False

    @property
    def cheap_rows(self) -> int:
        """See Model. Up to 8 rows cost little more than one row, but with AVX2 alone."""
        wide = self.device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
        return 8 if wide else 2

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (R, vocab) of hidden states."""

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> TensorLogits:
        return TensorLogits(self.head(hidden).float())

    def sum_hidden(self, hidden: Tensor) -> NDArray[np.float64]:
        values: NDArray[np.float64] = hidden.cpu().double().sum(0).numpy()  # Some devices have no float64.
        return values

    def new_storage(self, slots: int, capacity: int, states: int = 0) -> TensorStorage:
        return TensorStorage(self.cache_shape, slots, capacity, states)

    def indices(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the batch's ids, positions and rows on the device."""
        ids, positions, rows = (torch.from_numpy(a).to(self.device) for a in (batch.ids, batch.positions, batch.rows))
        return ids, positions, rows


def score_rows(logits: Tensor, ids: Tensor, top: int) -> RowScores:
    """Score tokens ``ids`` (R,), possibly MOST_PROBABLE, by raw float32 ``logits`` (R, vocab).

    Each row also gets the ``top`` most probable ids with logprobs.
    """
    ids = torch.where(ids == MOST_PROBABLE, logits.argmax(dim=-1), ids)
    normalizer = torch.logsumexp(logits, dim=-1, keepdim=True)
    chosen = logits.gather(1, ids[:, None])
    # H = -sum p log p = log Z - sum p logit
    entropies = (normalizer[:, 0] - torch.linalg.vecdot((logits - normalizer).exp_(), logits)).clamp_(min=0)
    values, indices = logits.topk(min(top, logits.shape[-1]), dim=-1)
    return RowScores(
        ids.tolist(),
        (chosen - normalizer)[:, 0].tolist(),
        ((logits > chosen).sum(dim=-1) + 1).tolist(),
        entropies.tolist(),
        indices.tolist(),
        (values - normalizer).tolist(),
    )
