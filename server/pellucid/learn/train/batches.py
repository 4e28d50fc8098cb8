"""Batches as a pure function of seed and step, for exact resumption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InvalidRequestError

_BEGINNINGS = 8
"""Every eighth window starts with the marker, so that the model learns how texts begin."""

_MAX_VALIDATED = 8192


@dataclass(frozen=True, slots=True)
class Stream:
    """Token windows of ``context`` + 1 tokens, from all texts, each after a ``marker``."""

    ids: Tensor
    context: int
    marker: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.ids) < 2 * self.context + 1:
            raise InvalidRequestError(
                f"There are {len(self.ids):,} tokens to train on, too few for windows of {self.context}: "
                "use more text or a smaller --vocab."
            )

    @property
    def windows(self) -> int:
        return (len(self.ids) - 1 - self.context) // self.context

    def batch(self, step: int, rows: int) -> Tensor:
        """Return the windows (rows, context + 1) of a step, from 0.

        Each pass reads all tokens once, in a new order and with new boundaries.
        """
        found = []
        turn, order, offset = -1, np.empty(0, np.int64), 0
        for number in range(step * rows, (step + 1) * rows):
            if number // self.windows != turn:
                turn = number // self.windows
                generator = np.random.default_rng([self.seed, turn])
                order, offset = generator.permutation(self.windows), int(generator.integers(self.context))
            index = number % self.windows
            first = offset + int(order[index]) * self.context
            window = self.ids[first : first + self.context + 1]
            if number % _BEGINNINGS == 0:
                window = torch.cat([window.new_tensor([self.marker]), window[1:]])
            found.append(window)
        return torch.stack(found)


def validation_windows(ids: Tensor, context: int) -> Tensor:
    """Return windows (W, context + 1) spread over ``ids``, which begin with a marker."""
    context = min(context, len(ids) - 1)
    windows = ids[: (len(ids) - 1) // context * context + 1].unfold(0, context + 1, context)
    kept = min(len(windows), max(_MAX_VALIDATED // context, 1))
    return windows[torch.linspace(0, len(windows) - 1, kept).long()]
