"""Checkpoints: all that training needs to go on as if nothing had happened, in one safetensors file with JSON in its header.

It is replaced as a whole: whatever happens meanwhile, the one before it is intact.
"""

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
    """What was found at a step: bits per byte of the train part since the point before, and of the validation part."""

    step: int
    train: float
    validation: float


@dataclass
class Progression:
    """How far training is. ``best_step`` is the one that read the validation part best; ``joules`` is None where nothing counts.

    ``nats`` are those of ``counted`` steps since the last point.
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
        """Bits per byte of the validation part at the best step."""
        return min((point.validation for point in self.points), default=float("inf"))

    @property
    def waited(self) -> int:
        """Points since the best one."""
        return sum(point.step > self.best_step for point in self.points)


def write(path: Path, progression: Progression, tensors: dict[str, Tensor]) -> None:
    """Replace the checkpoint. Raises ModelError where the disk does not take it; the one before it stays."""
    part = path.with_name(path.name + ".part")
    with writing(path.parent):
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()}, part, {"progression": json.dumps(asdict(progression))}
            )
            atomic_files.publish(part, path)
        finally:
            part.unlink(missing_ok=True)


def read(path: Path) -> tuple[Progression, dict[str, Tensor]] | None:
    """The checkpoint; None where there is none. Raises ModelError for one that is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["progression"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
        points = [LossPoint(**point) for point in said.pop("points")]
        return Progression(points=points, **said), tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The checkpoint {path} is damaged ({error}): delete it, and training begins anew.") from None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say in one sentence what the disk says against writing, and that nothing is lost."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ModelError(
            f"{folder} could not be written to ({reason}): make room or make it writable, and give the same command again, "
            "which goes on from the last checkpoint."
        ) from None
