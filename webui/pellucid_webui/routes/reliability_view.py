"""Reliability of a model's suggestions, measured by ``pellucid calibrate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pellucid.completion.trust.calibration import Calibration
from pellucid.errors import ConfigError
from pellucid.system.svg import Anchor, Picture, Scale
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.inspection.comparison_summary import percent

SIDE = 200

LEFT, TOP, BELOW, COUNTS = 44, 8, 34, 40

Bars = Sequence[Mapping[str, Any]]


def reliability_html(card: ModelCard) -> str:
    """Return a model's calibration as HTML: diagrams before and after, and a table."""
    if card.calibration is None:
        return _uncalibrated(card.calibration_note or "This model is not calibrated.")
    try:
        found = Calibration.read(card.calibration)
    except ConfigError as error:  # Editors do not use an invalid calibration either.
        return _uncalibrated(str(error))
    try:
        note = f"<p>{escape(card.calibration_note)}</p>" if card.calibration_note else ""
        return note + _calibrated(card.name, found.about, found.kind)
    except (KeyError, TypeError, ValueError) as error:
        return f"<p>The calibration of {escape(card.name)} has no valid figures ({escape(type(error).__name__)}).</p>"


def _uncalibrated(why: str) -> str:
    return f"<p>{escape(why)} Until it is calibrated, fixed thresholds decide which suggestions editors show.</p>"


def _calibrated(name: str, about: Mapping[str, Any], kind: str) -> str:
    figures = about["figures"]
    measured = figures["measured on"]
    before, after = figures["reliability"]["raw"], figures["reliability"][kind]
    widths = (figures["ways"][one]["width"] for one in ("raw", kind))
    errors = [f"{float(one['value']):.3f} ({float(one['low']):.3f} to {float(one['high']):.3f})" for one in widths]
    summary = (
        f"{escape(name)}, calibrated on {escape(str(about['folder']))} ({escape(str(about['date'])[:10])}), "
        f"measured on {int(measured['suggestions'])} suggestions "
        f"in {int(measured['files'])} files that were not used for fitting."
    )
    panels = _diagram("Before", before) + _diagram("After", after)
    return (
        f"<p>{summary} Calibration error: {errors[0]} before, {errors[1]} after.</p>"
        f'<div style="display:flex;flex-wrap:wrap;gap:1.5rem">{panels}</div>{_table(before, after)}'
    )


def _diagram(title: str, bars: Bars) -> str:
    x, y = Scale(0, 1, LEFT, LEFT + SIDE), Scale(0, 1, SIDE, TOP)
    base = SIDE + BELOW + COUNTS
    height = Scale(0, max((int(bar["count"]) for bar in bars), default=1), 0, COUNTS)
    words = "; ".join(
        f"predicted {percent(bar['confidence'])}, correct {percent(bar['accuracy']['value'])}" for bar in bars
    )
    drawn = Picture(LEFT + SIDE + 14, base + 18, title, words)
    drawn.bar(LEFT, TOP, SIDE, SIDE - TOP, fill="none", stroke="currentColor", opacity="0.4")
    drawn.line(LEFT, SIDE, LEFT + SIDE, TOP, stroke="currentColor", stroke_dasharray="4 3", opacity="0.6")
    drawn.text(LEFT + SIDE / 2, SIDE + 22, "predicted probability", anchor=Anchor.MIDDLE, font_size="11")
    drawn.text(LEFT - 6, TOP + 8, "100 %", anchor=Anchor.END, font_size="11")
    drawn.text(LEFT - 6, SIDE, "0 %", anchor=Anchor.END, font_size="11")
    for bar in bars:
        count, confidence, accuracy = int(bar["count"]), float(bar["confidence"]), bar["accuracy"]
        middle, tall = x.at(confidence), height.at(count)
        drawn.line(middle, y.at(float(accuracy["low"])), middle, y.at(float(accuracy["high"])), stroke="currentColor")
        drawn.dot(middle, y.at(float(accuracy["value"])), 3.5)
        # The middle of the tenth, so that no two counts overlap.
        column = x.at((min(int(confidence * 10), 9) + 0.5) / 10)
        drawn.bar(column - 7, base - tall, 14, tall, opacity="0.35")
        drawn.text(column, base + 12, str(count), anchor=Anchor.MIDDLE, font_size="10")
    return f'<figure style="margin:0"><figcaption>{title}</figcaption>{drawn.inline(fill="currentColor")}</figure>'


def _table(before: Bars, after: Bars) -> str:
    head = "<tr><th></th><th>predicted probability</th><th>correct</th><th>suggestions</th></tr>"
    rows = [
        f"<tr><td>{when}</td><td>{percent(bar['confidence'])}</td><td>{percent(bar['accuracy']['value'])} "
        f"({percent(bar['accuracy']['low'])} to {percent(bar['accuracy']['high'])})</td>"
        f"<td>{int(bar['count'])}</td></tr>"
        for when, bars in (("before", before), ("after", after))
        for bar in bars
    ]
    return f"<details><summary>Show as a table</summary><table>{head}{''.join(rows)}</table></details>"
