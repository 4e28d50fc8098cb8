"""The loss curves as a picture (SVG), light and dark: bits per byte over steps, and what the baselines reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from pellucid.learn.train.checkpoint import LossPoint, writing
from pellucid.system.atomic_files import write_text

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 74, 48

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; font-size: 13px; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.small { font-size: 11.5px; fill: #59636e }
.number { font-size: 11.5px; fill: #59636e; font-variant-numeric: tabular-nums }
.paper { fill: #ffffff }
.grid { stroke: #e6eaef }
.line { fill: none; stroke-width: 2 }
.train { stroke: #92c5de }
.validation { stroke: #2166ac }
.baseline { stroke: #d95f02; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small, .number { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .grid { stroke: #262c36 }
  .train { stroke: #3d5a80 }
  .validation { stroke: #5b9bd5 }
  .baseline { stroke: #fdae61 }
}
"""


def draw(path: Path, points: Sequence[LossPoint], steps: int, baselines: Mapping[str, float]) -> None:
    """Write the picture, whole or not at all. Raises ModelError where the disk does not take it."""
    with writing(path.parent):
        write_text(path, svg(points, steps, baselines))


def svg(points: Sequence[LossPoint], steps: int, baselines: Mapping[str, float]) -> str:
    """The picture of what was found so far of ``steps``, with the baselines' bits per byte of the validation part by their name."""
    values = [value for point in points for value in (point.train, point.validation)] + list(baselines.values())
    low, high, tick = _scale(values)
    body = [_text(LEFT, 34, "Learning: bits per byte over steps", "title")]
    if points:
        last = points[-1]
        best = min(points, key=lambda point: point.validation)
        said = f"step {last.step:,} of {steps:,}; validation {last.validation:.3f}, best {best.validation:.3f} at step {best.step:,}"
        body.append(_text(LEFT, 55, said, "small"))
    body += _axes(low, high, tick, steps)
    for name, value in baselines.items():
        y = _y(value, low, high)
        body.append(f'<line class="line baseline" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(_text(WIDTH - RIGHT + 8, y + 4, f"{name}, {value:.3f}"))
    for kind in ("train", "validation"):
        curve = [(_x(point.step, steps), _y(getattr(point, kind), low, high)) for point in points]
        if curve:
            body.append(f'<polyline class="line {kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in curve)}"/>')
    body += _legend()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            "<title>Learning: bits per byte over steps</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
            *body,
            "</svg>\n",
        ]
    )


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """The ends of the axis, and the distance of its lines: what the baselines and the end of the curve need, no more than 3 bits up."""
    if not values:
        return 0.0, 8.0, 1.0
    low, high = min(values), min(max(values), min(values) + 3.0)
    tick = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / step <= 8)
    return math.floor(low / tick) * tick, max(math.ceil(high / tick), math.floor(low / tick) + 1) * tick, tick


def _axes(low: float, high: float, tick: float, steps: int) -> Iterator[str]:
    for number in range(round((high - low) / tick) + 1):
        value = low + number * tick
        y = _y(value, low, high)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 44, y + 4, f"{value:.2f}", "number")
    for quarter in range(5):
        step = steps * quarter // 4
        yield _text(_x(step, steps) - 12, HEIGHT - BOTTOM + 20, f"{step:,}", "number")


def _legend() -> Iterator[str]:
    for number, kind in enumerate(("train", "validation")):
        x = LEFT + 110 * number
        yield f'<line class="line {kind}" x1="{x}" x2="{x + 24}" y1="{HEIGHT - 12}" y2="{HEIGHT - 12}"/>'
        yield _text(x + 30, HEIGHT - 8, kind, "small")


def _x(step: int, steps: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / max(steps, 1)


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (min(value, high) - low) / (high - low))


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:g}" y="{y:g}">{escape(text)}</text>'
