"""Draws charts for the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.learn.evaluate.results import MetricFigure, Reliability
from pellucid.learn.evaluate.suite_protocol import FigureFormat
from pellucid.system.svg import Anchor, Picture, Scale

WIDTH = 760
LABELS = 230
BARS = 330
ROW_HEIGHT = 22
BAR_HEIGHT = 12
GAP = 12
CAP = 4
COLOURS = 4
NAME_CHARACTERS = 32

SIDE = 260
"""All sizes are in pixels."""
LEFT, TOP, BELOW, COUNTS_HEIGHT = 46, 12, 40, 60


@dataclass(frozen=True, slots=True)
class ChartRow:
    model: str
    colour: int
    figure: MetricFigure


def bars(title: str, groups: Sequence[Sequence[ChartRow]]) -> str:
    """Draw bars with 95 % intervals, grouped by figure. Shares have the same scale."""
    words = "; ".join(f"{row.figure.label}, {row.model}: {row.figure.show()}" for rows in groups for row in rows)
    drawn = Picture(WIDTH, 0, title, words)
    y = 4
    for rows in groups:
        scale = _scale(rows)
        drawn.text(0, y + 15, rows[0].figure.label, "panel")
        y += ROW_HEIGHT
        for row in rows:
            _draw_row(drawn, row, scale, y)
            y += ROW_HEIGHT
        y += GAP
    drawn.height = y
    return drawn.inline()


def reliability(model: str, diagram: Reliability) -> str:
    bottom, base = TOP + SIDE, TOP + SIDE + BELOW + COUNTS_HEIGHT - 4
    x, y = Scale(0, 1, LEFT, LEFT + SIDE), Scale(0, 1, bottom, TOP)
    words = "; ".join(f"{bar.count} at {bar.confidence:.2f} came true {bar.accuracy:.2f}" for bar in diagram.bins)
    drawn = Picture(LEFT + SIDE + 12, base + 4, f"{model}: {diagram.title}", words)
    drawn.bar(LEFT, TOP, SIDE, SIDE, "track")
    drawn.line(LEFT, bottom, LEFT + SIDE, TOP, "ideal")
    for tick in (0.0, 0.5, 1.0):
        drawn.text(LEFT - 6, y.at(tick) + 4, f"{tick:g}", "small", Anchor.END)
        drawn.text(x.at(tick), bottom + 15, f"{tick:g}", "small", Anchor.MIDDLE)
    drawn.text(x.at(0.5), bottom + 31, "probability; below: the number of tokens", "small", Anchor.MIDDLE)
    drawn.text(12, y.at(0.5), "share that came true", "small", Anchor.MIDDLE, upwards=True)
    height = Scale(0, max(bar.count for bar in diagram.bins), 0, COUNTS_HEIGHT - 8)
    for bar in diagram.bins:
        middle, tall = x.at(bar.confidence), max(height.at(bar.count), 1.0)
        drawn.line(middle, y.at(bar.high), middle, y.at(bar.low), "spread")
        drawn.dot(middle, y.at(bar.accuracy), 4, "bar0")
        drawn.bar(middle - 4, base - tall, 8, tall, "bar0", tooltip=f"{bar.count} tokens")
    return drawn.inline()


def _scale(rows: Sequence[ChartRow]) -> Scale:
    """Return the scale: 0 to 1 for shares, else to the maximum; symmetric for negative values."""
    ends = [end for row in rows for end in (row.figure.low, row.figure.high, row.figure.value) if end is not None]
    highest = 1.0 if rows[0].figure.form is FigureFormat.SHARE else max(ends, default=1.0) or 1.0
    lowest = min(ends, default=0.0)
    if lowest >= 0:
        return Scale(0.0, highest, LABELS, LABELS + BARS)
    farthest = max(highest, -lowest)
    return Scale(-farthest, farthest, LABELS, LABELS + BARS)


def _draw_row(drawn: Picture, row: ChartRow, scale: Scale, y: int) -> None:
    figure, middle = row.figure, y + ROW_HEIGHT / 2
    top = middle - BAR_HEIGHT / 2
    name, half = row.model, NAME_CHARACTERS // 2
    shortened = name if len(name) <= NAME_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"
    drawn.text(LABELS - 10, middle + 4, shortened, anchor=Anchor.END)
    drawn.bar(LABELS, top, BARS, BAR_HEIGHT, "track", radius=2)
    if figure.value is not None:
        begin, end = sorted((scale.at(0.0), scale.at(figure.value)))
        drawn.bar(begin, top, end - begin, BAR_HEIGHT, f"bar{row.colour % COLOURS}", radius=2)
    if figure.low is not None and figure.high is not None and figure.low != figure.high:
        low, high = scale.at(figure.low), scale.at(figure.high)
        drawn.line(low, middle, high, middle, "spread")
        for end in (low, high):
            drawn.line(end, middle - CAP, end, middle + CAP, "spread")
    drawn.text(LABELS + BARS + 10, middle + 4, figure.show(), "value")
