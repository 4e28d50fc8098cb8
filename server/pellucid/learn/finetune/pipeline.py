"""Where an adapter is made: judged before, trained, judged after, and put into the store. A run that is broken off goes on from there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.dataset import Dataset
from pellucid.learn.finetune.evaluation_cache import EvaluationCache
from pellucid.learn.finetune.forgetting import Kind
from pellucid.learn.finetune.held_out import Effort, HeldOutEvaluation, HeldOutFigures
from pellucid.learn.finetune.memory import peak_memory
from pellucid.learn.finetune.results import ComparisonRow, compare
from pellucid.learn.finetune.training.base_model import Base, read_base
from pellucid.learn.finetune.training.checkpoint import TrainingState, read_standing
from pellucid.learn.finetune.training.lora import TrainableAdapter
from pellucid.learn.finetune.training.plan import BATCH, EPOCHS, LOOKS, FinetunePlan
from pellucid.learn.finetune.training.samples import SampleStream
from pellucid.learn.finetune.training.trainer import AdapterTrainer, TrainingOutcome
from pellucid.models.adapter_folder import NAME, ORIGIN
from pellucid.models.store import Store
from pellucid.system import atomic_files
from pellucid.system.progress import Progress

VERSION = 2
"""Of what a broken-off run has left; that of another version is not gone on with."""

CONTEXT = {"cpu": 512, "cuda": 1024}
"""Tokens of the longest sample, by device."""

EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for. ``minutes`` are of training alone; ``data`` is a folder with HumanEval's infilling problems."""

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
class Tuned:
    """An adapter that was made: its folder, how it was trained, and what it is worth."""

    folder: Path
    card: Mapping[str, Any]
    rows: tuple[ComparisonRow, ...]
    outcome: TrainingOutcome
    memory: int | None


def check_name(name: str, store: Store, *, replace: bool) -> None:
    """Raise InvalidRequestError for a name that no adapter can have, or that one has already."""
    if re.fullmatch(NAME, name) is None:
        raise InvalidRequestError(f"{name!r} is no name for an adapter: take up to 64 letters, digits, hyphens, dots and underscores.")
    if store.adapters_path(name).exists() and not replace:
        raise InvalidRequestError(f"There is an adapter {name} already: take another name, or replace it with --replace.")


