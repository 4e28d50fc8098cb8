"""Draws the loss curves and the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.learn.train.checkpoint import LossPoint
from pellucid.system.atomic_files import OTHER_OUT, errors_explained, write_text
from pellucid.system.svg import Mark, Picture, Scale

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 74, 48
"""Margins in pixels."""

TITLE = "Learning: bits per byte over steps"
STYLES = {"train": "line faint", "validation": "line"}
MAX_SPAN_BITS = 3.0
"""The high first points would flatten the curves."""


def draw(path: Path, points: Sequence[LossPoint], steps: int, baselines: Mapping[str, float]) -> None:
    with errors_explained(path.parent, OTHER_OUT):
        write_text(path, picture(points, steps, baselines).file())


def picture(points: Sequence[LossPoint], steps: int, baselines: Mapping[str, float]) -> Picture:
    values = [value for point in points for value in (point.train, point.validation)] + list(baselines.values())
    low, high, tick = _axis(values)
    x, y = Scale(0, max(steps, 1), LEFT, WIDTH - RIGHT), Scale(low, high, HEIGHT - BOTTOM, TOP)
    drawn = Picture(WIDTH, HEIGHT, TITLE)
    drawn.text(LEFT, 34, TITLE, "title")
    if points:
        last = points[-1]
        best = min(points, key=lambda point: point.validation)
        summary = (
            f"step {last.step:,} of {steps:,}; validation {last.validation:.3f}, best {best.validation:.3f} at "
            f"step {best.step:,}"
        )
        drawn.text(LEFT, 55, summary, "small")
    for number in range(round((high - low) / tick) + 1):
        value = low + number * tick
        drawn.line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), "grid")
        drawn.text(LEFT - 44, y.at(value) + 4, f"{value:.2f}", "number")
    for step in (steps * quarter // 4 for quarter in range(5)):
        drawn.text(x.at(step) - 12, HEIGHT - BOTTOM + 20, f"{step:,}", "number")
    for name, value in baselines.items():
        drawn.line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), "line baseline")
        drawn.text(WIDTH - RIGHT + 8, y.at(value) + 4, f"{name}, {value:.3f}")
    for number, (part, style) in enumerate(STYLES.items()):
        if points:
            drawn.curve([(x.at(point.step), y.at(getattr(point, part))) for point in points], style)
        drawn.legend(LEFT + 110 * number, HEIGHT - 12, part, Mark.LINE, style)
    return drawn


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the ends of the vertical axis and the distance of grid lines, in bits."""
    if not values:
        return 0.0, 8.0, 1.0
    low, high = min(values), min(max(values), min(values) + MAX_SPAN_BITS)
    tick = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / step <= 8)
    return math.floor(low / tick) * tick, max(math.ceil(high / tick), math.floor(low / tick) + 1) * tick, tick
