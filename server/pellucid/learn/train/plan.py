"""The plan of a run, stored before the first step for resumption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Split
from pellucid.learn.exclusive_lock import locked
from pellucid.learn.train.gpt_model import GPTShape
from pellucid.learn.train.gpt_trainer import Recipe
from pellucid.learn.train.logistic_trainer import LogisticPlan
from pellucid.learn.train.schedule import Schedule
from pellucid.learn.train.tokenizers import Kind
from pellucid.models.untrusted_files import read_json
from pellucid.system.atomic_files import OTHER_OUT, errors_explained, write_text

VERSION = 3
"""Runs of different versions are not resumed."""

_PLAN, _LOCK = "plan.json", ".lock"


@dataclass(frozen=True, slots=True)
class Preset:
    shape: GPTShape
    recipe: Recipe
    logistic: LogisticPlan
    tokenizer: Kind
    vocabulary: int
    steps: int | None = None
    minutes: float | None = None


PRESETS = {
    "cpu": Preset(
        shape=GPTShape(layers=4, hidden=192, heads=3, intermediate=512, context=128),
        recipe=Recipe(batch=8, peak=1.25e-3, warm_up=100, decay=0.5),
        logistic=LogisticPlan(),
        tokenizer="bpe",
        vocabulary=1024,
        minutes=5,
    ),
    "gpu": Preset(
        shape=GPTShape(layers=6, hidden=384, heads=6, intermediate=1024, context=256, dropout=0.2),
        recipe=Recipe(batch=64, peak=1e-3, warm_up=100),
        logistic=LogisticPlan(),
        tokenizer="bytes",
        vocabulary=1024,
        steps=5000,
    ),
}
"""Rate and decay of the cpu preset were chosen on Tiny Shakespeare's validation part. The gpu
preset has nanoGPT's size for the same text.
"""


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """``schedule`` is None until a step of the GPT was measured.

    ``threads`` is stored because rounding depends on the number of threads.
    """

    preset: str
    tokenizer: Kind
    vocabulary: int
    max_minutes: float | None
    max_steps: int | None
    seed: int
    data: str
    threads: int
    schedule: Schedule | None = None
    version: int = VERSION

    @property
    def sizes(self) -> Preset:
        return PRESETS[self.preset]

    @property
    def logistic(self) -> LogisticPlan:
        usual, given = self.sizes.minutes, self.max_minutes
        return (
            self.sizes.logistic
            if usual is None or given is None
            else self.sizes.logistic.shortened(min(given / usual, 1.0))
        )


_ASKED = {
    "preset": "--preset",
    "tokenizer": "--tokenizer",
    "vocabulary": "--vocab",
    "max_minutes": "--max-minutes",
    "max_steps": "--steps",
    "seed": "--seed",
}


@dataclass(slots=True)
class Run:
    folder: Path
    plan: TrainPlan

    @property
    def schedule(self) -> Schedule:
        assert self.plan.schedule is not None, "the steps are settled"
        return self.plan.schedule

    def settle(self, schedule: Schedule) -> None:
        """Store a new schedule before use, so that a killed run repeats the same steps."""
        plan = replace(self.plan, schedule=schedule)
        _write(self.folder, plan)
        self.plan = plan


def digest(split: Split) -> str:
    found = hashlib.sha256()
    for part in (split.train, split.validation, split.test):
        for document in part:
            for text in (document.name, document.text):
                found.update(f"{len(text.encode())}:".encode() + text.encode())
        found.update(b"|")
    return found.hexdigest()


@contextmanager
def opened(folder: Path, asked: TrainPlan) -> Iterator[Run]:
    """Open a new run in a folder, or resume an earlier run with the same data and settings."""
    _refuse_others(folder)
    busy = f"Another process is training in {folder}: wait for it, or name another folder with --out."
    with locked(folder / _LOCK, busy, OTHER_OUT):
        stored = read_json(folder / _PLAN)
        if not stored:
            _write(folder, asked)
        yield Run(folder, _compared(folder, stored, asked) if stored else asked)


def _refuse_others(folder: Path) -> None:
    if folder.is_dir():
        there = {path.name for path in folder.iterdir()}
        if there - {_LOCK, f"{_PLAN}.part"} and _PLAN not in there:
            raise InvalidRequestError(
                f"{folder} contains something other than a training run ({min(there)}): name another folder with --out."
            )
    elif folder.exists():
        raise InvalidRequestError(f"{folder} is a file: name a folder with --out.")


def _compared(folder: Path, stored: dict[str, object], asked: TrainPlan) -> TrainPlan:
    remedy = OTHER_OUT
    if stored.get("version") != VERSION:
        raise InvalidRequestError(f"{folder} was started by another version of Pellucid: {remedy}.")
    if stored.get("data") != asked.data:
        raise InvalidRequestError(f"{folder} was started with other text: give the same files, or {remedy}.")
    for field, option in _ASKED.items():
        before, now = stored.get(field), getattr(asked, field)
        if before != now:
            raise InvalidRequestError(
                f"{folder} was started {_shown(option, before)}, not {_shown(option, now)}: use the same "
                f"options, or {remedy}."
            )
    schedule, threads = stored.get("schedule"), stored.get("threads")
    assert schedule is None or isinstance(schedule, dict), "a plan is written whole"
    assert isinstance(threads, int), "a plan is written whole"
    return replace(asked, schedule=Schedule.read(schedule) if schedule else None, threads=threads)


def _shown(option: str, value: object) -> str:
    if value is None:
        return f"without {option}"
    return f"with {option} {value:g}" if isinstance(value, float) else f"with {option} {value}"


def _write(folder: Path, plan: TrainPlan) -> None:
    with errors_explained(folder, OTHER_OUT):
        write_text(folder / _PLAN, json.dumps(asdict(plan), indent=2) + "\n")
