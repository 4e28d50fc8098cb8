"""The ``pellucid bench`` command."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import torch

from pellucid.bench.compare import compare, read_report
from pellucid.bench.machine_limits import Floors, multiply_rate, read_rate
from pellucid.bench.measure import Measurements, Quantity, Trial
from pellucid.bench.plot import picture
from pellucid.bench.report import Figure, Report, Unit
from pellucid.bench.report_tables import as_json, show
from pellucid.bench.start_time import SETTINGS, Start, start_elsewhere
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.config import Settings
from pellucid.engine.decoders.decoder_config import DecoderSizes
from pellucid.engine.model import CacheShape, Model, TokenCost
from pellucid.models.load import LoadedModel, stored_step_bytes
from pellucid.models.served_model import ServedModel
from pellucid.serving.assemble import assemble
from pellucid.serving.loading import warm_up
from pellucid.serving.saved_speeds import Speed, add_speeds
from pellucid.system import machine
from pellucid.system.memory import resident
from pellucid.system.svg import check_picture_path, write_picture
from pellucid.terminal.progress_bars import Bars, Steps

Samples = Mapping[Quantity, Sequence[float]]

READING = Quantity("machine", "reads memory", Unit.READING)
MULTIPLYING = Quantity("machine", "multiplies", Unit.MULTIPLYING)


SETTLING_SECONDS = 0.05
"""Time after which torch's threads have stopped spinning."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Number of measurements, without the discarded warm-up round."""

    trials: int
    starts: int


FULL, QUICK = Rounds(trials=5, starts=3), Rounds(trials=2, starts=1)


def bench(settings: Settings, *, quick: bool, json: bool, compare_with: Path | None, plot: Path | None) -> None:
    """Measure the first model of the settings and print the figures.

    Invalid ``compare_with`` or ``plot`` files raise InvalidRequestError before the measurement.
    """
    earlier = None if compare_with is None else read_report(compare_with)
    if plot is not None:
        check_picture_path(plot)
    notes = asyncio.run(disturbances(settings))
    for note in notes:
        sys.stderr.write(f"{note}\n")
    report = measure(settings, QUICK if quick else FULL, notes)
    if (speed := _typing_speed(report)) is not None:
        add_speeds(settings, {str(report.model["name"]): speed})
    comparison = None if earlier is None else compare(str(compare_with), earlier, report)
    if json:
        sys.stdout.write(as_json(report, comparison))
    else:
        show(report, comparison)
    if plot is not None:
        write_picture(plot, picture(report))
        sys.stderr.write(f"The chart is in {plot}.\n")


def _typing_speed(report: Report) -> Speed | None:
    """Return the measured speed, or None if the context is too short for the typing."""
    found = {(figure.section, figure.name): figure.value for figure in report.figures}
    milliseconds = found.get(("typing", "first line, p50"))
    if milliseconds is None:
        return None
    return Speed(milliseconds / 1000, None, round(found["memory", "weights"]), estimated=False)


async def disturbances(settings: Settings) -> list[str]:
    """Return a sentence per possible disturbance: a busy machine, a server at the settings' URL."""
    busy = machine.busy_note()
    sentences = [] if busy is None else [busy]
    async with Client(settings.url, settings.key) as client:
        health = await client.server_health()
    if health.status is not HealthStatus.ABSENT:
        sentences.append(f"A server is at {settings.url} ({health.status}). Its work distorts these figures.")
    return sentences


def measure(settings: Settings, rounds: Rounds, notes: Sequence[str] = ()) -> Report:
    report = measure_here(settings, rounds, notes)
    free_memory()
    with Steps() as steps:
        steps.start("starting", rounds.starts)
        starts = asyncio.run(_starts(settings, rounds.starts, steps))
    figures = (*report.figures, *start_figures(starts))
    left_out = report.left_out
    if any(start.resident is None for start in starts):
        left_out = (*left_out, "Memory of the process: this system does not report it.")
    return report.model_copy(update={"figures": figures, "left_out": left_out})


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure_here(settings: Settings, rounds: Rounds, notes: Sequence[str]) -> Report:
    with Bars() as bars:
        engine, assistant = assemble(settings, settings.models[:1], bars)
    try:
        served = assistant.models.find(None)
        name = served.name
        model = engine.model(name)
        threads = torch.get_num_threads()
        cost = least_cost(model, served.model)
        measurements = Measurements(engine, assistant, name, cost, model.vocab_size)
        trials = (
            measurements.trials
            if cost is None
            else (_floor_trial(cost, model.cache_shape, threads), *measurements.trials)
        )
        asyncio.run(warm_up(assistant))
        with Steps() as steps:
            steps.start("measuring", (1 + rounds.trials) * len(trials))
            samples = asyncio.run(_sample(trials, rounds.trials, steps))
        return Report(
            date=datetime.now().astimezone().isoformat(timespec="seconds"),
            versions=machine.versions(),
            machine=machine.machine(model.cache_shape.device),
            model={"name": name, "description": model.description},
            setup={
                "threads": threads,
                "context": engine.context(name),
                "slots": settings.slots,
                "chunk": engine.settings.chunk_on(model.cache_shape.device),
                "rounds": rounds.trials,
            },
            figures=(*figures_of(samples), *_memory_figures(model)),
            left_out=tuple(measurements.left_out),
            notes=tuple(notes),
        )
    finally:
        engine.close()


