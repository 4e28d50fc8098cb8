"""The matrices of low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685).

An adapted decoder is a separate model that shares the weights of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """The change ``up @ down`` of a matrix (out, in), with the scale included.

    ``down`` (rank, in) and ``up`` (out, rank) are float32.
    """

    down: Floats
    up: Floats

    @property
    def rank(self) -> int:
        """Upper bound of the rank."""
        return len(self.down)

    @property
    def product(self) -> Floats:
        """The added matrix (out, in)."""
        return self.up @ self.down


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """Changes of matrices by checkpoint name: ``layers.0.self_attn.q_proj``."""

    changes: Mapping[str, LowRank]

    @property
    def rank(self) -> int:
        return max(change.rank for change in self.changes.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """Kinds of changed matrices, such as ``q_proj``."""
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in self.changes))

    @property
    def parameters(self) -> int:
        return sum(change.down.size + change.up.size for change in self.changes.values())

    def of(self, prefix: str, parts: Sequence[str]) -> list[LowRank | None]:
        """Return the change of each part of a fused matrix; None for an unchanged part."""
        return [self.changes.get(f"{prefix}{part}") for part in parts]
