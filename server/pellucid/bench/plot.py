"""A picture of a report: rates as shares of the machine's limit, waits as bars with spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid.bench.report import Figure, Report, Unit
from pellucid.bench.report_tables import heading
from pellucid.system.svg import Picture

WIDTH = 860
MARGIN = 28
LABELS = 225
"""Width of the column of names, in pixels."""
BARS = 360
"""Length of a full bar, in pixels."""
ROW_HEIGHT = 26
BAR_HEIGHT = 14
LINE_HEIGHT = 17


@dataclass(frozen=True, slots=True)
class Panel:
    """Figures of the same unit. A full bar is ``full``, or by default each figure's own limit."""

    title: str
    figures: tuple[Figure, ...]
    full: float | None

    def share(self, figure: Figure, value: float) -> float:
        """Return a value's share of a full bar (0 to 1)."""
        full = self.full or figure.limit
        assert full, "a panel has a scale"
        return min(value / full, 1.0)


def picture(report: Report) -> Picture:
    first, second, *_ = lines = heading(report)
    title = f"How fast Pellucid is: {report.model['name']}"
    drawn = Picture(WIDTH, 0, title, f"{first}. {second}. {footnote(report)}")
    drawn.text(MARGIN, 40, title, "title")
    y = 62
    for line in lines:
        drawn.text(MARGIN, y, line, "small")
        y += LINE_HEIGHT
    for panel in panels(report):
        y += 34
        drawn.text(MARGIN, y, panel.title, "panel")
        y += 10
        for figure in panel.figures:
            _draw_row(drawn, panel, figure, y)
            y += ROW_HEIGHT
    y += 24
    drawn.text(MARGIN, y, footnote(report), "small")
    drawn.height = y + MARGIN
    return drawn


def panels(report: Report) -> Iterator[Panel]:
    rates = tuple(figure for figure in report.figures if figure.unit is Unit.RATE)
    limited = tuple(figure for figure in rates if figure.limit is not None)
    if limited:
        yield Panel("Tokens per second; a full bar is the machine's limit", limited, None)
    elif rates:
        yield Panel("Tokens per second", rates, _largest(rates))
    for unit, title in ((Unit.MILLISECONDS, "Waiting, in milliseconds"), (Unit.SECONDS, "Starting, in seconds")):
        waits = tuple(figure for figure in report.figures if figure.unit is unit)
        if waits:
            yield Panel(title, waits, _largest(waits))


def footnote(report: Report) -> str:
    rates = [
        f"{figure.name} at {figure.unit.show(figure.value)}" for figure in report.figures if figure.section == "machine"
    ]
    spread = "Bars are medians; thin lines span the smallest and the largest sample."
    return f"The machine {' and '.join(rates)}. {spread}" if rates else spread


def _largest(figures: Sequence[Figure]) -> float:
    return max(figure.high for figure in figures)


def _draw_row(drawn: Picture, panel: Panel, figure: Figure, y: int) -> None:
    left, middle = MARGIN + LABELS, y + ROW_HEIGHT // 2
    top = middle - BAR_HEIGHT // 2
    low, value, high = (left + BARS * panel.share(figure, part) for part in (figure.low, figure.value, figure.high))
    drawn.text(MARGIN, middle + 4, f"{figure.section}, {figure.name}")
    drawn.bar(left, top, BARS, BAR_HEIGHT, "track", radius=2)
    drawn.bar(left, top, value - left, BAR_HEIGHT, "bar", radius=2)
    drawn.line(low, middle, high, middle, "spread")
    label = figure.unit.show(figure.value)
    if panel.full is None and figure.limit is not None and figure.reached is not None:
        label += f", {figure.reached:.0%} of {figure.unit.show(figure.limit)}"
    drawn.text(left + BARS + 12, middle + 4, label, "value")
