"""Findings as a picture (SVG), for light and dark pages: what was said against what came, before and after, and what a level loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import CalibrationKind
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.findings import Findings
from pellucid.learn.calibrate.report import WAYS
from pellucid.learn.metrics import Bin
from pellucid.system.atomic_files import write_output

SIDE = 240
"""Of a panel's square."""
LEFT = 56
STEP = SIDE + 84
"""From one panel to the next."""
TOP = 116
COUNTS = 54
"""Height of the bars that count, below a diagram."""
WIDTH = LEFT + 2 * STEP + SIDE + 30
HEIGHT = TOP + SIDE + COUNTS + 78

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; font-size: 12px; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.panel { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.paper { fill: #ffffff }
.frame { fill: none; stroke: #d0d7de }
.ideal { stroke: #8c959f; stroke-dasharray: 4 3 }
.count { fill: #92c5de }
.line { fill: none; stroke: #2166ac; stroke-width: 2 }
.dot { fill: #2166ac }
.spread { stroke: #2166ac; stroke-width: 1.5 }
.other { fill: #d95f02 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .frame { stroke: #3d444d }
  .ideal { stroke: #6e7681 }
  .count { fill: #2b5578 }
  .line { stroke: #5b9bd5 }
  .dot { fill: #5b9bd5 }
  .spread { stroke: #5b9bd5 }
  .other { fill: #fdae61 }
}
"""


def draw_findings(findings: Findings, path: Path) -> None:
    """Write the picture. Raises InvalidRequestError where that cannot be done."""
    try:
        write_output(path, svg(findings))
    except OSError as error:
        raise InvalidRequestError(f"The picture cannot be written to {path}: {error.strerror or error}.") from None


def svg(findings: Findings) -> str:
    """The picture."""
    model, count = findings.calibration.about.get("model", "a model"), int(findings.test.whole.sum())
    title = f"How far suggestions of {model} can be trusted"
    about = f"{count} suggestions in {len(set(findings.test.files.tolist()))} files that nothing was fitted on; lines span 95 % (Wilson)."
    kind = findings.calibration.kind
    body = [_text(LEFT - 28, 40, title, "title"), _text(LEFT - 28, 62, about, "small")]
    for number, (heading, one) in enumerate((("Before", CalibrationKind.RAW), (f"After: {WAYS[kind]}", kind))):
        error = findings.scores[one].width
        body += _reliability(LEFT + number * STEP, heading, findings.bars[one])
        body.append(
            _text(LEFT + number * STEP, TOP - 8, f"calibration error {error.value:.3f} ({error.low:.3f} to {error.high:.3f})", "small")
        )
    body += _trade(LEFT + 2 * STEP, findings)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(about)} {escape(_described(findings))}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
            *body,
            "</svg>\n",
        ]
    )


def _reliability(left: float, heading: str, bars: Sequence[Bin]) -> Iterator[str]:
    """How often what was said so probable came true, with the counts below."""
    yield from _frame(left, heading, "said to be right", "is right")
    yield f'<line class="ideal" x1="{left}" y1="{TOP + SIDE}" x2="{left + SIDE}" y2="{TOP}"/>'
    places = [(left + SIDE * bar.confidence, TOP + SIDE * (1 - bar.accuracy.value)) for bar in bars]
    yield f'<polyline class="line" points="{_points(places)}"/>'
    base, most = TOP + SIDE + 40 + COUNTS, max(bar.count for bar in bars)
    for bar, (x, y) in zip(bars, places, strict=True):
        low, high = (TOP + SIDE * (1 - end) for end in (bar.accuracy.low, bar.accuracy.high))
        yield f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        tall = max(COUNTS * bar.count / most, 1)
        x = left + SIDE * (min(int(bar.confidence * 10), 9) + 0.5) / 10  # the middle of its tenth, so that counts stand apart
        yield f'<rect class="count" x="{x - 9:.1f}" y="{base - tall:.1f}" width="18" height="{tall:.1f}"/>'
        yield _text(x, base + 13, str(bar.count), "small", "middle")


def _trade(left: float, findings: Findings) -> Iterator[str]:
    """Wrong suggestions gone against right ones not shown whole: all thresholds, the levels, and what the fixed thresholds do."""
    yield from _frame(left, "What hiding the unsure ones does", "right ones not shown whole", "wrong ones gone")
    curve = [_corner(left, point.outcome.loss, point.outcome.gone) for point in findings.tested]
    yield f'<polyline class="line" points="{_points(curve)}"/>'
    for level in GateLevel:
        ours, theirs = findings.outcomes[level]
        x, y = _corner(left, ours.loss, ours.gone)
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield _text(x + 8, y + 12, str(level), "small")
        x, y = _corner(left, theirs.loss, theirs.gone)
        yield f'<rect class="other" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    yield f'<circle class="dot" cx="{left + 6}" cy="{TOP + SIDE + 58}" r="4"/>'
    yield _text(left + 18, TOP + SIDE + 62, "levels, calibrated", "small")
    yield f'<rect class="other" x="{left + 2}" y="{TOP + SIDE + 72}" width="8" height="8"/>'
    yield _text(left + 18, TOP + SIDE + 80, "levels, by thresholds", "small")


def _frame(left: float, heading: str, along: str, up: str) -> Iterator[str]:
    yield _text(left, TOP - 26, heading, "panel")
    yield f'<rect class="frame" x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>'
    for share in (0, 0.5, 1):
        yield _text(left + SIDE * share, TOP + SIDE + 15, f"{share:.0%}", "small", "middle")
        yield _text(left - 6, TOP + SIDE * (1 - share) + 4, f"{share:.0%}", "small", "end")
    yield _text(left + SIDE / 2, TOP + SIDE + 30, along, "small", "middle")
    middle = TOP + SIDE / 2
    yield f'<text class="small" text-anchor="middle" transform="translate({left - 38} {middle}) rotate(-90)">{up}</text>'


def _corner(left: float, along: float, up: float) -> tuple[float, float]:
    return left + SIDE * along, TOP + SIDE * (1 - up)


def _described(findings: Findings) -> str:
    bars = findings.bars[findings.calibration.kind]
    return " ".join(f"Said {bar.confidence:.0%}, right {bar.accuracy.value:.0%} of {bar.count}." for bar in bars)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
