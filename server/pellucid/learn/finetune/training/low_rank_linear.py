"""A frozen linear layer with a trained low-rank difference (Hu et al. 2021).

The gradients are written out: the products are in the dtype of the frozen weight, and a step keeps
only the input of the layer and the input's ``rank`` numbers. Peft's layer converts both to float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _LowRankProduct(torch.autograd.Function):
    """``x W^T + bias + scale x A^T B^T``, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """Return the product.

        Shapes: rows (n, inputs), weight (outputs, inputs), down (rank, inputs), up (outputs, rank).
        """
        down, up = down.to(rows.dtype), (up * scale).to(rows.dtype)
        inner = F.linear(rows, down)
        ctx.save_for_backward(rows, weight, down, up, inner)
        ctx.scale = scale
        return F.linear(rows, weight, bias).addmm_(inner, up.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, weight, down, up, inner = ctx.saved_tensors
        (gradient,) = gradients
        at_inner = gradient @ up
        at_rows = (gradient @ weight).addmm_(at_inner, down) if ctx.needs_input_grad[0] else None
        return at_rows, None, None, (at_inner.T @ rows).float(), (gradient.T @ inner).float() * ctx.scale, None


class LowRankLinear(nn.Module):
    """Add ``B A`` to a frozen layer: A is drawn by ``generator``, and B is 0 before training."""

    def __init__(self, frozen: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.frozen = frozen
        self.scale = alpha / rank
        self.on = True
        device = frozen.weight.device
        bound = 1 / math.sqrt(frozen.in_features)  # Of peft's start: Kaiming's uniform with a slope of 5 ** 0.5.
        down = torch.empty(rank, frozen.in_features).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, device=device))

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.on:
            return F.linear(hidden, self.frozen.weight, self.frozen.bias)
        rows = hidden.reshape(-1, hidden.shape[-1])
        product: Tensor = _LowRankProduct.apply(  # type: ignore[no-untyped-call]
            rows, self.frozen.weight, self.frozen.bias, self.down, self.up, self.scale
        )
        return product.view(*hidden.shape[:-1], -1)
