"""Decode steps on CUDA, replayed: launching the many small kernels of one takes longer than what they compute.

A CUDA graph launches all of them at once, but always on the same memory. So a step has one of a few shapes: its inputs lie in
tensors of its own, rows that nobody wants repeat the first one, and keys are read up to a length that many steps share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.engine.model import Batch, BatchSpan

logger = logging.getLogger(__name__)

ROW_COUNTS = (1, 2, 4, 8, 16, 32)

SHORTEST = 512
"""Keys that even the shortest shape reads; longer ones have twice as many, and so on up to the capacity of a slot."""

MOST_KEYS = 1 << 17
"""Rows times keys of the largest shape: each layer copies its keys and values, which are scattered over the storage."""


@dataclass(frozen=True, slots=True)
class GraphShape:
    """``rows`` sequences, the first ``length`` keys of each."""

    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """The newest token of each of R sequences: ``ids``, ``positions`` and ``slots`` (R,) int64. All positions are below ``length``."""

    ids: Tensor
    positions: Tensor
    slots: Tensor
    length: int

    @classmethod
    def empty(cls, shape: GraphShape, device: torch.device) -> DecodeRows:
        """Place for the inputs of steps of a shape."""
        ids, positions, slots = (torch.zeros(shape.rows, dtype=torch.int64, device=device) for _ in range(3))
        return cls(ids, positions, slots, shape.length)

    def fill(self, batch: Batch) -> None:
        """Put a batch of no more rows in; those that are left repeat its first one, which then writes the same twice."""
        slots = torch.tensor([span.slot for span in batch.spans], device=self.slots.device)
        for place, values in ((self.ids, batch.ids), (self.positions, batch.positions), (self.slots, slots)):
            place[: len(values)] = values
            place[len(values) :] = values[0]


def shape_of(spans: Sequence[BatchSpan], capacity: int) -> GraphShape | None:
    """The smallest shape that a batch of these spans fits into; None where it is no decode step, or too large a one."""
    rows = next((count for count in ROW_COUNTS if count >= len(spans)), None)
    if rows is None or any(span.count != 1 for span in spans):
        return None
    longest, length = max(span.end for span in spans), SHORTEST
    while length < longest:
        length *= 2
    length = min(length, capacity)
    return GraphShape(rows, length) if rows * length <= MOST_KEYS else None


Step = Callable[[DecodeRows], Tensor]
"""Gives hidden states (R, hidden) of rows. It neither waits for the device nor looks at what is in its tensors."""


class DecodeGraphs:
    """The steps of one decoder on one storage, each shape recorded when it is first wanted.

    Where recording fails that is logged, and steps are computed as all others are from then on: slower, and no less right.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorded: dict[GraphShape, tuple[torch.cuda.CUDAGraph, DecodeRows, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._works = True

    def run(self, step: Step, shape: GraphShape, batch: Batch) -> Tensor | None:
        """Hidden states (R, hidden) of the wanted rows of a batch that fits into a shape; ``step`` is the same each time.

        None where steps cannot be recorded here.
        """
        if not self._works:
            return None
        if shape not in self._recorded:
            try:
                self._recorded[shape] = self._record(step, shape, batch)
            except RuntimeError:
                logger.exception("decode steps cannot be recorded as CUDA graphs here: they are launched one kernel after another")
                self._works = False
                return None
        graph, rows, hidden = self._recorded[shape]
        rows.fill(batch)
        graph.replay()
        return hidden[batch.rows]  # a copy: the next step of any shape writes where this one has

    def _record(self, step: Step, shape: GraphShape, batch: Batch) -> tuple[torch.cuda.CUDAGraph, DecodeRows, Tensor]:
        rows = DecodeRows.empty(shape, self._device)
        rows.fill(batch)
        here, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            step(rows)  # what libraries set up at their first call cannot be recorded
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = step(rows)
        return graph, rows, hidden
