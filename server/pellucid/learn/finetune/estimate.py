"""Estimates the cost of an adapter."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.learn.finetune.pipeline import Pipeline
from pellucid.learn.finetune.training.schedule import BATCH, EVALUATIONS
from pellucid.system.measured_peak_memory import peak_memory
from pellucid.system.progress import Progress


@dataclass(frozen=True, slots=True)
class Estimate:
    """``samples`` counts the first pass only; ``memory`` is the peak so far, in bytes."""

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
        return self.training + self.judging

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "total": self.total}


def estimate(pipeline: Pipeline, progress: Progress) -> Estimate:
    """Count samples, and measure two steps without keeping the gradients."""
    dataset, base = pipeline.dataset, pipeline.base
    plan, step, evaluation = pipeline.measured(progress)
    judge = pipeline.judge(progress)
    texts = {kind: documents[:1] for kind, documents in pipeline.general.items()}
    files, general = len(dataset.judged), sum(map(len, pipeline.general.values()))
    start = time.perf_counter()
    judge.judge("evaluating one file", dataset.judged[:1], {}, of=files)
    between = time.perf_counter()
    judge.judge("reading other texts", (), texts)
    end = time.perf_counter()
    return Estimate(
        model=base.name,
        prefix_only=base.infill is None,
        tokens=sum(len(base.tokenizer.encode(document.text)) for document in dataset.train),
        samples=pipeline.samples,
        steps=plan.steps,
        passes=round(plan.steps * BATCH / pipeline.samples, 2),
        seconds_per_step=step,
        training=plan.steps * step + (min(EVALUATIONS, plan.steps) + 1) * evaluation,
        judging=2 * (files * (between - start) + general * (end - between) / len(texts)),
        memory=peak_memory(base.model.device),
        data=dataset.counts(),
        secrets=dataset.secrets,
    )
