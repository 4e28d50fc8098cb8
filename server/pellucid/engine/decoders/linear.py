"""Weight matrices on torch operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.lora_matrices import LowRank


class Linear:
    """A matrix (out, in) with an optional bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply x (T, in); return (T, out) in x's dtype."""
        return F.linear(x, self.weight, self.bias)


class LowRankLinear(Linear):
    """An adapted linear: ``changes`` for consecutive parts of ``rows`` rows."""

    def __init__(
        self,
        base: Linear,
        changes: Sequence[LowRank | None],
        rows: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(base.weight, base.bias)
        self.base = base  # Which may have an adapter, too.
        self._parts: list[tuple[slice, Tensor, Tensor]] = []
        at = 0
        for change, count in zip(changes, rows, strict=True):
            if change is not None:
                down, up = (torch.from_numpy(side).to(device, dtype) for side in (change.down, change.up))
                self._parts.append((slice(at, at + count), down, up))
            at += count

    @property
    def nbytes(self) -> int:
        return self.base.nbytes + sum(down.nbytes + up.nbytes for _, down, up in self._parts)

    def __call__(self, x: Tensor) -> Tensor:
        out = self.base(x)
        for rows, down, up in self._parts:
            out[:, rows] += F.linear(F.linear(x, down), up)
        return out
