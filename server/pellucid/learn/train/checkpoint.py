"""Checkpoints of the training from scratch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from pellucid.errors import ModelError
from pellucid.learn.checkpoint_file import read_checkpoint, write_checkpoint
from pellucid.system.atomic_files import OTHER_OUT


@dataclass(frozen=True, slots=True)
class LossPoint:
    """Bits per byte of the training part since the previous point, and of the validation part."""

    step: int
    train: float
    validation: float


@dataclass
class Progression:
    """``nats`` is the sum over ``counted`` steps since the last point.

    ``joules`` is None without an energy counter.
    """

    step: int = 0
    best_step: int = 0
    points: list[LossPoint] = field(default_factory=list)
    nats: float = 0.0
    counted: int = 0
    seconds: float = 0.0
    joules: float | None = None

    @property
    def best(self) -> float:
        return min((point.validation for point in self.points), default=float("inf"))

    @property
    def waited(self) -> int:
        return sum(point.step > self.best_step for point in self.points)


def write(path: Path, progression: Progression, tensors: dict[str, Tensor]) -> None:
    """Replace the checkpoint, or keep the previous checkpoint and raise ModelError."""
    write_checkpoint(path, asdict(progression), tensors, OTHER_OUT)


def read(path: Path) -> tuple[Progression, dict[str, Tensor]] | None:
    """Read the checkpoint, if any."""
    if not path.exists():
        return None
    try:
        stored, tensors = read_checkpoint(path)
        points = [LossPoint(**point) for point in stored.pop("points")]
        return Progression(points=points, **stored), tensors
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The checkpoint {path} is damaged ({error}): delete it to start training over.") from None
