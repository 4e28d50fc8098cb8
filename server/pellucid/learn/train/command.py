"""The command ``pellucid train``: a tiny GPT and two baselines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from pellucid.config import Settings, load_settings
from pellucid.engine.decoders.byte_window_model import VOCABULARY
from pellucid.errors import ConfigError
from pellucid.learn.corpus import Corpus, Document, Split, gather, split
from pellucid.learn.train import loss_curves, tokenizers, train_learners
from pellucid.learn.train.checkpoint import Progression
from pellucid.learn.train.lead_significance import describe_lead, lead
from pellucid.learn.train.plan import PRESETS, Run, TrainPlan, digest, opened
from pellucid.learn.train.results_table import (
    LearnerRow,
    TrainResults,
    read_results,
    read_row,
    read_training_cost,
    show,
)
from pellucid.models.store import as_argument
from pellucid.system.atomic_files import OTHER_OUT, errors_explained, human, write_text
from pellucid.system.processors import threads_to_use
from pellucid.terminal.progress_bars import Steps

RESULTS, CURVES = "results.json", "curves.svg"
LEARNERS = ("gpt", "ngram", "logistic")
BASELINES = ("ngram", "logistic")

TABLE_WINDOW_TOKENS = 4096
"""Window of the baselines, which need few bytes of context."""

READ_TOKENS_PER_SECOND = 12_000
"""Minimum speed of scoring the test part."""

SHORT_SHARE = 0.3
"""Maximum share of the time that is reported as short for the GPT."""

PLANNED_SHARE = 0.97
"""Planned share of the remaining time, because steps differ."""


def train(
    paths: Sequence[Path],
    out: Path,
    *,
    preset: str,
    tokenizer: tokenizers.Kind | None,
    vocabulary: int | None,
    max_minutes: float | None,
    steps: int | None,
    seed: int,
    json: bool,
) -> None:
    """Train three learners, compare them, and save model folders in ``out``.

    An interrupted run is resumed.
    """
    begun = time.perf_counter()
    device = _device(preset)
    kind = tokenizer or PRESETS[preset].tokenizer
    tokenizers.check(kind, vocabulary)
    with Steps() as progress:
        corpus = gather(paths, without=out, progress=progress)
    parts = split(corpus)
    with opened(out, _asked(preset, kind, vocabulary, max_minutes, steps, seed, digest(parts))) as run:
        results = read_results(run.folder / RESULTS)
        if results is None:
            results = _learn(run, corpus, parts, device, begun)
            with errors_explained(run.folder, OTHER_OUT):
                write_text(run.folder / RESULTS, results.as_json())
    if json:
        sys.stdout.write(results.as_json())
    else:
        show(results)
        sys.stderr.write(
            f"The curves are in {out / CURVES}; to serve the model: pellucid serve --model {as_argument(out / 'gpt')}\n"
        )


def _asked(
    preset: str,
    kind: tokenizers.Kind,
    vocabulary: int | None,
    minutes: float | None,
    steps: int | None,
    seed: int,
    data: str,
) -> TrainPlan:
    sizes = PRESETS[preset]
    size = VOCABULARY if kind == "bytes" else vocabulary or sizes.vocabulary
    if minutes is None and steps is None:
        minutes, steps = sizes.minutes, sizes.steps
    return TrainPlan(preset, kind, size, minutes, steps, seed, data, threads_to_use(load_settings().threads))


def _device(preset: str) -> torch.device:
    if preset == "gpu":
        if not torch.cuda.is_available():
            raise ConfigError("The gpu preset needs a CUDA device that torch can use: use --preset cpu.")
        return torch.device("cuda")
    return torch.device("cpu")


def _learn(run: Run, corpus: Corpus, parts: Split, device: torch.device, begun: float) -> TrainResults:
    torch.set_num_threads(run.plan.threads)
    uses = (parts.train, "learn from"), (parts.validation, "choose by"), (parts.test, "test on")
    with Steps() as bar:
        bar.note(f"{corpus}: {', '.join(f'{human(_size(part))} to {use}' for part, use in uses)}.")
        if not (run.folder / "tokenizer").exists():
            bar.start(f"training the tokenizer ({run.plan.tokenizer})", None)
            train_learners.learn_tokenizer(run, parts)
        if not (run.folder / "ngram").exists():
            bar.start("counting n-grams", None)
            train_learners.learn_ngram(run, parts)
        if not (run.folder / "logistic").exists():
            train_learners.learn_logistic(run, parts, bar)
        if not (run.folder / "gpt").exists():
            _learn_gpt(run, parts, device, begun, bar)
        rows, leads = asyncio.run(_read_all(run, parts, device, bar))
    return TrainResults(rows, (*leads, *_notes(run, rows)), {"corpus": str(corpus), "plan": asdict(run.plan)})


def _learn_gpt(run: Run, parts: Split, device: torch.device, begun: float, bar: Steps) -> None:
    data = train_learners.training_data_of(run, parts)
    if run.plan.schedule is None:
        if run.plan.max_minutes is not None:
            bar.start("measuring the time per step", None)
        train_learners.settle_steps(run, data, device, _seconds_left(run, parts, begun))
    trainer = train_learners.trainer_of(run, data, device)
    if trainer.restore(run.folder / train_learners.CHECKPOINT):
        bar.note(f"Resuming from step {trainer.progression.step:,} of {run.schedule.steps:,}.")
    bar.start("training the GPT", run.schedule.steps)
    bar.advance(trainer.progression.step)
    display = TrainingDisplay(run, bar, {name: read_training_cost(run.folder / name).validation for name in BASELINES})
    train_learners.learn_gpt(run, trainer, display)
    display.draw(trainer.progression)


def _seconds_left(run: Run, parts: Split, begun: float) -> float | None:
    if run.plan.max_minutes is None:
        return None
    # The baselines read the test part once each, the GPT four times.
    reading = 6 * _size(parts.test) / READ_TOKENS_PER_SECOND
    return PLANNED_SHARE * (60 * run.plan.max_minutes - (time.perf_counter() - begun)) - reading


class TrainingDisplay:
    drawn_every = 5.0
    described_every = 0.5

    def __init__(self, run: Run, bar: Steps, baselines: Mapping[str, float]) -> None:
        self._run = run
        self._bar = bar
        self._baselines = baselines
        self._drawn = self._described = 0.0

    def stepped(self, progression: Progression, bits_per_byte: float, tokens_per_second: float) -> None:
        self._bar.advance(1)
        self._bar.expect(self._run.schedule.steps)
        now = time.perf_counter()
        if now - self._described >= self.described_every:
            self._bar.describe(f"training the GPT, {bits_per_byte:.3f} bits/byte, {tokens_per_second:,.0f} tokens/s")
            self._described = now
        if now - self._drawn >= self.drawn_every:
            self.draw(progression)
            self._drawn = now

    def draw(self, progression: Progression) -> None:
        loss_curves.draw(self._run.folder / CURVES, progression.points, self._run.schedule.steps, self._baselines)


async def _read_all(
    run: Run, parts: Split, device: torch.device, bar: Steps
) -> tuple[tuple[LearnerRow, ...], list[str]]:
    context = run.plan.sizes.shape.context
    rows, readings = [], {}
    for name in LEARNERS:
        window, stride = (context, context // 4) if name == "gpt" else (TABLE_WINDOW_TOKENS, TABLE_WINDOW_TOKENS - 64)
        kind = run.plan.tokenizer if name == "gpt" else "bytes"
        row, readings[name] = await read_row(
            run.folder / name, kind, parts.test, window, stride, _settings(device, window), bar
        )
        rows.append(row)
    return tuple(rows), [describe_lead(name, lead(readings["gpt"], readings[name])) for name in BASELINES]


def _settings(device: torch.device, window: int) -> Settings:
    return load_settings().model_copy(
        update={
            "device": str(device),
            "quant": "none",
            "context": max(window, 64),
            "chunk": window,
            "slots": 1,
            "prefix_memory": 0,
        }
    )


def _notes(run: Run, rows: Sequence[LearnerRow]) -> list[str]:
    trainings = {found.name: read_training_cost(run.folder / found.name) for found in rows}
    gpt = rows[0]
    notes = [f"{name}: {training.note}." for name, training in trainings.items() if training.note]
    given, left = run.plan.max_minutes, run.schedule.seconds
    if given is not None and left is not None and left < SHORT_SHARE * 60 * given:
        notes.append(
            f"Of {given:g} minutes, {max(left, 0):.0f} s were left for the GPT, because the baselines need time too, "
            f"and {run.schedule.steps} steps were taken: use more --max-minutes and another --out."
        )
    if len({found.tokenizer for found in rows}) > 1:
        notes.append(
            f"A token of the GPT ({gpt.tokenizer}) has {rows[1].tokens / gpt.tokens:.2f} bytes on average, a "
            "token of the others one byte: only bits/byte is comparable across them; perplexity, top 1, top 5 "
            "and calibration error are per token."
        )
    notes.append(
        "FLOPs are estimated as 6 N D, with N weights that a token is multiplied by and D training tokens; "
        "counting has none."
    )
    if all(training.joules is None for training in trainings.values()):
        notes.append("Energy is unknown: this machine has no readable counter (RAPL in /sys/class/powercap).")
    else:
        notes.append("Energy is that of the whole processor during training (RAPL).")
    return notes


def _size(part: Sequence[Document]) -> int:
    return sum(document.size for document in part)
