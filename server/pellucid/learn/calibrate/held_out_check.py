"""Measures calibrations on held-out files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.errors import InvalidRequestError
from pellucid.learn import metrics
from pellucid.learn.calibrate.gate_levels import (
    COSTS,
    LevelOutcome,
    LevelPoint,
    curve,
    outcome,
    shown,
    shown_by_thresholds,
)
from pellucid.learn.calibrate.probability_models import FittedModel, check_files, predict
from pellucid.learn.calibrate.replay_records import SuggestionRecord
from pellucid.learn.calibrate.training_rows import Bools, Floats, Table
from pellucid.learn.metrics import Bin, Interval, reliability, wilson

SIMULATIONS = 200

RESAMPLES = 1000
"""Fewer than usual, because there are many intervals."""

MASS_BINS = 15
LENGTHS = (("up to 10 characters", 0, 10), ("11 to 40 characters", 11, 40), ("more than 40 characters", 41, 10**9))


@dataclass(frozen=True, slots=True)
class Score:
    """Metrics of whole suggestions, with intervals by resampling files.

    ``width`` and ``mass`` are expected calibration errors with ten bins of equal width and fifteen
    bins of equal mass. ``chance`` is the mean ``width`` of simulated perfect probabilities.
    """

    width: Interval
    mass: Interval
    chance: float
    brier: Interval
    skill: Interval
    loss: Interval
    auroc: Interval


@dataclass(frozen=True, slots=True)
class LevelCheck:
    name: str
    count: int
    right: Interval
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a calibration, measured on the test files.

    ``outcomes`` has each level with the calibration and with the fixed thresholds.
    """

    calibration: Calibration
    models: tuple[FittedModel, ...]
    scores: Mapping[CalibrationKind, Score]
    bars: Mapping[CalibrationKind, tuple[Bin, ...]]
    checks: tuple[LevelCheck, ...]
    tested: tuple[LevelPoint, ...]
    outcomes: Mapping[GateLevel, tuple[LevelOutcome, LevelOutcome]]
    fit: Table
    test: Table


def find(fit: Table, records: Sequence[SuggestionRecord], models: Sequence[FittedModel]) -> Findings:
    """Measure fitted models, best first, on other files."""
    test = Table.of(records)
    whole = test.only(test.whole)
    if len(np.unique(whole.right)) < 2:
        raise InvalidRequestError(
            f"The {whole.size} suggestions to measure on are all right, all wrong or absent: use more "
            "--cursors, or name another folder."
        )
    check_files(test, "to measure on")
    probabilities = {model.kind: predict(model.kind, model.numbers, test.numbers) for model in models}
    best, raw = models[0], next(model for model in models if model.kind is CalibrationKind.RAW)
    calibration = Calibration(best.kind, best.numbers, COSTS, {})
    scores = {model.kind: score(probabilities[model.kind][test.whole], whole) for model in models}
    bars = {model.kind: tuple(reliability(probabilities[model.kind][test.whole], whole.right)) for model in models}
    outcomes = {
        level: (
            outcome(test, shown(test, probabilities[best.kind], calibration.costs[level])),
            outcome(test, shown_by_thresholds(test, records, level)),
        )
        for level in GateLevel
    }
    return Findings(
        calibration=calibration,
        models=tuple(models),
        scores=scores,
        bars=bars,
        checks=tuple(checks(test, probabilities[raw.kind], probabilities[best.kind])),
        tested=tuple(curve(test, probabilities[best.kind])),
        outcomes=outcomes,
        fit=fit,
        test=test,
    )


def score(probabilities: Floats, table: Table) -> Score:
    right = table.right.astype(np.float64)
    of_files = [np.flatnonzero(table.files == number) for number in np.unique(table.files)]

    def interval(statistic: Callable[[Floats, Floats], float], most: float = math.inf) -> Interval:
        def of_drawn(files: Floats) -> float:
            rows = np.concatenate([of_files[int(number)] for number in files])
            return statistic(probabilities[rows], right[rows])

        return metrics.bootstrap([np.arange(len(of_files))], of_drawn, resamples=RESAMPLES, bounds=(-math.inf, most))

    generator = np.random.default_rng(0)
    drawn = [
        metrics.calibration_error(probabilities, generator.random(len(probabilities)) < probabilities)
        for _ in range(SIMULATIONS)
    ]
    return Score(
        width=interval(metrics.calibration_error, 1.0),
        mass=interval(lambda p, y: metrics.calibration_error(p, y, MASS_BINS, "mass"), 1.0),
        chance=float(np.mean(drawn)),
        brier=interval(metrics.brier, 1.0),
        skill=interval(metrics.brier_skill, 1.0),
        loss=interval(metrics.log_loss),
        auroc=interval(metrics.auroc, 1.0),
    )


def checks(table: Table, before: Floats, after: Floats) -> list[LevelCheck]:
    alone, lines, length = table.number("no suffix") == 1, table.number("lines") > 0, table.characters
    groups: dict[str, Bools] = {
        "with text after the cursor": ~alone,
        "without": alone,
        "code": table.number("in text") == 0,
        "comments and strings": table.number("in text") == 1,
        "one line": ~lines,
        "several lines": lines,
        **{name: (length >= least) & (length <= most) for name, least, most in LENGTHS},
    }
    groups = {name: rows & table.whole for name, rows in groups.items()} | {
        "parts that may be shown alone": ~table.whole
    }
    return [
        LevelCheck(
            name,
            int(rows.sum()),
            wilson(float(table.right[rows].sum()), int(rows.sum())),
            float(before[rows].mean()),
            float(after[rows].mean()),
        )
        for name, rows in groups.items()
        if rows.any()
    ]
