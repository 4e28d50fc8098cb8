"""Draws reliability diagrams and the trade-off of the gate levels."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import CalibrationKind
from pellucid.learn.calibrate.held_out_check import Findings
from pellucid.learn.calibrate.report import MODEL_LABELS
from pellucid.learn.metrics import Bin
from pellucid.system.svg import Anchor, Mark, Picture, Scale

SIDE = 240
LEFT = 56
STEP = SIDE + 84
TOP = 116
BOTTOM = TOP + SIDE
COUNTS_HEIGHT = 54
WIDTH = LEFT + 2 * STEP + SIDE + 30
HEIGHT = BOTTOM + COUNTS_HEIGHT + 78


def picture(findings: Findings) -> Picture:
    model, count = findings.calibration.about.get("model", "a model"), int(findings.test.whole.sum())
    title = f"How far suggestions of {model} can be trusted"
    files = len(set(findings.test.files.tolist()))
    subtitle = (
        f"{count} suggestions in {files} files that were not used for fitting; thin lines are 95 % intervals (Wilson)."
    )
    kind = findings.calibration.kind
    in_words = " ".join(
        f"Predicted {bar.confidence:.0%}, right {bar.accuracy.value:.0%} of {bar.count}." for bar in findings.bars[kind]
    )
    drawn = Picture(WIDTH, HEIGHT, title, f"{subtitle} {in_words}")
    drawn.text(LEFT - 28, 40, title, "title")
    drawn.text(LEFT - 28, 62, subtitle, "small")
    for number, (heading, one) in enumerate((("Before", CalibrationKind.RAW), (f"After: {MODEL_LABELS[kind]}", kind))):
        left, error = LEFT + number * STEP, findings.scores[one].width
        drawn.text(left, TOP - 8, f"calibration error {error.value:.3f} ({error.low:.3f} to {error.high:.3f})", "small")
        _draw_reliability(drawn, left, heading, findings.bars[one])
    _draw_trade_off(drawn, LEFT + 2 * STEP, findings)
    return drawn


def _draw_reliability(drawn: Picture, left: float, heading: str, bars: Sequence[Bin]) -> None:
    x, y = _draw_axes(drawn, left, heading, "predicted probability", "share that is right")
    drawn.line(left, BOTTOM, left + SIDE, TOP, "ideal")
    drawn.curve([(x.at(bar.confidence), y.at(bar.accuracy.value)) for bar in bars], "line")
    base = BOTTOM + 40 + COUNTS_HEIGHT
    height = Scale(0, max(bar.count for bar in bars), 0, COUNTS_HEIGHT)
    for bar in bars:
        middle = x.at(bar.confidence)
        drawn.line(middle, y.at(bar.accuracy.low), middle, y.at(bar.accuracy.high), "interval")
        drawn.dot(middle, y.at(bar.accuracy.value), 3.5, "dot")
        column, tall = x.at((min(int(bar.confidence * 10), 9) + 0.5) / 10), max(height.at(bar.count), 1)
        # Centered in the bin, so that counts do not overlap.
        drawn.bar(column - 9, base - tall, 18, tall, "count")
        drawn.text(column, base + 13, str(bar.count), "small", Anchor.MIDDLE)


def _draw_trade_off(drawn: Picture, left: float, findings: Findings) -> None:
    x, y = _draw_axes(drawn, left, "Hiding unsure suggestions", "share of right ones not shown", "wrong ones hidden")
    drawn.curve([(x.at(point.outcome.loss), y.at(point.outcome.gone)) for point in findings.tested], "line")
    for level in GateLevel:
        calibrated, by_thresholds = findings.outcomes[level]
        drawn.dot(x.at(calibrated.loss), y.at(calibrated.gone), 4, "dot")
        drawn.text(x.at(calibrated.loss) + 8, y.at(calibrated.gone) + 12, str(level), "small")
        drawn.square(x.at(by_thresholds.loss), y.at(by_thresholds.gone), 8, "other")
    drawn.legend(left, BOTTOM + 58, "levels, calibrated", Mark.DOT, "dot")
    drawn.legend(left, BOTTOM + 76, "levels, by thresholds", Mark.SQUARE, "other")


def _draw_axes(drawn: Picture, left: float, heading: str, along: str, up: str) -> tuple[Scale, Scale]:
    x, y = Scale(0, 1, left, left + SIDE), Scale(0, 1, BOTTOM, TOP)
    drawn.text(left, TOP - 26, heading, "panel")
    drawn.bar(left, TOP, SIDE, SIDE, "frame")
    for share in (0, 0.5, 1):
        drawn.text(x.at(share), BOTTOM + 15, f"{share:.0%}", "small", Anchor.MIDDLE)
        drawn.text(left - 6, y.at(share) + 4, f"{share:.0%}", "small", Anchor.END)
    drawn.text(left + SIDE / 2, BOTTOM + 30, along, "small", Anchor.MIDDLE)
    drawn.text(left - 38, TOP + SIDE / 2, up, "small", Anchor.MIDDLE, upwards=True)
    return x, y
