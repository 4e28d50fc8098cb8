"""Decode steps as CUDA graphs: launching many small kernels takes longer than running them.

A CUDA graph launches all kernels at once, but always on the same memory. So a step has fixed input
tensors in a few shapes: unused rows repeat the first row, and the key length is rounded up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.model import Batch, BatchSpan

logger = logging.getLogger(__name__)

ROW_COUNTS = (1, 2, 4, 8, 16, 32)

MIN_KEYS = 512
"""Keys of the shortest shape; longer shapes double the number, up to the capacity of a slot."""

MAX_KEYS = 1 << 17
"""Maximum of rows times keys: each layer gathers keys and values from the whole storage."""


@dataclass(frozen=True, slots=True)
class GraphShape:
    """``rows`` sequences, and the first ``length`` keys of each."""

    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """The newest token of each of R sequences: ``ids``, ``positions`` and ``slots`` (R,) int64.

    All positions are below ``length``.
    """

    ids: Tensor
    positions: Tensor
    slots: Tensor
    length: int

    @classmethod
    def empty(cls, shape: GraphShape, device: torch.device) -> DecodeRows:
        ids, positions, slots = (torch.zeros(shape.rows, dtype=torch.int64, device=device) for _ in range(3))
        return cls(ids, positions, slots, shape.length)

    def fill(self, batch: Batch) -> None:
        """Copy a batch. Unused rows repeat the first row, and write the same values twice."""
        slots = np.array([span.slot for span in batch.spans])
        for tensor, values in ((self.ids, batch.ids), (self.positions, batch.positions), (self.slots, slots)):
            padded = np.concatenate((values, np.repeat(values[:1], len(tensor) - len(values))))
            tensor.copy_(torch.from_numpy(padded))


def shape_of(spans: Sequence[BatchSpan], capacity: int) -> GraphShape | None:
    """Return the smallest shape for a batch; None if too large or not a decode step."""
    rows = next((count for count in ROW_COUNTS if count >= len(spans)), None)
    if rows is None or any(span.count != 1 for span in spans):
        return None
    longest, length = max(span.end for span in spans), MIN_KEYS
    while length < longest:
        length *= 2
    length = min(length, capacity)
    return GraphShape(rows, length) if rows * length <= MAX_KEYS else None


Step = Callable[[DecodeRows], Tensor]
"""Returns hidden states (R, hidden) of rows; must not wait for the device or read tensors."""


class DecodeGraphs:
    """The steps of one decoder on one storage; a shape is recorded at first use.

    If recording fails, kernels are launched separately: slower, with the same results.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorded: dict[GraphShape, tuple[torch.cuda.CUDAGraph, DecodeRows, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._works = True

    def run(self, step: Step, shape: GraphShape, batch: Batch) -> Tensor | None:
        """Return the hidden states (R, hidden) of a batch's rows; None if recording fails.

        ``step`` must always be the same.
        """
        if not self._works:
            return None
        if shape not in self._recorded:
            try:
                self._recorded[shape] = self._record(step, shape, batch)
            except RuntimeError:
                logger.exception(
                    "decode steps cannot be recorded as CUDA graphs here, "
                    "so each kernel is launched separately, which is slower"
                )
                self._works = False
                return None
        graph, rows, hidden = self._recorded[shape]
        rows.fill(batch)
        graph.replay()
        return hidden[
            torch.from_numpy(batch.rows).to(self._device)
        ]  # Copied, because the next step overwrites ``hidden``.

    def _record(self, step: Step, shape: GraphShape, batch: Batch) -> tuple[torch.cuda.CUDAGraph, DecodeRows, Tensor]:
        rows = DecodeRows.empty(shape, self._device)
        rows.fill(batch)
        current, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            step(rows)  # A first call initializes libraries, which cannot be recorded.
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = step(rows)
        return graph, rows, hidden
