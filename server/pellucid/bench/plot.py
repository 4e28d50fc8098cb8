"""A report as a picture (SVG): each rate as a share of the machine's limit, each wait as a bar with its spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from pellucid.bench.figures import Figure, Report, Unit
from pellucid.bench.report import heading
from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import write_output

WIDTH = 860
MARGIN = 28
LABELS = 225
"""Width of the column of names."""
BARS = 360
"""Length of a whole bar."""
ROW = 26
THICK = 14

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; font-size: 13px; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.panel { font-size: 14px; font-weight: 600 }
.small { font-size: 11.5px; fill: #59636e }
.value { font-variant-numeric: tabular-nums }
.paper { fill: #ffffff }
.track { fill: #e6eaef }
.bar { fill: #2166ac }
.spread { stroke: #d95f02; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .track { fill: #262c36 }
  .bar { fill: #5b9bd5 }
  .spread { stroke: #fdae61 }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """RowScores of one unit under a heading. A whole bar is ``whole`` of the unit, or the figure's own limit where that is None."""

    title: str
    figures: tuple[Figure, ...]
    whole: float | None

    def share(self, figure: Figure, value: float) -> float:
        """How much of a whole bar a value of this figure's takes; beyond a whole one nothing is drawn."""
        whole = self.whole or figure.limit
        assert whole, "a panel has a scale"
        return min(value / whole, 1.0)


def check_path(path: Path) -> None:
    """Raise InvalidRequestError where a picture cannot be written to, so that nobody waits in vain."""
    if path.suffix != ".svg":
        raise InvalidRequestError(f"{path} is not the name of an SVG picture: let it end with .svg.")
    if not path.parent.is_dir():
        raise InvalidRequestError(f"{path.parent} is no folder: make it, or write the picture elsewhere.")


def draw(report: Report, path: Path) -> None:
    """Write the picture."""
    try:
        write_output(path, svg(report))
    except OSError as error:
        raise InvalidRequestError(f"The picture cannot be written to {path}: {error.strerror or error}.") from None


def svg(report: Report) -> str:
    """The picture."""
    first, second, *_ = lines = heading(report)
    title = f"How fast Pellucid is: {report.model['name']}"
    body = [_text(MARGIN, 40, title, "title")]
    body += [_text(MARGIN, 62 + 17 * number, line, "small") for number, line in enumerate(lines)]
    y = 62 + 17 * len(lines)
    for panel in panels(report):
        y += 34
        body.append(_text(MARGIN, y, panel.title, "panel"))
        y += 10
        for figure in panel.figures:
            body += _row(panel, figure, y)
            y += ROW
    y += 24
    body.append(_text(MARGIN, y, footnote(report), "small"))
    height = y + MARGIN
    description = escape(f"{first}. {second}. {footnote(report)}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{description}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            *body,
            "</svg>\n",
        ]
    )


def panels(report: Report) -> Iterator[Panel]:
    """Rates against their limits, then waits by their unit."""
    rates = tuple(figure for figure in report.figures if figure.unit is Unit.RATE)
    limited = tuple(figure for figure in rates if figure.limit is not None)
    if limited:
        yield Panel("Tokens a second; a whole bar is what the machine's floors allow", limited, None)
    elif rates:
        yield Panel("Tokens a second", rates, _largest(rates))
    for unit, title in ((Unit.MILLISECONDS, "Waiting, in milliseconds"), (Unit.SECONDS, "Starting, in seconds")):
        waits = tuple(figure for figure in report.figures if figure.unit is unit)
        if waits:
            yield Panel(title, waits, _largest(waits))


def footnote(report: Report) -> str:
    """What the floors are and what the small lines mean."""
    rates = [f"{figure.name} at {figure.unit.show(figure.value)}" for figure in report.figures if figure.section == "machine"]
    spread = "Medians; the lines span the least and the greatest sample."
    return f"The machine {' and '.join(rates)}. {spread}" if rates else spread


def _largest(figures: Sequence[Figure]) -> float:
    return max(figure.high for figure in figures)


def _row(panel: Panel, figure: Figure, y: int) -> Iterator[str]:
    left, middle = MARGIN + LABELS, y + ROW // 2
    top = middle - THICK // 2
    low, value, high = (left + BARS * panel.share(figure, part) for part in (figure.low, figure.value, figure.high))
    yield _text(MARGIN, middle + 4, f"{figure.section}, {figure.name}")
    yield f'<rect class="track" x="{left}" y="{top}" width="{BARS}" height="{THICK}" rx="2"/>'
    yield f'<rect class="bar" x="{left}" y="{top}" width="{value - left:.1f}" height="{THICK}" rx="2"/>'
    yield f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
    said = figure.unit.show(figure.value)
    if panel.whole is None and figure.limit is not None and figure.reached is not None:
        said += f", {figure.reached:.0%} of {figure.unit.show(figure.limit)}"
    yield _text(left + BARS + 12, middle + 4, said, "value")


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:g}" y="{y:g}">{escape(text)}</text>'
