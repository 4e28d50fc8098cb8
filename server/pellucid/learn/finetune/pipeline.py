"""Makes an adapter: evaluates, trains, evaluates again, and stores the adapter."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.learn.corpus import Document
from pellucid.learn.exclusive_lock import locked
from pellucid.learn.finetune.before_after import ComparisonRow, compare
from pellucid.learn.finetune.forgetting_texts import Kind
from pellucid.learn.finetune.held_out_evaluation import Effort, HeldOutEvaluation, HeldOutFigures, open_figures
from pellucid.learn.finetune.repository_files import Dataset
from pellucid.learn.finetune.training.base_model import Base, read_base
from pellucid.learn.finetune.training.checkpoint import TrainingState, read_state
from pellucid.learn.finetune.training.samples import SampleStream
from pellucid.learn.finetune.training.schedule import BATCH, EPOCHS, EVALUATIONS, FinetunePlan
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from pellucid.learn.finetune.training.trainer import AdapterTrainer, TrainingOutcome
from pellucid.models.adapter_folder import ORIGIN
from pellucid.models.store import Store
from pellucid.system import atomic_files
from pellucid.system.measured_peak_memory import peak_memory
from pellucid.system.progress import Progress
from pellucid.vocabulary.model_card import ADAPTER_NAME

VERSION = 3
"""Runs of different versions are not resumed."""

CONTEXT_TOKENS = {"cpu": 512, "cuda": 1024}
"""Maximum tokens of a sample, by device."""

EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """``minutes`` limits training alone; ``data`` is a folder with HumanEval infilling problems."""

    path: Path
    model: str
    name: str
    minutes: float = 20.0
    steps: int | None = None
    rank: int = 16
    seed: int = 0
    replace: bool = False
    data: Path | None = None


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    folder: Path
    card: Mapping[str, Any]
    rows: tuple[ComparisonRow, ...]
    outcome: TrainingOutcome
    memory: int | None


def check_name(name: str, store: Store, *, replace: bool) -> None:
    if re.fullmatch(ADAPTER_NAME, name) is None:
        raise InvalidRequestError(
            f"{name!r} is not a valid adapter name: use up to 64 letters, digits, hyphens, dots and underscores."
        )
    if (store.adapters / name).exists() and not replace:
        raise InvalidRequestError(f"The adapter {name} already exists: use another name, or replace it with --replace.")


@dataclass(frozen=True)
class Pipeline:
    options: FinetuneOptions
    dataset: Dataset
    general: Mapping[Kind, Sequence[Document]]
    base: Base
    adapter: TrainableAdapter
    sampler: SampleStream
    store: Store

    @classmethod
    def open(
        cls,
        options: FinetuneOptions,
        dataset: Dataset,
        general: Mapping[Kind, Sequence[Document]],
        device: str,
        store: Store,
        progress: Progress,
    ) -> Pipeline:
        base = read_base(options.model, device, store=store, progress=progress)
        limit = CONTEXT_TOKENS[base.model.device.type]
        sampler = SampleStream(base.tokenizer, base.infill, min(limit, base.model.config.max_position_embeddings))
        return cls(options, dataset, general, base, TrainableAdapter(base, options.rank, options.seed), sampler, store)

    @property
    def key(self) -> str:
        w = self.options
        parts = (
            VERSION,
            self.base.fingerprint,
            self.dataset.digest,
            w.steps,
            w.minutes,
            w.rank,
            w.seed,
            str(w.data),
            self.sampler.context,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def work(self) -> Path:
        return self.store.finetuning / self.options.name

    def alone(self) -> AbstractContextManager[None]:
        """Lock the work folder."""
        busy = f"Another process is making the adapter {self.options.name}: wait for it, or use another name."
        return locked(self.work / "lock", busy)

    def trainer(self, plan: FinetunePlan, progress: Progress) -> AdapterTrainer:
        return AdapterTrainer(self.adapter, self.sampler, plan, self.work, progress)

    def judge(self, progress: Progress) -> HeldOutEvaluation:
        return HeldOutEvaluation(self.base.model, self.sampler, EFFORT, self.options.seed, progress)

    @cached_property
    def samples(self) -> int:
        return len(self.sampler.epoch(self.dataset.train, self.options.seed, 0))

    @property
    def wanted(self) -> FinetunePlan:
        """The plan without a time limit."""
        options = self.options
        steps = options.steps or EPOCHS * -(-self.samples // BATCH)
        return FinetunePlan(self.key, steps, options.seed)

    def measured(self, progress: Progress) -> tuple[FinetunePlan, float, float]:
        """Return the plan within the time limit, and the seconds of a step and of an evaluation."""
        plan = self.wanted
        step, evaluation = self.trainer(plan, progress).pace(self.dataset.train, self.dataset.validation)
        affordable = max(1, int((60 * self.options.minutes - (EVALUATIONS + 1) * evaluation) / step))
        if self.options.steps is None and affordable < plan.steps:
            plan = replace(plan, steps=affordable)
        return plan, step, evaluation

    def tune(self, progress: Progress) -> FinetuneResult:
        """Make the adapter.

        Raises PellucidError if the loss on held-out files did not improve, and ModelError if a file
        cannot be written.
        """
        state = self._saved_state(progress)
        with self.adapter.off():
            before = self._judged("before", self.key, progress)
        plan = self._plan(state, progress)
        outcome = self.trainer(plan, progress).train(self.dataset.train, self.dataset.validation, state)
        if outcome.best.step == 0:
            shutil.rmtree(self.work, ignore_errors=True)
            raise PellucidError(
                f"The loss on held-out files did not improve in {outcome.steps} steps, so no adapter was "
                "written: use more text or more --minutes."
            )
        after = self._judged("after", f"{self.key} {outcome.steps} {outcome.best}", progress)
        rows = tuple(compare(before, after))
        card = self._card(outcome, rows)
        return FinetuneResult(self._publish(card), card, rows, outcome, peak_memory(self.base.model.device))

    def _plan(self, state: TrainingState | None, progress: Progress) -> FinetunePlan:
        if state is not None:
            return state.plan
        return self.wanted if self.options.steps is not None else self.measured(progress)[0]

    def _saved_state(self, progress: Progress) -> TrainingState | None:
        """Return the state of the interrupted run, or delete the state if the key differs."""
        state = read_state(self.work)
        if state is not None and state.plan.key == self.key:
            progress.note(f"Resuming an interrupted run after step {state.step} of {state.plan.steps}.")
            return state
        if state is not None:
            progress.note("The interrupted run had other files or options, so training starts over.")
            for path in self.work.glob("checkpoint*"):
                path.unlink()
        return None

    def _judged(self, when: str, key: str, progress: Progress) -> HeldOutFigures:
        with open_figures(self.work / f"{when}.jsonl", key) as file:
            return self.judge(progress).judge(
                f"evaluation {when} training", self.dataset.judged, self.general, kept=file
            )

    def _card(self, outcome: TrainingOutcome, rows: Sequence[ComparisonRow]) -> dict[str, Any]:
        tokens = [[evaluation.step, round(evaluation.loss, 4)] for evaluation in outcome.losses]
        training = {
            "steps": outcome.steps,
            "best_step": outcome.best.step,
            "seconds": round(outcome.seconds, 1),
            "held_out": tokens,
        }
        return {
            "base": self.base.name,
            "fingerprint": self.base.fingerprint,
            "name": self.options.name,
            "made": datetime.now().astimezone().isoformat(timespec="seconds"),
            "rank": self.options.rank,
            "seed": self.options.seed,
            "prefix_only": self.base.infill is None,
            "data": self.dataset.counts(),
            "training": training,
            "results": [row.record() for row in rows],
        }

    def _publish(self, card: Mapping[str, Any]) -> Path:
        made, target = self.work / "adapter", self.store.adapters / self.options.name
        with atomic_files.errors_explained(made):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            self.adapter.save(made)
            atomic_files.write_text(made / ORIGIN, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        with atomic_files.errors_explained(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(self.work / "replaced")
            made.rename(target)
            # Some file systems do not delete an open file (the lock).
            shutil.rmtree(self.work, ignore_errors=True)
        return target
