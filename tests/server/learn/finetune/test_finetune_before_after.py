"""Tests of the comparison before and after finetuning."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from pellucid.learn.finetune.before_after import ComparisonRow, compare
from pellucid.learn.finetune.held_out_evaluation import (
    FileFigures,
    HeldOutFigures,
)


def judgement(bits: Sequence[float], exact: Sequence[int]) -> HeldOutFigures:
    files = tuple(
        FileFigures(
            f"{number}.py", b, 1000, (0.9, 0.6), (1, 0), asked=10, exact=e, similarity=e + 1.0, typed=100, saved=2 * e
        )
        for number, (b, e) in enumerate(zip(bits, exact, strict=True))
    )
    return HeldOutFigures(files, {"prose": files[:3]})


def rows_of(before: HeldOutFigures, after: HeldOutFigures) -> dict[str, ComparisonRow]:
    return {row.name: row for row in compare(before, after)}


def test_a_difference_in_every_file() -> None:
    """Fewer bits in every file are better, failed lines worse, and equal figures no difference."""
    found = rows_of(judgement([900, 1000, 1100, 950], [5, 6, 5, 4]), judgement([700, 820, 880, 760], [3, 4, 2, 3]))

    assert found["bits per byte"].verdict == "better"
    assert found["bits per byte"].before == pytest.approx(3950 / 4000)
    assert found["bits per byte"].difference.value == pytest.approx(-790 / 4000)
    assert found["lines completed exactly"].verdict == "worse"
    assert found["keystrokes saved"].verdict == "worse"
    assert found["calibration error"].verdict == "no difference shown"
    assert found["calibration error"].before == pytest.approx((0.1 + 0.6) / 2)
    assert found["bits per byte, English prose"].units == 3


def test_no_difference_if_files_disagree() -> None:
    """A better mean is no difference if files disagree."""
    found = rows_of(judgement([900, 1000, 1100, 950], [5, 5, 5, 5]), judgement([600, 1050, 1120, 990], [9, 4, 5, 4]))

    assert found["bits per byte"].after < found["bits per byte"].before
    assert found["bits per byte"].verdict == "no difference shown"
    assert found["lines completed exactly"].verdict == "no difference shown"


def test_one_file_shows_nothing() -> None:
    """A single file has no interval, and JSON has null."""
    row = rows_of(judgement([900], [5]), judgement([100], [9]))["bits per byte"]

    assert row.verdict == "no difference shown"
    assert json.loads(json.dumps(row.record()))["difference"] == {
        "value": pytest.approx(-0.8),
        "low": None,
        "high": None,
    }
    assert np.isinf(row.difference.low)
