"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): what they add to the matrices of a decoder.

An adapted decoder is a model of its own that shares the weights of the one that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What is added to one matrix (out, in): ``up @ down``, of ``down`` (rank, in) and ``up`` (out, rank), its scale included.

    Both are float32 on the CPU.
    """

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """The rank at most."""
        return len(self.down)

    @property
    def product(self) -> Tensor:
        """The matrix that is added (out, in)."""
        return self.up @ self.down


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What is added to which matrix, by the checkpoint's names: ``layers.0.self_attn.q_proj``."""

    changes: Mapping[str, LowRank]

    @property
    def rank(self) -> int:
        """The largest rank."""
        return max(change.rank for change in self.changes.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """The kinds of matrices that are changed: ``q_proj``, say."""
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in self.changes))

    @property
    def parameters(self) -> int:
        """Elements of all its matrices."""
        return sum(change.down.numel() + change.up.numel() for change in self.changes.values())

    def of(self, prefix: str, parts: Sequence[str]) -> list[LowRank | None]:
        """What is added to each part of a fused matrix; None for a part that stays as it is."""
        return [self.changes.get(f"{prefix}{part}") for part in parts]