@dataclass(frozen=True)
class Pipeline:
    """A base with an adapter in it, the files to tune it to, and where what comes of it is put."""

    wishes: Wishes
    material: Dataset
    general: Mapping[Kind, Sequence[Document]]
    base: Base
    adapter: TrainableAdapter
    sampler: SampleStream
    store: Store

    @classmethod
    def open(
        cls, wishes: Wishes, material: Dataset, general: Mapping[Kind, Sequence[Document]], device: str, store: Store, progress: Progress
    ) -> Pipeline:
        """Read the base, fetching it first where it is not there. Raises what :func:`read_base` does."""
        base = read_base(wishes.model, device, store=store, progress=progress)
        limit = CONTEXT[base.model.device.type]
        sampler = SampleStream(base.tokenizer, base.infill, min(limit, base.model.config.max_position_embeddings))
        return cls(wishes, material, general, base, TrainableAdapter(base, wishes.rank, wishes.seed), sampler, store)

    @property
    def key(self) -> str:
        """What tells this base, these documents and these wishes from others."""
        w = self.wishes
        parts = (
            VERSION,
            self.base.fingerprint,
            self.material.digest,
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
        """The folder of what it has come to so far."""
        return self.store.finetuning_path(self.wishes.name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from making an adapter of the same name. Raises InvalidRequestError where one does."""
        with atomic_files.errors_explained(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.work / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InvalidRequestError(
                    f"Another process is making the adapter {self.wishes.name}: wait, or take another name."
                ) from None
        try:
            yield
        finally:
            lock.release()

    def trainer(self, plan: FinetunePlan, progress: Progress) -> AdapterTrainer:
        """What trains by a plan."""
        return AdapterTrainer(self.adapter, self.sampler, plan, self.work, progress)

    def judge(self, progress: Progress) -> HeldOutEvaluation:
        """What judges the model as it is at the time."""
        return HeldOutEvaluation(self.base.model, self.sampler, EFFORT, self.wishes.seed, progress)

    @property
    def wanted(self) -> FinetunePlan:
        """What to do if there is time for all of it."""
        wishes = self.wishes
        steps = wishes.steps or EPOCHS * -(-len(self.sampler.epoch(self.material.train, wishes.seed, 0)) // BATCH)
        return FinetunePlan(self.key, steps, wishes.seed)

    def measured(self, progress: Progress) -> tuple[FinetunePlan, float, float]:
        """What to do in the time that there is, and the seconds of a step and of a look at held-out files."""
        plan = self.wanted
        step, look = self.trainer(plan, progress).pace(self.material.train, self.material.validation)
        affordable = max(1, int((60 * self.wishes.minutes - (LOOKS + 1) * look) / step))
        if self.wishes.steps is None and affordable < plan.steps:
            plan = replace(plan, steps=affordable)
        return plan, step, look

    def tune(self, progress: Progress) -> Tuned:
        """Make the adapter. Raises PellucidError where held-out files got no better, and ModelError where something cannot be written."""
        standing = self._standing(progress)
        with self.adapter.off():
            before = self._judged("before", self.key, progress)
        plan = self._plan(standing, progress)
        outcome = self.trainer(plan, progress).train(self.material.train, self.material.validation, standing)
        if outcome.best.step == 0:
            shutil.rmtree(self.work, ignore_errors=True)
            raise PellucidError(
                f"Held-out files got no better in {outcome.steps} steps, so that no adapter was written: give more text, or more --minutes."
            )
        after = self._judged("after", f"{self.key} {outcome.steps} {outcome.best}", progress)
        rows = tuple(compare(before, after))
        card = self._card(outcome, rows)
        return Tuned(self._publish(card), card, rows, outcome, peak_memory(self.base.model.device))

    def _plan(self, standing: TrainingState | None, progress: Progress) -> FinetunePlan:
        """That of the earlier run where there is one; nothing has to be measured where the steps are given."""
        if standing is not None:
            return standing.plan
        return self.wanted if self.wishes.steps is not None else self.measured(progress)[0]

    def _standing(self, progress: Progress) -> TrainingState | None:
        """Where an earlier run has got to; what belongs to another one is deleted."""
        standing = read_standing(self.work)
        if standing is not None and standing.plan.key == self.key:
            progress.note(f"Going on after step {standing.step} of {standing.plan.steps}, where an earlier run was broken off.")
            return standing
        if standing is not None:
            progress.note("What an earlier run has left is of other files or wishes: starting anew.")
            for path in self.work.glob("checkpoint*"):
                path.unlink()
        return None

    def _judged(self, when: str, key: str, progress: Progress) -> HeldOutFigures:
        """What the model is worth as it is, which ``key`` tells from any other; what an earlier run has judged is not judged again."""
        kept = EvaluationCache(self.work / f"{when}.jsonl", key)
        return self.judge(progress).judge(f"judging {when}", self.material.judged, self.general, kept=kept)

    def _card(self, outcome: TrainingOutcome, rows: Sequence[ComparisonRow]) -> dict[str, Any]:
        tokens = [[look.step, round(look.loss, 4)] for look in outcome.looks]
        training = {"steps": outcome.steps, "best_step": outcome.best.step, "seconds": round(outcome.seconds, 1), "held_out": tokens}
        return {
            "base": self.base.name,
            "fingerprint": self.base.fingerprint,
            "name": self.wishes.name,
            "made": datetime.now().astimezone().isoformat(timespec="seconds"),
            "rank": self.wishes.rank,
            "seed": self.wishes.seed,
            "prefix_only": self.base.infill is None,
            "data": self.material.counts(),
            "training": training,
            "results": [row.record() for row in rows],
        }

    def _publish(self, card: Mapping[str, Any]) -> Path:
        """Put the adapter in its place, whole or not at all."""
        made, target = self.work / "adapter", self.store.adapters_path(self.wishes.name)
        with atomic_files.errors_explained(made):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            self.adapter.save(made)
            atomic_files.write_text(made / ORIGIN, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        with atomic_files.errors_explained(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # --replace was asked for
                target.rename(self.work / "replaced")
            made.rename(target)
            shutil.rmtree(self.work, ignore_errors=True)  # the lock in it is open, which not every file system lets be deleted
        return target
