"""Where training has got to, in one file that is written whole or not at all: what was there before stays until the next is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.learn.finetune.training.lora import written_whole
from pellucid.learn.finetune.training.plan import FinetunePlan

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Look:
    """What the held-out files said after ``step`` steps: nats a label."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingState:
    """After ``step`` steps of a plan, ``seconds`` of work. ``moments`` are AdamW's two means of each weight."""

    plan: FinetunePlan
    step: int
    seconds: float
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    moments: dict[str, tuple[Tensor, Tensor]]
    looks: tuple[Look, ...]

    def save(self, folder: Path) -> None:
        """Write it into a folder that exists. Raises ModelError where that does not go."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, (first, second) in self.moments.items():
            tensors |= {f"first/{name}": first, f"second/{name}": second}
        told = {"step": self.step, "seconds": self.seconds, "looks": [asdict(look) for look in self.looks]}
        with written_whole(folder / FILE) as part:
            save_file(tensors, part, {"standing": json.dumps({"plan": asdict(self.plan), **told})})


def read_standing(folder: Path) -> TrainingState | None:
    """Where an earlier run has got to; None where there is none, or nothing that can be read."""
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            told = json.loads(file.metadata()["standing"])
            tensors: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "first": {}, "second": {}}
            for stored in file.keys():  # noqa: SIM118 - not a mapping
                kind, _, name = stored.partition("/")
                tensors[kind][name] = file.get_tensor(stored)
        return TrainingState(
            FinetunePlan(**told["plan"]),
            told["step"],
            told["seconds"],
            tensors["weights"],
            tensors["best"],
            {name: (first, tensors["second"][name]) for name, first in tensors["first"].items()},
            tuple(Look(**look) for look in told["looks"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
