"""Trains the GPT with AdamW, and keeps the best weights by validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pellucid.engine.decoders.torch_packing import multiplies_bfloat16
from pellucid.errors import ModelError
from pellucid.learn.train import checkpoint
from pellucid.learn.train.batches import Stream
from pellucid.learn.train.checkpoint import LossPoint, Progression
from pellucid.learn.train.cpu_energy import EnergyMeter
from pellucid.learn.train.gpt_model import GPT, GPTShape
from pellucid.learn.train.schedule import Schedule

CHECKPOINT_SECONDS = 15.0

VALIDATIONS = 24

PATIENCE = 8
"""Validations without improvement after which training ends."""

_AT_ONCE = 16  # Validation windows per batch
_MEASURED = 12  # Minimum steps
_SEEDS_APART = 1 << 32  # More than any number of steps
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of AdamW (Loshchilov and Hutter 2019). ``warm_up`` is at most 10 % of all steps.

    The second of ``betas`` is larger than large models' 0.95, because a step has few tokens
    (nanoGPT's value for this size).
    """

    batch: int
    peak: float
    warm_up: int
    decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Training stream, validation windows (W, T + 1), and bytes per token in both parts."""

    stream: Stream
    validation: Tensor
    train_bytes: float
    validation_bytes: float
    vocabulary: int


class StepListener(Protocol):
    def stepped(self, progression: Progression, bits_per_byte: float, tokens_per_second: float) -> None: ...


class GPTTrainer:
    """A model in training. Seed and step number determine a step completely."""

    def __init__(self, shape: GPTShape, recipe: Recipe, data: TrainingData, seed: int, device: torch.device) -> None:
        self.recipe = recipe
        self.data = data
        self.seed = seed
        self.device = device
        self.halved = multiplies_bfloat16(device.type)
        """Large products in bfloat16, where bfloat16 is faster."""
        self.model = GPT(shape, data.vocabulary, seed).to(device)
        self.best = self._copy()
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.peak, betas=recipe.betas, fused=True)
        self.progression = Progression()

    @property
    def tokens(self) -> int:
        return self.recipe.batch * self.data.stream.context

    def step(self, number: int, schedule: Schedule) -> float:
        torch.manual_seed(self.seed * _SEEDS_APART + number)  # For dropout
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.rate(number, self.recipe.warm_up, self.recipe.peak)
        self.model.train()
        with self._half_precision():
            loss = self.model.loss(self.data.stream.batch(number, self.recipe.batch).to(self.device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> float:
        self.model.eval()
        nats = 0.0
        for part in torch.split(self.data.validation, _AT_ONCE):
            with self._half_precision():
                nats += float(self.model.loss(part.to(self.device), "sum"))
        return nats / self.data.validation[:, 1:].numel() / math.log(2) / self.data.validation_bytes

    def train(self, schedule: Schedule, path: Path, listener: StepListener, settle: Callable[[Schedule], None]) -> None:
        """Train to the end of a schedule, or until validation stops improving.

        Checkpoints are written to ``path``. ``settle`` is called with each new schedule before the
        next step.
        """
        progression, meter = self.progression, EnergyMeter()
        now = saved = time.perf_counter()
        while progression.step < schedule.steps and progression.waited < PATIENCE:
            progression.nats += self.step(progression.step, schedule)
            progression.counted += 1
            progression.step += 1
            if _looks(schedule, progression.step):
                self._look()
            before, now = now, time.perf_counter()
            progression.seconds += now - before
            if schedule.due(progression.step, progression.seconds):
                schedule = schedule.settled(progression.step, progression.seconds)
                settle(schedule)
            listener.stepped(progression, self.train_bits, self.tokens / (now - before))
            if now - saved >= CHECKPOINT_SECONDS:
                self._count(meter)
                self.save(path)
                saved = time.perf_counter()
        self._count(meter)
        self.save(path)

    @property
    def train_bits(self) -> float:
        """Bits per byte of the training part since the last validation (at first: before)."""
        progression = self.progression
        if not progression.counted:
            return progression.points[-1].train if progression.points else math.nan
        return progression.nats / progression.counted / math.log(2) / self.data.train_bytes

    def save(self, path: Path) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state[parameter]
            tensors |= {f"{moment}.{name}": state[moment] for moment in _MOMENTS if moment in state}
        checkpoint.write(path, self.progression, tensors)

    def restore(self, path: Path) -> bool:
        """Resume from a checkpoint, if any."""
        found = checkpoint.read(path)
        if found is None:
            return False
        self.progression, tensors = found
        try:
            self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
            self.best = {name: tensors[f"best.{name}"].to(self.device) for name in self.best}
            for name, parameter in self.model.named_parameters():
                moments = {moment: tensors[f"{moment}.{name}"].to(self.device) for moment in _MOMENTS}
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.progression.step), device=self.device),
                    **moments,
                }
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"The checkpoint {path} is of another model ({error}): delete it to start training over."
            ) from None
        return True

    def _look(self) -> None:
        progression = self.progression
        point = LossPoint(progression.step, self.train_bits, self.validate())
        if point.validation < progression.best:
            progression.best_step = progression.step
            self.best = self._copy()
        progression.points.append(point)
        progression.nats, progression.counted = 0.0, 0

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _count(self, meter: EnergyMeter) -> None:
        joules = meter.lap()
        if joules is not None:
            self.progression.joules = (self.progression.joules or 0.0) + joules

    def _half_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved)


def measure(trainer: GPTTrainer, seconds: float) -> float:
    """Return the mean seconds of a step, measured with a discarded model.

    Many steps are needed, because processors are faster for the first moments.
    """
    schedule = Schedule.of_steps(1000)
    trainer.step(0, schedule)
    done, begun = 0, time.perf_counter()
    while done < _MEASURED or time.perf_counter() - begun < seconds:
        done += 1
        trainer.step(done, schedule)
    return (time.perf_counter() - begun) / done


def _looks(schedule: Schedule, step: int) -> bool:
    return step == schedule.steps or int(schedule.progress(step) * VALIDATIONS) > int(
        schedule.progress(step - 1) * VALIDATIONS
    )
