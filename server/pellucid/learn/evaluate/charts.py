"""The pictures of a report, as SVG inside of HTML: bars with their intervals, and reliability diagrams with their counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

from pellucid.learn.evaluate.results import Bar, MetricFigure, Reliability
from pellucid.learn.evaluate.suite import Form

WIDTH = 760
NAMES = 230
BARS = 330
ROW = 22
THICK = 12
GAP = 12

SIDE = 260
"""Of a reliability diagram, in pixels, both ways."""
LEFT, TOP, BELOW, COUNTS = 46, 12, 40, 60
"""Its margins, and the height of the counts."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One bar: whose it is, and the number of its colour."""

    model: str
    colour: int
    figure: MetricFigure


def bars(title: str, groups: Sequence[Sequence[ChartRow]]) -> str:
    """Bars with their 95 % intervals, one figure under another and in each one row a model. Shares are drawn on one scale."""
    body: list[str] = []
    y = 4
    for rows in groups:
        whole = 1.0 if rows[0].figure.form is Form.SHARE else _largest(rows)
        lowest = min((end for row in rows for end in (row.figure.low, row.figure.value) if end is not None), default=0.0)
        scale = _Scale(0.0 if lowest >= 0 else -max(whole, -lowest), max(whole, -lowest) if lowest < 0 else whole)
        body.append(_text(0, y + 15, rows[0].figure.label, "panel"))
        y += ROW
        for row in rows:
            body += _row(row, scale, y)
            y += ROW
        y += GAP
    said = "; ".join(f"{row.figure.label}, {row.model}: {row.figure.show()}" for rows in groups for row in rows)
    return _svg(WIDTH, y, title, said, body)


def reliability(model: str, diagram: Reliability) -> str:
    """How often it was right by how probable that was said to be, with Wilson's intervals, and how many there are of each."""
    width, height = LEFT + SIDE + 12, TOP + SIDE + BELOW + COUNTS
    bottom, low = TOP + SIDE, TOP + SIDE + BELOW + COUNTS - 4
    body = [f'<rect class="track" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>']
    body.append(f'<line class="ideal" x1="{LEFT}" y1="{bottom}" x2="{LEFT + SIDE}" y2="{TOP}"/>')
    for tick in (0.0, 0.5, 1.0):
        body.append(_text(LEFT - 6, bottom - SIDE * tick + 4, f"{tick:g}", "small end"))
        body.append(_text(LEFT + SIDE * tick, bottom + 15, f"{tick:g}", "small middle"))
    body.append(_text(LEFT + SIDE / 2, bottom + 31, "probability; below: how many tokens", "small middle"))
    body.append(f'<text class="small middle" transform="translate(12 {TOP + SIDE / 2:g}) rotate(-90)">share that came true</text>')
    most = max(bar.count for bar in diagram.bins)
    for bar in diagram.bins:
        body += _point(bar, bottom, low, most)
    said = "; ".join(f"{bar.count} at {bar.confidence:.2f} came true {bar.accuracy:.2f}" for bar in diagram.bins)
    return _svg(width, height, f"{model}: {diagram.title}", said, body)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float

    def at(self, value: float) -> float:
        """Where a value lies, in pixels; what is off the scale lies at its end."""
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return NAMES + BARS * min(max(part, 0.0), 1.0)


def _largest(rows: Sequence[ChartRow]) -> float:
    return max((end for row in rows for end in (row.figure.high, row.figure.value) if end is not None), default=1.0) or 1.0


def _row(row: ChartRow, scale: _Scale, y: int) -> Iterator[str]:
    figure, middle = row.figure, y + ROW / 2
    top = middle - THICK / 2
    yield _text(NAMES - 10, middle + 4, _short(row.model), "end")
    yield f'<rect class="track" x="{NAMES}" y="{top:g}" width="{BARS}" height="{THICK}" rx="2"/>'
    if figure.value is not None:
        begin, end = sorted((scale.at(0.0), scale.at(figure.value)))
        yield f'<rect class="bar{row.colour % 4}" x="{begin:.1f}" y="{top:g}" width="{end - begin:.1f}" height="{THICK}" rx="2"/>'
    if figure.low is not None and figure.high is not None and figure.low != figure.high:
        low, high = scale.at(figure.low), scale.at(figure.high)
        yield f'<path class="spread" d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8"/>'
    yield _text(NAMES + BARS + 10, middle + 4, figure.show(), "value")


def _point(bar: Bar, bottom: int, low: int, most: int) -> Iterator[str]:
    x = LEFT + SIDE * bar.confidence
    top, end = bottom - SIDE * bar.high, bottom - SIDE * bar.low
    yield f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{end:.1f}"/>'
    yield f'<circle class="bar0" cx="{x:.1f}" cy="{bottom - SIDE * bar.accuracy:.1f}" r="4"/>'
    height = max((COUNTS - 8) * bar.count / most, 1.0)
    yield (
        f'<rect class="bar0" x="{x - 4:.1f}" y="{low - height:.1f}" width="8" height="{height:.1f}">'
        f"<title>{bar.count} tokens</title></rect>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:15]}…{name[-16:]}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _svg(width: int, height: float, title: str, description: str, body: Sequence[str]) -> str:
    number = next(_numbers)
    return "\n".join(
        [
            f'<svg viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" role="img" aria-labelledby="t{number} d{number}">',
            f'<title id="t{number}">{escape(title)}</title>',
            f'<desc id="d{number}">{escape(description)}</desc>',
            *body,
            "</svg>",
        ]
    )
