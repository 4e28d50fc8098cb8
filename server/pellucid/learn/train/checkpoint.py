"""Checkpoints of a training: a safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.system import atomic_files


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
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with writing(path.parent), atomic_files.written_whole(path) as part:
        save_file(whole, part, {"progression": json.dumps(asdict(progression))})


def read(path: Path) -> tuple[Progression, dict[str, Tensor]] | None:
    """Read the checkpoint, if any."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads((file.metadata() or {})["progression"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
        points = [LossPoint(**point) for point in stored.pop("points")]
        return Progression(points=points, **stored), tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The checkpoint {path} is damaged ({error}): delete it to start training over.") from None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn write errors into a ModelError that describes how to resume."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ModelError(
            f"{folder} cannot be written to ({reason}): free some space or make it writable, then repeat the command, "
            "which resumes from the last checkpoint."
        ) from None
