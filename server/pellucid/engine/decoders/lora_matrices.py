"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): the matrices that they add to those of a decoder.

An adapted decoder is a separate model that shares the weights of its base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """The change of one matrix (out, in): ``up @ down``, of ``down`` (rank, in) and ``up`` (out, rank), its scale included.

    Both are float32 on the CPU.
    """

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """Upper bound of the rank."""
        return len(self.down)

    @property
    def product(self) -> Tensor:
        """Matrix that is added (out, in)."""
        return self.up @ self.down


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The changes of matrices, by the checkpoint's names: ``layers.0.self_attn.q_proj``."""

    changes: Mapping[str, LowRank]

    @property
    def rank(self) -> int:
        """Largest rank of its changes."""
        return max(change.rank for change in self.changes.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """Kinds of matrices that are changed: ``q_proj``, say."""
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in self.changes))

    @property
    def parameters(self) -> int:
        """Number of elements of all its matrices."""
        return sum(change.down.numel() + change.up.numel() for change in self.changes.values())

    def of(self, prefix: str, parts: Sequence[str]) -> list[LowRank | None]:
        """Return the change of each part of a fused matrix; None for a part without one."""
        return [self.changes.get(f"{prefix}{part}") for part in parts]
