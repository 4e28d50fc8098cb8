"""Tests of calibrations: the arithmetic, and the refusal of damaged or old records."""

from __future__ import annotations

from math import exp, inf, isclose, log
from typing import Any

import pytest

from pellucid.completion.trust.calibration import Calibration, CalibrationKind, interpolated, logistic, logit
from pellucid.completion.trust.features import NAMES, VERSION
from pellucid.errors import ConfigError
from support.editors.known_calibrations import COSTS, RAW, as_sent, doubtful


def values(mean: float = 0.25, **others: float) -> tuple[float, ...]:
    known = dict.fromkeys(NAMES, 0.0) | {"mean": log(mean)} | others
    return tuple(known[name] for name in NAMES)


def test_raw() -> None:
    """The raw probability is the geometric mean of the tokens' probabilities."""
    assert isclose(RAW.probability(values(0.25)), 0.25)


def test_platt() -> None:
    """The odds of the mean are scaled: a third of one to one is one to three."""
    assert isclose(doubtful().probability(values(0.5)), 0.25)


def test_isotonic() -> None:
    """Values are linear between two points, and constant beyond the last."""
    calibration = Calibration(CalibrationKind.ISOTONIC, (0.2, 0.4, 0.1, 0.5), COSTS, {})

    assert [round(calibration.probability(values(p)), 6) for p in (0.1, 0.2, 0.3, 0.4, 0.9)] == [
        0.1,
        0.1,
        0.3,
        0.5,
        0.5,
    ]
    assert interpolated(0.4, (0.2, 0.4), (0.1, 0.5)) == 0.5


def test_logistic_regression() -> None:
    """Each number is standardised, weighted and added."""
    size = len(NAMES)
    weights = [2.0] + [0.0] * (size - 1)
    calibration = Calibration(CalibrationKind.LOGISTIC, (1.0, *weights, *[log(0.5)] * size, *[0.5] * size), COSTS, {})

    assert isclose(calibration.probability(values(0.25)), 1 / (1 + exp(-(1 + 2 * log(0.5) / 0.5))))


def test_logit_inverts() -> None:
    """``logistic`` and ``logit`` are inverses, and finite at both ends."""
    assert isclose(logistic(logit(0.3)), 0.3)
    assert 0 < logistic(-inf) < logistic(inf) < 1 + 1e-12
    assert isclose(logit(0.0), -logit(1.0), rel_tol=1e-6)


@pytest.mark.parametrize("kind", list(CalibrationKind))
def test_round_trip(kind: CalibrationKind) -> None:
    """A calibration is read as written."""
    size = {
        CalibrationKind.RAW: 0,
        CalibrationKind.PLATT: 2,
        CalibrationKind.ISOTONIC: 6,
        CalibrationKind.LOGISTIC: 1 + 3 * len(NAMES),
    }[kind]
    calibration = Calibration(kind, tuple(float(number) for number in range(size)), COSTS, {"model": "m"})

    assert Calibration.read(as_sent(calibration)) == calibration


def without(*path: str) -> dict[str, Any]:
    record = as_sent(doubtful())
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return record


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({}, "The calibration is damaged .*: run pellucid calibrate again."),
        (without("costs", "normal"), "The calibration is damaged .*: run pellucid calibrate again."),
        (as_sent() | {"kind": "psychic"}, "The calibration is damaged .*: run pellucid calibrate again."),
        (as_sent() | {"numbers": [1.0]}, "its coefficients do not fit its kind"),
        (as_sent(doubtful()) | {"numbers": [1.0, inf]}, "its coefficients do not fit its kind"),
        (as_sent() | {"costs": {"quiet": -1, "normal": 1, "eager": 1}}, "its coefficients do not fit its kind"),
        (
            as_sent() | {"features": {"version": VERSION - 1, "names": list(NAMES)}},
            "was made by another version of Pellucid",
        ),
        (as_sent() | {"features": {"version": VERSION, "names": ["mood"]}}, "was made by another version of Pellucid"),
    ],
)
def test_refused(record: dict[str, Any], sentence: str) -> None:
    """A damaged calibration or a calibration of different features is refused with the remedy."""
    with pytest.raises(ConfigError, match=sentence):
        Calibration.read(record)
