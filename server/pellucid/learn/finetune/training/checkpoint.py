"""The state of a finetuning, in a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from pellucid.learn.checkpoint_file import read_checkpoint, write_checkpoint
from pellucid.learn.finetune.training.schedule import FinetunePlan
from pellucid.system.atomic_files import OTHER_CACHE

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """The loss on held-out files after ``step`` steps, in nats per label."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The state after ``step`` steps of a plan and ``seconds`` of work.

    ``moments`` are AdamW's two running means for each weight.
    """

    plan: FinetunePlan
    step: int
    seconds: float
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    moments: dict[str, tuple[Tensor, Tensor]]
    losses: tuple[HeldOutLoss, ...]

    def save(self, folder: Path) -> None:
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, (first, second) in self.moments.items():
            tensors |= {f"first/{name}": first, f"second/{name}": second}
        stored = {
            "step": self.step,
            "seconds": self.seconds,
            "looks": [asdict(evaluation) for evaluation in self.losses],
        }
        write_checkpoint(folder / FILE, {"plan": asdict(self.plan), **stored}, tensors, OTHER_CACHE)


def read_state(folder: Path) -> TrainingState | None:
    """Read the state of an earlier run; None if the file is missing or damaged."""
    try:
        stored, named = read_checkpoint(folder / FILE)
        tensors: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "first": {}, "second": {}}
        for key, tensor in named.items():
            kind, _, name = key.partition("/")
            tensors[kind][name] = tensor
        return TrainingState(
            FinetunePlan(**stored["plan"]),
            stored["step"],
            stored["seconds"],
            tensors["weights"],
            tensors["best"],
            {name: (first, tensors["second"][name]) for name, first in tensors["first"].items()},
            tuple(HeldOutLoss(**evaluation) for evaluation in stored["looks"]),
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None