def least_cost(model: Model, served: ServedModel) -> TokenCost | None:
    """Return a token's cost for the smaller form of the weights: packed, or the model's file.

    The file counts only for Pellucid's own decoders. An adapter always counts in packed form.
    """
    if model.cost is None or not isinstance(model, DecoderSizes) or not isinstance(served, LoadedModel):
        return model.cost
    stored = stored_step_bytes(served.files) + (0 if served.adapter is None else model.weight_bytes)
    return replace(model.cost, read_bytes=min(model.cost.read_bytes, stored))


def _floor_trial(cost: TokenCost, shape: CacheShape, threads: int) -> Trial:
    async def run() -> tuple[float, ...]:
        # The thread count is per thread, and the engine's thread may have a smaller count.
        torch.set_num_threads(threads)
        rates = read_rate(cost.read_bytes, shape.device), multiply_rate(cost.dtype, shape.device)
        await asyncio.sleep(SETTLING_SECONDS)
        return rates

    return Trial("memory and arithmetic", (READING, MULTIPLYING), run)


async def _sample(trials: Sequence[Trial], rounds: int, steps: Steps) -> Samples:
    """Run the trials in turn: if the machine slows down, all trials are affected."""
    samples: dict[Quantity, list[float]] = {quantity: [] for trial in trials for quantity in trial.quantities}
    for turn in range(1 + rounds):
        for trial in trials:
            steps.describe(trial.label if turn else f"{trial.label} (warming up)")
            values = await trial.run()
            if turn:
                for quantity, value in zip(trial.quantities, values, strict=True):
                    samples[quantity].append(value)
            steps.advance(1)
    return samples


def figures_of(samples: Samples) -> list[Figure]:
    floors = Floors(max(samples[READING]), max(samples[MULTIPLYING])) if READING in samples else None
    figures = []
    for quantity, values in samples.items():
        limit = None if quantity.limit is None or floors is None else quantity.limit(floors)
        choose = max if quantity in (READING, MULTIPLYING) else statistics.median
        figures.append(Figure.of(quantity.section, quantity.name, quantity.unit, values, limit, choose))
    return figures


def _memory_figures(model: Model) -> list[Figure]:
    figure = partial(Figure.of, "memory", unit=Unit.BYTES)
    figures = [
        figure(name="weights", samples=[model.weight_bytes]),
        figure(name="cache per token", samples=[model.cache_shape.bytes_per_token]),
    ]
    used, device = resident(), model.cache_shape.device
    if used is not None:
        figures.append(figure(name="process afterwards", samples=[used]))
    if device.startswith("cuda"):
        figures.append(figure(name="device, at most", samples=[torch.cuda.max_memory_allocated(device)]))
    return figures


async def _starts(settings: Settings, count: int, steps: Steps) -> list[Start]:
    wanted = {name: getattr(settings, name) for name in SETTINGS}
    wanted |= {"models": [settings.models[0]], "cache": str(settings.cache)}
    starts = []
    for _ in range(count):
        starts.append(await start_elsewhere(wanted))
        steps.advance(1)
    return starts


def start_figures(starts: Sequence[Start]) -> list[Figure]:
    figure = partial(Figure.of, "start", unit=Unit.SECONDS)
    figures = [
        figure(name="importing", samples=[start.importing for start in starts]),
        figure(name="loading the weights", samples=[start.loading for start in starts]),
        figure(name="the first token", samples=[start.first_token for start in starts]),
    ]
    held = [start.resident for start in starts if start.resident is not None]
    return [*figures, Figure.of("memory", "process at rest", Unit.BYTES, held)] if held else figures
