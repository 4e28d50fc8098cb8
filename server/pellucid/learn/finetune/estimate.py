"""What making an adapter would cost, told beforehand: counted, and measured on two real steps."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.learn.finetune.memory import peak_memory
from pellucid.learn.finetune.pipeline import Pipeline
from pellucid.learn.finetune.training.plan import BATCH, LOOKS
from pellucid.system.progress import Progress


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts, seconds and bytes. ``samples`` are of one pass; ``judging`` is before and after together; ``memory`` at most so far."""

    model: str
    prefix_only: bool
    tokens: int
    samples: int
    steps: int
    passes: float
    seconds_per_step: float
    training: float
    judging: float
    memory: int | None
    data: dict[str, Any]
    secrets: tuple[tuple[str, str], ...]

    @property
    def total(self) -> float:
        """Seconds from beginning to end."""
        return self.training + self.judging

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "total": self.total}


def estimate(workshop: Pipeline, progress: Progress) -> Estimate:
    """Count what there is, and take two steps whose gradients are thrown away; nothing is written."""
    material, base = workshop.material, workshop.base
    plan, step, look = workshop.measured(progress)
    samples = len(workshop.sampler.epoch(material.train, workshop.wishes.seed, 0))
    judge = workshop.judge(progress)
    texts = {kind: documents[:1] for kind, documents in workshop.general.items()}
    files, general = len(material.judged), sum(map(len, workshop.general.values()))
    start = time.perf_counter()
    judge.judge("judging one file", material.judged[:1], {}, of=files)
    between = time.perf_counter()
    judge.judge("reading other texts", (), texts)
    end = time.perf_counter()
    return Estimate(
        model=base.name,
        prefix_only=base.infill is None,
        tokens=sum(len(base.tokenizer.encode(document.text)) for document in material.train),
        samples=samples,
        steps=plan.steps,
        passes=round(plan.steps * BATCH / samples, 2),
        seconds_per_step=step,
        training=plan.steps * step + (min(LOOKS, plan.steps) + 1) * look,
        judging=2 * (files * (between - start) + general * (end - between) / len(texts)),
        memory=peak_memory(base.model.device),
        data=material.counts(),
        secrets=material.secrets,
    )
