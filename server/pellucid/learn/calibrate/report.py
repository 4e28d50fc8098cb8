"""Shows findings as tables and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.console import Console
from rich.table import Table

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import CalibrationKind
from pellucid.learn.calibrate.gate_levels import LevelOutcome
from pellucid.learn.calibrate.held_out_check import Findings
from pellucid.learn.metrics import Bin, Interval
from pellucid.terminal.plain_tables import plain_table

OUTCOMES = ("cost", "wrong", "gone", "right", "hidden", "shortened", "characters kept", "shown is right")

MODEL_LABELS: Mapping[CalibrationKind, str] = {
    CalibrationKind.RAW: "the mean probability, uncalibrated",
    CalibrationKind.PLATT: "Platt scaling",
    CalibrationKind.LOGISTIC: "logistic regression",
    CalibrationKind.ISOTONIC: "isotonic",
}


def as_record(findings: Findings) -> dict[str, Any]:
    """Return the calibration with a few figures: every list of models includes this record."""
    record = findings.calibration.record
    measured = figures(findings)
    kinds = (CalibrationKind.RAW, findings.calibration.kind)
    kept: dict[str, Any] = {name: measured[name] for name in ("fitted on", "measured on", "levels")}
    kept |= {name: {str(kind): measured[name][kind] for kind in kinds} for name in ("ways", "reliability")}
    return record | {"about": record["about"] | {"figures": _each(kept, lambda value: round(value, 4))}}


def figures(findings: Findings) -> dict[str, Any]:
    measured = {
        "fitted on": _counts(findings.fit),
        "measured on": _counts(findings.test),
        "ways": {
            model.kind: {
                "log loss on held-out files": model.loss,
                "strength": model.strength,
                **asdict(findings.scores[model.kind]),
            }
            for model in findings.models
        },
        "reliability": {kind: [asdict(bar) for bar in bars] for kind, bars in findings.bars.items()},
        "checks": [asdict(check) for check in findings.checks],
        "levels": {
            level: {
                "cost": findings.calibration.costs[level],
                "calibration": _outcome(ours),
                "thresholds": _outcome(theirs),
            }
            for level, (ours, theirs) in findings.outcomes.items()
        },
        "curve": [{"cost": point.cost, **_outcome(point.outcome)} for point in findings.tested],
    }
    finite: dict[str, Any] = _each(measured, lambda value: value if isfinite(value) else None)
    return finite


def show(findings: Findings, console: Console) -> None:
    fit, test = findings.fit, findings.test
    console.print(
        f"Fitted on {int(fit.whole.sum()):,} suggestions in {_files(fit)} files, measured on "
        f"{int(test.whole.sum()):,} in {_files(test)} others, of which {test.right[test.whole].mean():.0%} are "
        f"right. The best is {MODEL_LABELS[findings.calibration.kind]}, by log loss on held-out files."
    )
    console.print(_scores(findings))
    console.print(_bars(findings))
    console.print(_checks(findings))
    console.print(_levels(findings))
    console.print(_curve(findings))


def _scores(findings: Findings) -> Table:
    """Return a table with a column per model; with intervals, a row is too wide."""
    title = "Quality of the probabilities on files that were not used for fitting (95 % intervals by file)"
    grid = plain_table(("",), [MODEL_LABELS[model.kind] for model in findings.models], title=title)
    scores = [findings.scores[model.kind] for model in findings.models]
    rows: dict[str, Sequence[Interval]] = {
        "ECE, 10 bins": [one.width for one in scores],
        "ECE, 15 of equal mass": [one.mass for one in scores],
        "Brier": [one.brier for one in scores],
        "Brier skill": [one.skill for one in scores],
        "log-loss": [one.loss for one in scores],
        "AUROC": [one.auroc for one in scores],
    }
    for name, intervals in rows.items():
        grid.add_row(name, *map(_with_interval, intervals))
    grid.add_row("ECE, 10 bins, by chance", *(f"{one.chance:.3f}" for one in scores))
    return grid


def _bars(findings: Findings) -> Table:
    columns = ("before: predicted", "right", "of", "after: predicted", "right", "of")
    grid = plain_table((), columns, title="Predicted and observed, ten bins of equal width")
    before, after = findings.bars[CalibrationKind.RAW], findings.bars[findings.calibration.kind]
    for number in range(max(len(before), len(after))):
        grid.add_row(*_bar(before, number), *_bar(after, number))
    return grid


def _checks(findings: Findings) -> Table:
    columns = ("suggestions", "right", "predicted before", "after")
    grid = plain_table(("",), columns, title="Calibration by group")
    for check in findings.checks:
        grid.add_row(
            check.name, f"{check.count:,}", _with_interval(check.right), f"{check.before:.3f}", f"{check.after:.3f}"
        )
    return grid


def _levels(findings: Findings) -> Table:
    grid = plain_table(("",), OUTCOMES, title="Effect of each level")
    for level in GateLevel:
        ours, theirs = findings.outcomes[level]
        grid.add_row(f"{level}, calibrated", f"{findings.calibration.costs[level]:g}", *_cells(ours))
        grid.add_row(f"{level}, thresholds", "", *_cells(theirs))
    return grid


def _curve(findings: Findings) -> Table:
    grid = plain_table((), OUTCOMES, title="Wrong suggestions hidden against right ones lost")
    for point in findings.tested:
        grid.add_row(f"{point.cost:g}", *_cells(point.outcome))
    return grid


def _cells(outcome: LevelOutcome) -> tuple[str, ...]:
    hidden, shortened = (count / max(outcome.right, 1) for count in (outcome.lost, outcome.shortened))
    shares = (hidden, shortened, outcome.kept, outcome.precision)
    return str(outcome.wrong), f"{outcome.gone:.1%}", str(outcome.right), *(f"{share:.1%}" for share in shares)


def _bar(bars: tuple[Bin, ...], number: int) -> tuple[str, str, str]:
    if number >= len(bars):
        return "", "", ""
    bar = bars[number]
    return f"{bar.confidence:.3f}", _with_interval(bar.accuracy), str(bar.count)


def _with_interval(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def _outcome(outcome: LevelOutcome) -> dict[str, Any]:
    return asdict(outcome) | {"gone": outcome.gone, "loss": outcome.loss, "precision": outcome.precision}


def _counts(table: Any) -> dict[str, int]:
    return {"suggestions": int(table.whole.sum()), "right": int(table.right[table.whole].sum()), "files": _files(table)}


def _each(value: Any, change: Callable[[float], float | None]) -> Any:
    if isinstance(value, float):
        return change(value)
    if isinstance(value, dict):
        return {str(name): _each(one, change) for name, one in value.items()}
    return [_each(one, change) for one in value] if isinstance(value, list) else value


def _files(table: Any) -> int:
    return len(set(table.files.tolist()))
