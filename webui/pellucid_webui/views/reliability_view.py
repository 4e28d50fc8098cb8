"""Renders the reliability of a model's suggestions, as measured by ``pellucid calibrate``: diagrams with counts, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pellucid.completion.trust.calibration import Calibration
from pellucid.errors import ConfigError
from pellucid.tokens import ModelCard

SIDE = 200
"""Width and height of a diagram in pixels."""

LEFT, BELOW, COUNTS = 44, 34, 40

Bars = Sequence[Mapping[str, Any]]


def reliability_html(card: ModelCard) -> str:
    """Return HTML with a model's calibration: a diagram before and one after it, and a table with the same figures."""
    if card.calibration is None:
        return _uncalibrated(card.calibration_note or "This model is not calibrated.")
    try:
        found = Calibration.read(card.calibration)
    except ConfigError as error:  # editors do not use it either
        return _uncalibrated(str(error))
    try:
        return _calibrated(card.name, found.about, found.kind)
    except (KeyError, TypeError, ValueError) as error:
        return f"<p>The calibration of {escape(card.name)} has no valid figures ({escape(type(error).__name__)}).</p>"


def _uncalibrated(why: str) -> str:
    return f"<p>{escape(why)} Until it is calibrated, fixed thresholds decide which suggestions editors show.</p>"


def _calibrated(name: str, about: Mapping[str, Any], kind: str) -> str:
    figures = about["figures"]
    measured = figures["measured on"]
    before, after = figures["reliability"]["raw"], figures["reliability"][kind]
    errors = [_error(figures["ways"][one]["width"]) for one in ("raw", kind)]
    summary = (
        f"{escape(name)}, calibrated on {escape(str(about['folder']))} ({escape(str(about['date'])[:10])}), measured on "
        f"{int(measured['suggestions'])} suggestions in {int(measured['files'])} files that were not used for fitting."
    )
    panels = _diagram("Before", before) + _diagram("After", after)
    return (
        f"<p>{summary} Calibration error: {errors[0]} before, {errors[1]} after.</p>"
        f'<div style="display:flex;flex-wrap:wrap;gap:1.5rem">{panels}</div>{_table(before, after)}'
    )


def _diagram(title: str, bars: Bars) -> str:
    """Return a diagram of accuracy by predicted probability: dots with 95 % intervals, and the counts below them."""
    points = [(LEFT + SIDE * float(bar["confidence"]), _height(bar["accuracy"]["value"]), bar) for bar in bars]
    most = max((int(bar["count"]) for bar in bars), default=1)
    base = SIDE + BELOW + COUNTS
    drawn = []
    for x, y, bar in points:
        low, high, count = _height(bar["accuracy"]["low"]), _height(bar["accuracy"]["high"]), int(bar["count"])
        tall = COUNTS * count / most
        middle = (
            LEFT + SIDE * (min(int(float(bar["confidence"]) * 10), 9) + 0.5) / 10
        )  # the middle of its tenth, so that counts do not overlap
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="currentColor"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="currentColor"/>'
            f'<rect x="{middle - 7:.1f}" y="{base - tall:.1f}" width="14" height="{tall:.1f}" fill="currentColor" opacity="0.35"/>'
            f'<text x="{middle:.1f}" y="{base + 12}" text-anchor="middle" font-size="10" fill="currentColor">{count}</text>'
        )
    label = "; ".join(f"predicted {float(bar['confidence']):.0%}, correct {float(bar['accuracy']['value']):.0%}" for bar in bars)
    return (
        f'<figure style="margin:0"><figcaption>{title}</figcaption>'
        f'<svg width="{LEFT + SIDE + 14}" height="{base + 18}" role="img" aria-label="{title}: {escape(label)}">'
        f'<rect x="{LEFT}" y="8" width="{SIDE}" height="{SIDE - 8}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f'<line x1="{LEFT}" y1="{SIDE}" x2="{LEFT + SIDE}" y2="8" stroke="currentColor" stroke-dasharray="4 3" opacity="0.6"/>'
        f'<text x="{LEFT + SIDE / 2}" y="{SIDE + 22}" text-anchor="middle" font-size="11" fill="currentColor">predicted probability</text>'
        f'<text x="{LEFT - 6}" y="16" text-anchor="end" font-size="11" fill="currentColor">100%</text>'
        f'<text x="{LEFT - 6}" y="{SIDE}" text-anchor="end" font-size="11" fill="currentColor">0%</text>'
        f"{''.join(drawn)}</svg></figure>"
    )


def _table(before: Bars, after: Bars) -> str:
    head = "<tr><th></th><th>predicted probability</th><th>correct</th><th>suggestions</th></tr>"
    rows = [
        f"<tr><td>{when}</td><td>{float(bar['confidence']):.1%}</td><td>{float(bar['accuracy']['value']):.1%} "
        f"({float(bar['accuracy']['low']):.0%} to {float(bar['accuracy']['high']):.0%})</td><td>{int(bar['count'])}</td></tr>"
        for when, bars in (("before", before), ("after", after))
        for bar in bars
    ]
    return f"<details><summary>Show as a table</summary><table>{head}{''.join(rows)}</table></details>"


def _height(share: float) -> float:
    return SIDE - (SIDE - 8) * float(share)


def _error(interval: Mapping[str, float]) -> str:
    return f"{float(interval['value']):.3f} ({float(interval['low']):.3f} to {float(interval['high']):.3f})"
