"""Compares figures before and after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from pellucid.learn.finetune.forgetting_texts import Kind
from pellucid.learn.finetune.held_out_evaluation import FileFigures, HeldOutFigures
from pellucid.learn.metrics import Floats, Interval, bootstrap, calibration_error, ratio_difference

Verdict = Literal["better", "worse", "no difference shown"]

_GENERAL: dict[Kind, str] = {"prose": "English prose", "code": "other code", "problems": "HumanEval programs"}


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A figure over ``units`` files. ``difference`` is after minus before."""

    name: str
    before: float
    after: float
    difference: Interval
    units: int
    lower_is_better: bool = False
    share: bool = False

    @property
    def verdict(self) -> Verdict:
        """``better`` or ``worse`` only if the interval excludes 0."""
        if not self.difference.excludes_zero:
            return "no difference shown"
        return "better" if (self.difference.value < 0) == self.lower_is_better else "worse"

    def record(self) -> dict[str, object]:
        ends = {end: value if np.isfinite(value) else None for end, value in asdict(self.difference).items()}
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "difference": ends,
            "units": self.units,
            "verdict": self.verdict,
        }


def compare(before: HeldOutFigures, after: HeldOutFigures) -> list[ComparisonRow]:
    a, b = before.files, after.files
    rows = [
        _ratio("bits per byte", a, b, lambda file: file.bits, lambda file: file.bytes, lower_is_better=True),
        _ratio("lines completed exactly", a, b, lambda file: file.exact, lambda file: file.asked, share=True),
        _ratio(
            "edit similarity of these lines", a, b, lambda file: file.similarity, lambda file: file.asked, share=True
        ),
        _ratio("keystrokes saved", a, b, lambda file: file.saved, lambda file: file.typed, share=True),
        _calibration(a, b),
    ]
    for kind, texts in before.general.items():
        name, later = f"bits per byte, {_GENERAL[kind]}", after.general[kind]
        rows.append(_ratio(name, texts, later, lambda file: file.bits, lambda file: file.bytes, lower_is_better=True))
    return [row for row in rows if row is not None]


def _ratio(
    name: str,
    before: Sequence[FileFigures],
    after: Sequence[FileFigures],
    numerator: Callable[[FileFigures], float],
    denominator: Callable[[FileFigures], float],
    *,
    lower_is_better: bool = False,
    share: bool = False,
) -> ComparisonRow | None:
    pairs = [(one, other) for one, other in zip(before, after, strict=True) if denominator(one)]
    if not pairs:
        return None
    a, b = [numerator(one) for one, _ in pairs], [numerator(other) for _, other in pairs]
    of = [denominator(one) for one, _ in pairs]
    return ComparisonRow(
        name, sum(a) / sum(of), sum(b) / sum(of), ratio_difference(a, b, of), len(pairs), lower_is_better, share
    )


def _calibration(before: Sequence[FileFigures], after: Sequence[FileFigures]) -> ComparisonRow:
    one, other = (
        [np.array([file.confidences, file.hits], dtype=np.float64) for file in files] for files in (before, after)
    )

    def error(files: Sequence[Floats], drawn: Floats) -> float:
        confidences, hits = np.concatenate([files[int(index)] for index in drawn], axis=1)
        return calibration_error(confidences, hits)

    every = np.arange(len(before), dtype=np.float64)
    difference = bootstrap([every], lambda drawn: error(other, drawn) - error(one, drawn))
    return ComparisonRow(
        "calibration error",
        error(one, every),
        error(other, every),
        difference,
        len(before),
        lower_is_better=True,
        share=True,
    )
